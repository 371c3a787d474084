"""The library's page has one line for every room, and for no other."""

import re
from pathlib import Path

LIBRARY = Path(__file__).parents[2] / "recsys"


def test_the_librarys_page_names_every_room() -> None:
    rows = re.findall(r"^\| \d \| (.+?) \|", (LIBRARY / "README.md").read_text(), re.MULTILINE)
    named = {name.strip("/") for row in rows for name in re.findall(r"`([\w/.]+)`", row)}
    rooms = {str(path.parent.relative_to(LIBRARY)) for path in LIBRARY.rglob("__init__.py")} - {"."}
    ground = {path.name for path in LIBRARY.glob("*.py")} - {"__init__.py"}
    assert named == rooms | ground
