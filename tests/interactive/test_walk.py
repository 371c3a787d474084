"""The walk of the library's page runs from the first cell to the last, and shows what it says it shows."""

import ast
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cells import read_cells, run, section
from synthetic import SMALL

import recsys
from recsys.home import Home

PAGE = Path(recsys.__file__).with_name("README.md")
SETTINGS = "config = recsys.ModelConfig()\n"


def columns(printed: str) -> list[str]:
    """Return the names of the columns of a printed frame."""
    header = next(line for line in printed.splitlines() if line.startswith("│"))
    return [name.strip() for name in header.strip("│").split("┆")]


def test_the_walk_runs_and_its_outputs_are_of_the_kind_that_is_printed(
    notebook: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(shutil.copytree(notebook.root, tmp_path / "home")))
    walk = read_cells(section(PAGE.read_text(), "From a notebook"))
    assert sum(cell.code.count(SETTINGS) for cell in walk) == 1
    names: dict[str, Any] = {"SMALL": SMALL}
    for cell in walk:
        code = cell.code.replace(SETTINGS, "config = SMALL\n").replace('recommend("1"', 'recommend("u000"')
        shown = run(code, names)
        if isinstance(shown, pl.DataFrame):
            assert shown.columns == columns(cell.output), cell.code
            assert len(shown)
        elif isinstance(shown, tuple | dict | float):
            assert type(ast.literal_eval(cell.output)) is type(shown), cell.code
        else:
            assert repr(shown)[:12] == cell.output[:12], cell.code
