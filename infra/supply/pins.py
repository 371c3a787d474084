"""The upper bounds of what the projects require, with the reason of each: ``python infra/supply/pins.py``.

A bound's reason is the comment on its line of ``pyproject.toml``. The command writes them as the table of
``infra/README.md``.
"""

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECTS = (ROOT / "pyproject.toml", ROOT / "services" / "python-client" / "pyproject.toml")
PAGE = ROOT / "infra" / "README.md"
BEGIN, END = "<!-- pins -->\n", "<!-- /pins -->"


@dataclass(frozen=True)
class Bound:
    """A requirement that keeps newer releases out, as it is written, and why it does."""

    project: str
    line: str
    reason: str

    @property
    def name(self) -> str:
        return canonicalize_name(Requirement(self.line).name)

    @property
    def upper(self) -> str:
        """Only what keeps newer releases out, as ``<2.14``."""
        return ",".join(sorted(str(one) for one in Requirement(self.line).specifier if one.operator in ("<", "<=")))

    @property
    def lifted(self) -> str:
        """The requirement without what keeps newer releases out."""
        requirement = Requirement(self.line)
        requirement.specifier = SpecifierSet(
            ",".join(str(one) for one in requirement.specifier if one.operator not in ("<", "<="))
        )
        return str(requirement)


def bounds(text: str) -> list[Bound]:
    """Return the upper bounds of a ``pyproject.toml``, in its order.

    Raises:
        ValueError: one has no reason beside it.
    """
    project = tomllib.loads(text)["project"]
    extras = project.get("optional-dependencies", {})
    found = []
    for line in [*project["dependencies"], *(line for lines in extras.values() for line in lines)]:
        if any(one.operator in ("<", "<=") for one in Requirement(line).specifier):
            reason = re.search(rf'^\s*"{re.escape(line)}",[ \t]*#[ \t]*(\S.*)$', text, re.MULTILINE)
            if reason is None:
                raise ValueError(f"{project['name']} keeps newer releases out by {line!r} and does not say why.")
            found.append(Bound(project["name"], line, reason[1].strip()))
    return found


def table(found: list[Bound]) -> str:
    """Return the bounds as Markdown: a row a package and bound."""
    rows = {(bound.name, bound.upper): bound.reason for bound in reversed(found)}
    lines = [f"| {name} | `{upper}` | {reason} |" for (name, upper), reason in sorted(rows.items())]
    return "\n".join(["| package | bound | why |", "|---|---|---|", *lines, ""])


def page() -> str:
    """Return the operators' page with the table as the projects have it.

    Raises:
        ValueError: the page has no place for it.
    """
    text = PAGE.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} needs {BEGIN.strip()} and {END}.")
    found = [bound for project in PROJECTS for bound in bounds(project.read_text())]
    return f"{before}{begin}{table(found)}{end}{after}"


if __name__ == "__main__":
    sys.stdout.write(table([bound for project in PROJECTS for bound in bounds(project.read_text())]))
    PAGE.write_text(page())
