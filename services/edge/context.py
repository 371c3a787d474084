"""The request that is being answered: its id, timer and span, for whoever works on it, also in another thread.

A context variable carries them, which asyncio hands to tasks and anyio to threads; nobody has to pass them on.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recsys.ranking.stages import StageTimer

if TYPE_CHECKING:
    from opentelemetry.trace import Span

# Stages of a request around those of the answer itself (``recsys.ranking.stages``).
PARSE = "parse"  # from the request's first byte to its checked body, the key among it
QUEUE = "queue"  # until a thread is free
MODEL = "model"  # finding the generation, encoder or classifier that answers; loading it where it is new
HISTORY = "history"  # what a user did, from the snapshot and the database
STORE = "store"  # writing to the database
WORK = "work"  # all that a route without stages of its own does
RECORD = "record"  # putting the answer on the list of those to be written down
SERIALISE = "serialise"  # from the answer to the last byte that is sent


class AbandonedError(Exception):
    """Nobody waits for the answer any more: its time is up, or whoever asked has gone."""


@dataclass(slots=True)
class RequestContext:
    """One request while it is answered."""

    request_id: str
    timer: StageTimer = field(default_factory=StageTimer)
    span: "Span | None" = None  # where the request is traced
    key: str = ""  # id of the key that asks
    tenant: str = ""  # whose key it is, where there are tenants
    abandoned: bool = False  # whether nobody waits for the answer any more


CURRENT: ContextVar[RequestContext | None] = ContextVar("request", default=None)


def asking_key() -> str | None:
    """Return the id of the key of the current request; None where it brought none."""
    context = CURRENT.get()
    return (context.key or None) if context is not None else None


def asking_tenant() -> str | None:
    """Return whose key the current request has brought; None where there are no tenants, or it brought none."""
    context = CURRENT.get()
    return (context.tenant or None) if context is not None else None


def since_arrival() -> float:
    """Return the seconds since the current request arrived; 0 outside of one."""
    context = CURRENT.get()
    return time.perf_counter() - context.timer.started if context is not None else 0.0


def end_stage(stage: str) -> None:
    """Give the time since the last stage of the current request to a stage."""
    context = CURRENT.get()
    if context is not None:
        context.timer.end_stage(stage)


def checkpoint(stage: str) -> None:
    """As ``end_stage``, in work that may stop here: what has been done so far leaves nothing behind.

    Raises:
        AbandonedError: nobody waits for the answer any more.
    """
    end_stage(stage)
    context = CURRENT.get()
    if context is not None and context.abandoned:
        raise AbandonedError


def end_stage_after(before: str | None, stage: str) -> None:
    """As ``end_stage``, but only where the last stage that ended was ``before``; None: where there was none yet."""
    context = CURRENT.get()
    if context is not None:
        ends = context.timer.ends
        if before == (ends[-1][0] if ends else None):
            context.timer.end_stage(stage)
