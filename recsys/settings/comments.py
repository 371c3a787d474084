"""What a setting is, in words: the comment behind its field, which is written once and shown in Prefect's forms."""

import ast
import functools
import inspect
import io
import tokenize


def comments(kind: type) -> dict[str, str]:
    """Return the comment of each field of a dataclass that has one: all ``#`` of its lines, joined.

    A class without a source, such as one made in a notebook's cell that is gone, has none.
    """
    try:
        path = inspect.getsourcefile(kind)
        return dict(_of_module(path).get(kind.__qualname__, {})) if path else {}
    except (OSError, TypeError, SyntaxError):
        return {}


@functools.cache
def _of_module(path: str) -> dict[str, dict[str, str]]:
    """Return the comments of a file's fields, by class and field."""
    with tokenize.open(path) as file:
        source = file.read()
    lines: dict[int, str] = {
        token.start[0]: token.string.lstrip("# ").rstrip().replace("``", "")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    return {
        node.name: {
            field.target.id: said
            for field in node.body
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if (said := " ".join(filter(None, map(lines.get, range(field.lineno, _end(field) + 1)))))
        }
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
    }


def _end(field: ast.AnnAssign) -> int:
    return field.end_lineno or field.lineno
