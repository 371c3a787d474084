"""One finding about a table, as it is told to people and to programs."""

from dataclasses import dataclass
from typing import Literal

from recsys.data.quality import MAX_SHOWN

Severity = Literal["warning", "error"]
WARNING: Severity = "warning"
ERROR: Severity = "error"
EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """What a rule has found. No user is named in it.

    Attributes:
        rule: its name.
        severity: ``error`` where something is broken beyond doubt, else ``warning``. Neither refuses an ingest.
        table: events, items or users.
        count: of what the sentence tells.
        of: of how many.
        sentence: what it is, and what to do.
        examples: a few, as they are shown.
    """

    rule: str
    severity: Severity
    table: str
    count: int
    of: int
    sentence: str
    examples: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0

    @property
    def told(self) -> str:
        """The finding in one line."""
        such = f" Such as {'; '.join(self.examples)}." if self.examples else ""
        return f"{self.severity}, {self.rule}: {self.sentence}{such}"


def cut(text: str) -> str:
    """Return a text for an example: in one line, in quotes, cut where it is long."""
    line = " ".join(text.split())
    return f'"{line if len(line) <= MAX_SHOWN else line[:MAX_SHOWN] + "…"}"'
