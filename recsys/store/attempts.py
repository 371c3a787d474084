"""Attempts to promote a generation: what became of each, for whoever asks later, in whatever process.

A folder each below ``runs``, held by the process that judges. One that has not ended and that nobody holds was left by
a process that is gone; the log of promotions then says whether it had switched. A home has one under way at a time.
"""

import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Literal

from recsys.artifacts import (
    ID_DIGITS,
    ArtifactError,
    Hold,
    check_id,
    commit_folder,
    discard_folder,
    is_held,
    locked,
    make_room,
    now,
    read_each,
    staged_folder,
    write_json,
)
from recsys.errors import RecsysError
from recsys.home import Home
from recsys.record import Record
from recsys.store.pointer import list_promotions
from recsys.store.promotions import Cause

ROOM = "promotions"  # below ``runs``
KEPT = 100  # of those that have ended
REFUSED, BROKEN, LOST = "refused-by-gate", "cannot-answer", "promotion-lost"  # why one did not come to serve
_NAME = "attempt.json"
State = Literal["running", "promoted", "refused", "failed"]


@dataclass(frozen=True, kw_only=True)
class Attempt(Record):
    """One attempt to promote a generation.

    Attributes:
        id: of the attempt; the log of promotions has it, too.
        at: when it was asked for (UTC).
        generation: what shall be served.
        by: who asked, see ``Cause``, and why.
        reason: in words; None: none was given.
        forced: whether the gate is to be overruled.
        state: ``running``; ``promoted``: it is served; ``refused`` by the gate; ``failed``: there was no verdict, or
            nothing could be switched.
        ended: when it was decided (UTC).
        previous: what was served before; None: nothing, or it is not decided yet.
        findings: of the gate, one sentence each.
        code: a word that says why it was refused or has failed.
        detail: the same in a sentence.
    """

    id: str
    at: str
    generation: str
    by: str
    reason: str | None = None
    forced: bool = False
    state: State = "running"
    ended: str | None = None
    previous: str | None = None
    findings: list[str] = field(default_factory=list)
    code: str | None = None
    detail: str | None = None

    @property
    def running(self) -> bool:
        """Whether it is not decided yet."""
        return self.state == "running"


class UnderWayError(RecsysError):
    """Another attempt is under way in this home."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(f"Generation {attempt.generation} is being judged, asked for by {attempt.by}.")
        self.attempt = attempt


def begin_attempt(home: Home, generation_id: str, cause: Cause, force: bool) -> tuple[Attempt, Hold]:
    """Note that a generation is to be promoted, and hold that for as long as it takes; older attempts are forgotten.

    Raises:
        UnderWayError: another is under way.
        OSError: the home cannot be written to.
    """
    room = make_room(home.make().runs / ROOM)
    with locked(room / ".lock"):
        other = under_way(home)
        if other is not None:
            raise UnderWayError(other)
        for old in attempts(home)[KEPT - 1 :]:
            discard_folder(room / old.id)
        attempt = Attempt(
            id=token_hex(ID_DIGITS // 2), at=now(), generation=generation_id, by=cause.by, reason=cause.reason,
            forced=force,
        )  # fmt: skip
        with staged_folder(room) as staging:
            write_json(staging / _NAME, attempt.to_dict())
            folder = commit_folder(staging, room / attempt.id)
        return attempt, Hold(folder)


def end_attempt(home: Home, attempt: Attempt) -> None:
    """Write down what became of an attempt, by who holds it.

    Raises:
        OSError: the home cannot be written to; the log of promotions has what was decided.
    """
    write_json(_folder(home, attempt.id) / _NAME, replace(attempt, ended=now()).to_dict())


def find_attempt(home: Home, attempt_id: str) -> Attempt:
    """Return an attempt as it stands.

    Raises:
        ArtifactError: there is none of that id, or none any more.
    """
    folder = _folder(home, attempt_id)
    attempt = Attempt.read(folder / _NAME)
    if not attempt.running or is_held(folder):
        return attempt
    attempt = Attempt.read(folder / _NAME)  # it may have ended between the two looks
    return _left(home, attempt) if attempt.running else attempt


def attempts(home: Home) -> list[Attempt]:
    """Return all attempts that are kept, the newest first."""
    found = read_each(home.runs / ROOM, _NAME, partial(find_attempt, home))
    return sorted(found, key=lambda one: (one.at, one.id), reverse=True)


def under_way(home: Home) -> Attempt | None:
    """Return the attempt that is being judged; None: none is."""
    return next((one for one in attempts(home) if one.running), None)


def _folder(home: Home, attempt_id: str) -> Path:
    check_id(attempt_id, "promotion")
    folder = home.runs / ROOM / attempt_id
    if not os.path.lexists(folder / _NAME):
        raise ArtifactError(f"There is no promotion {attempt_id}; the newest {KEPT} are kept.")
    return folder


def _left(home: Home, attempt: Attempt) -> Attempt:
    """Return what became of an attempt whose process is gone."""
    decided = next((one for one in list_promotions(home) if one.attempt == attempt.id), None)
    if decided is not None:
        told = replace(attempt, ended=decided.at, previous=decided.previous, findings=decided.findings)
        if decided.action != "refused":
            return replace(told, state="promoted")
        detail = " ".join(decided.findings)
        if decided.passed is False:
            return replace(told, state="refused", code=REFUSED, detail=detail)
        return replace(told, state="failed", code=BROKEN, detail=detail)
    detail = "The process that judged it has ended before it was decided; nothing has changed. Ask again."
    return replace(attempt, state="failed", code=LOST, detail=detail)
