"""A notebook in miniature: cells of Python that share their names, each with the value of its last line."""

import ast
import re
from dataclasses import dataclass
from typing import Any

CELL = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


@dataclass(frozen=True)
class Cell:
    """Code, and the output that is printed below it, empty where there is none."""

    code: str
    output: str


def section(page: str, heading: str) -> str:
    """Return the text below a heading of a Markdown page, up to the next one of its level."""
    (text,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    return str(text)


def read_cells(text: str) -> list[Cell]:
    """Return the cells of a Markdown text: blocks of Python, each perhaps followed by a block of text."""
    return [Cell(code, output or "") for code, output in CELL.findall(text)]


def run(code: str, names: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last line, None where that is no expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
