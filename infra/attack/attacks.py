"""What an attack is, and what comes of it.

An attack is a function of a ``Target``; its docstring is the promise that it tries to break, in one sentence. It
returns ``held``, ``hurt`` or ``not_tried``, each with a line of evidence: figures, not adjectives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from infra.attack.target import Target

HELD, HURT, NOT_TRIED = "held", "hurt", "not tried"
# What it is tried on: a service without keys, one with keys, the files of a home, the code alone, or Prefect's server.
Field = Literal["keyless", "keyed", "files", "code", "server"]


@dataclass(frozen=True)
class Outcome:
    """What came of an attack."""

    state: str
    evidence: str


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: of the function, in words.
        promise: what must hold, one sentence.
        field: what it is tried on.
        seconds: after which it is ended.
        traceless: whether it leaves nothing behind and needs no home, so that any service of one's own may be tried.
        run: tries it.
    """

    name: str
    promise: str
    field: Field
    seconds: float
    traceless: bool
    run: Callable[["Target"], Outcome]


def attack(
    field: Field, seconds: float = 30, traceless: bool = False
) -> Callable[[Callable[["Target"], Outcome]], Attack]:
    """Make a function an attack; its docstring is the promise."""

    def make(run: Callable[["Target"], Outcome]) -> Attack:
        promise = " ".join((run.__doc__ or "").split())
        return Attack(run.__name__.replace("_", " "), promise, field, seconds, traceless, run)

    return make


def attacks_of(module: ModuleType) -> list[Attack]:
    """Return a module's attacks, in the order in which they stand there."""
    return [value for value in vars(module).values() if isinstance(value, Attack)]


def held(evidence: str) -> Outcome:
    return Outcome(HELD, evidence)


def hurt(evidence: str) -> Outcome:
    return Outcome(HURT, evidence)


def not_tried(why: str) -> Outcome:
    return Outcome(NOT_TRIED, why)


def judged(kept: bool, evidence: str) -> Outcome:
    """Return ``held`` where the promise was kept, else ``hurt``."""
    return held(evidence) if kept else hurt(evidence)
