"""Read a Dockerfile and a .dockerignore as far as those of this project go, without Docker."""

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = Path(__file__).parent / "Dockerfile"
IGNORE = ROOT / ".dockerignore"


@dataclass(frozen=True)
class Instruction:
    """One instruction, as ``RUN``, and what stands behind it, with continued lines joined."""

    name: str
    value: str

    def words(self) -> list[str]:
        """Return a command of exec form.

        Raises:
            ValueError: it has the shell's form, in which the shell gets the signals.
        """
        return list(json.loads(self.value.removeprefix("CMD").strip() if self.name == "HEALTHCHECK" else self.value))

    def copied(self) -> tuple[str | None, list[str], str]:
        """Return from which stage COPY takes (None: the clone), what, and where it puts it."""
        *sources, target = shlex.split(self.value)
        options = [one for one in sources if one.startswith("--")]
        stage = next((one.partition("=")[2] for one in options if one.startswith("--from=")), None)
        return stage, [one for one in sources if one not in options], target


@dataclass(frozen=True)
class Stage:
    """A stage: its name, the stage or the image that it is made from, and its instructions."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        return [one for one in self.instructions if one.name == name]


def read_stages(text: str) -> dict[str, Stage]:
    """Return the stages of a Dockerfile's text by name, in its order.

    Raises:
        ValueError: a line is no instruction, or stands before the first FROM.
    """
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    stages: dict[str, Stage] = {}
    last = ""
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if not line.strip():
            continue
        found = re.fullmatch(r"([A-Z]+)\s+(.+)", line.strip())
        if found is None:
            raise ValueError(f"{line!r} is no instruction.")
        name, value = found[1], found[2]
        if name == "FROM":
            base, _, last = value.partition(" AS ")
            stages[last] = Stage(last, base, ())
            continue
        if name == "HEALTHCHECK":
            value = value[value.index("CMD") :]  # when and how often is Docker's affair
        stage = stages[last]
        stages[last] = Stage(last, stage.base, (*stage.instructions, Instruction(name, value)))
    return stages


def lineage(stages: dict[str, Stage], name: str) -> list[Stage]:
    """Return a stage and those that it is made from, the first of them first."""
    found = [stages[name]]
    while found[0].base in stages:
        found.insert(0, stages[found[0].base])
    return found


def environment(stages: dict[str, Stage], name: str, outside: dict[str, str]) -> dict[str, str]:
    """Return the variables that a stage's ENV give to its processes, beside those from outside."""
    found = dict(outside)
    for one in (env for stage in lineage(stages, name) for env in stage.all("ENV")):
        for word in shlex.split(one.value):
            variable, _, value = word.partition("=")
            found[variable] = re.sub(r"\$(\w+)", lambda match: found.get(match[1], ""), value)
    return found


def last(stages: dict[str, Stage], name: str, instruction: str) -> Instruction:
    """Return the instruction of a kind that counts for a stage: the last one.

    Raises:
        LookupError: there is none.
    """
    return [one for stage in lineage(stages, name) for one in stage.all(instruction)][-1]


def sent(paths: Iterable[str], ignore: str) -> list[str]:
    """Return which paths of the clone Docker is sent by a .dockerignore's text: the last pattern that fits counts.

    A pattern fits a path and all that lies below it; ``**`` stands for any number of folders.
    """
    rules = [line.strip() for line in ignore.splitlines() if line.strip() and not line.startswith("#")]
    return [path for path in paths if not _ignored(path, rules)]


def _ignored(path: str, rules: list[str]) -> bool:
    parts = path.split("/")
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!").strip("/").split("/")
        if any(_fits(parts[:depth], pattern) for depth in range(1, len(parts) + 1)):
            ignored = not rule.startswith("!")
    return ignored


def _fits(parts: list[str], pattern: list[str]) -> bool:
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        return any(_fits(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
