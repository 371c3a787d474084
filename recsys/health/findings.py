"""What a check has found: a state, a sentence, and what to do. A check that fails itself is a finding, too."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from recsys.callbacks import Progress
from recsys.errors import RecsysError

State = Literal["ok", "warning", "failed"]
NAMED = 3  # of many that are alike


@dataclass(frozen=True)
class Finding:
    """What was found by the check of a name; ``todo`` is empty where ``found`` says it, or nothing is to do."""

    name: str
    state: State
    found: str
    todo: str = ""


@dataclass(frozen=True)
class Check:
    """Something to look at.

    Attributes:
        name: what is looked at, in a word.
        look: looks, and returns what is wrong, or else what is right.
    """

    name: str
    look: Callable[[], "Iterable[Seen]"]


@dataclass(frozen=True)
class Seen:
    """One thing that a check sees; the check's name makes a ``Finding`` of it."""

    state: State
    found: str
    todo: str = ""


def fine(found: str) -> Seen:
    """Return that all is well."""
    return Seen("ok", found)


def warning(found: str, todo: str) -> Seen:
    """Return what works now and should be changed."""
    return Seen("warning", found, todo)


def failed(found: str, todo: str) -> Seen:
    """Return what does not work."""
    return Seen("failed", found, todo)


def examine(checks: Sequence[Check], progress: Progress | None = None) -> list[Finding]:
    """Make all checks, one after the other; whatever one of them raises is what it has found, and the next follows."""
    findings: list[Finding] = []
    for place, check in enumerate(checks):
        if progress is not None:
            progress(place, len(checks))
        seen: list[Seen] = []
        try:
            seen.extend(check.look())
        except RecsysError as error:
            seen.append(failed(str(error), ""))  # which says what to do
        except Exception as error:  # a broken home is what this is for
            seen.append(
                failed(
                    f"{type(error).__name__}: {error}",
                    "Look at what it names, or restore it from a backup.",
                )
            )
        findings += [Finding(check.name, one.state, one.found, one.todo) for one in seen]
    if progress is not None:
        progress(len(checks), len(checks))
    return findings


def some(names: Iterable[str]) -> str:
    """Return a few of many names, and how many more there are."""
    all_names = list(names)
    more = len(all_names) - NAMED
    return ", ".join(all_names[:NAMED]) + (f" and {more} more" if more > 0 else "")
