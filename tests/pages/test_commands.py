"""The commands that the pages show exist, with the options that they are shown with, and none is left out."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from flows.cli import app

CLONE = Path(__file__).parents[2]
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
SHOWN = [
    pytest.param(shlex.split(part, comments=True)[1:], id=f"{page.parent.name}: {part}")
    for page in sorted([CLONE / "README.md", *CLONE.glob("*/README.md")])
    for block in BLOCK.findall(page.read_text())
    for line in block.replace("\\\n", " ").splitlines()
    for part in re.split(r" && | \| ", line)
    if part.startswith("recsys ")
]
COMMANDS = typer.main.get_command(app)


@pytest.mark.parametrize("words", SHOWN)
def test_a_command_of_the_pages_is_understood(words: list[str]) -> None:
    command = COMMANDS
    names = iter(words)
    while isinstance(command, TyperGroup):
        name = next(names)
        assert name in command.commands, name
        command = command.commands[name]
    options = {option for parameter in command.params for option in parameter.opts}
    given = [word.partition("=")[0] for word in names if word.startswith("--")]
    assert set(given) <= options


def test_the_operators_page_has_every_command() -> None:
    assert isinstance(COMMANDS, TyperGroup)
    page = (CLONE / "flows" / "README.md").read_text()
    (table,) = re.findall(r"^\| command \| does \|\n(.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    first = " ".join(row.split(" | ")[0] for row in table.splitlines())
    assert set(COMMANDS.commands) <= set(re.findall(r"[a-z][a-z-]*", first))
