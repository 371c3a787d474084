"""The pointer to what is served: one small file, replaced in one step, and the lock of all who move it.

Its replacement decides a switch. It carries the promotion that it was written by, so that the log of promotions, which
is written after it, loses nothing to a crash between the two.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from recsys.artifacts import ArtifactError, as_json, locked, make_room
from recsys.home import Home
from recsys.record import Record
from recsys.remote.bucket import StoreError
from recsys.remote.state import adopt, merge_lines, share
from recsys.store import promotions
from recsys.store.promotions import LOG, Promotion, is_written, read_log

POINTER = "current.json"
_PLACE, _LOG_PLACE = f"generations/{POINTER}", f"generations/{LOG}"  # below a home
MAX_TRAIL = 50  # generations that rollback can go back through
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pointer(Record):
    """What is served, and what was before it.

    Attributes:
        generation: the id of the one that is served.
        trail: the ids of those that were, the current one last.
        promotion: the switch that it was written by, as the log has it; empty: an older version wrote it.
    """

    generation: str
    trail: list[str]
    promotion: dict[str, Any] = field(default_factory=dict)


def read_pointer(home: Home) -> Pointer | None:
    """Return the pointer, or None before anything was served.

    Raises:
        ArtifactError: it is broken.
    """
    path = home.generations / POINTER
    if not os.path.lexists(path):
        return None
    return Pointer.read(path, "Remove it and publish again.")


def trail_of(home: Home) -> list[str]:
    """Return the ids of what was served, the current one last; none before the first.

    Raises:
        ArtifactError: the pointer is broken.
    """
    pointer = read_pointer(home)
    return [] if pointer is None else pointer.trail


@contextmanager
def pointer_lock(home: Home) -> Iterator[None]:
    """Hold the pointer's lock, and write into the log what a crash has kept from it.

    A home on an object store has the pointer and the log as they are there now.

    Raises:
        StoreError: the store does not answer.
    """
    with locked(make_room(home.generations) / ".lock"):
        adopt(home, _PLACE)
        merge_lines(home, _LOG_PLACE)
        # Who asks for a broken pointer is told of it; a log that cannot be read keeps nobody from switching.
        with suppress(ArtifactError, OSError):
            last = _last(home)
            if last is not None and not is_written(home, last):
                _append(home, last)
        yield


def switch(home: Home, trail: list[str], promotion: Promotion) -> None:
    """Replace the pointer, by which it is decided, then write the log; only for who holds the lock.

    Raises:
        OvertakenError: another machine has replaced it in the store since the lock was taken; nothing is changed.
        StoreError: the store does not answer; the pointer here stays, the one there is the old one or the new.
    """
    _write(home, trail, promotion.to_dict())
    _append(home, promotion)


def leave_trail(home: Home, generation_id: str) -> None:
    """Take a generation that is not served out of the trail; only for who holds the lock."""
    pointer = read_pointer(home)
    if pointer is not None and generation_id in pointer.trail:
        kept = [entry for entry in pointer.trail if entry != generation_id]
        _write(home, [entry for entry, _ in groupby(kept)], pointer.promotion)  # nobody goes back to where he is


def refuse(home: Home, promotion: Promotion) -> None:
    """Write into the log that a generation may not be served; the pointer stays.

    A home that cannot be written to hides no refusal: it is logged.
    """
    try:
        with pointer_lock(home):
            _append(home, promotion)
    except (OSError, StoreError) as error:
        _LOG.warning("That %s was refused is not in the log of promotions: %s", promotion.generation, error)


def list_promotions(home: Home) -> list[Promotion]:
    """Return what was served when, by whom and why, and what was refused, the newest first.

    Raises:
        ArtifactError: the log is a link.
    """
    last = None
    with suppress(ArtifactError):  # a pointer that is broken has no part in what was
        last = _last(home)  # before the log, into which it may be written meanwhile
    written = read_log(home)
    return [*([] if last is None or last in written else [last]), *written[::-1]]


def _last(home: Home) -> Promotion | None:
    """Return the switch that the pointer was written by.

    Raises:
        ArtifactError: the pointer is broken.
    """
    pointer = read_pointer(home)
    try:
        return Promotion.parsed(pointer.promotion) if pointer is not None and pointer.promotion else None
    except TypeError as error:
        _LOG.warning("The pointer's own promotion cannot be read: %s", error)
        return None


def _append(home: Home, promotion: Promotion) -> None:
    """Add a line to the log. A store that does not take it gets it with the next one."""
    promotions.append(home, promotion)
    try:
        merge_lines(home, _LOG_PLACE)
    except StoreError as error:
        _LOG.warning("The log of promotions in the store lacks a line: %s", error)


def _write(home: Home, trail: list[str], promotion: dict[str, Any]) -> None:
    pointer = {"generation": trail[-1], "trail": trail[-MAX_TRAIL:], "promotion": promotion}
    share(home, _PLACE, as_json(pointer))
