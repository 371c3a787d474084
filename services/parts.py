"""What the routes work with, and how they work: in a few threads, answering JSON.

Scoring and SQL run in threads of their own, so that a slow request never holds up the others or the health checks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, HTTPException, Request, Response
from pydantic import BaseModel

from recsys.home import Home
from recsys.store.events import EventStore
from services.auth import Guard
from services.current import CurrentGeneration
from services.encoding import Encoders
from services.metrics import Metrics

if TYPE_CHECKING:
    from recsys.recommender import Recommender

SCORING_THREADS = 2  # a worker scores on one core; the second hides the waits for SQL
ENCODING_THREADS = 1  # BERT fills a core; recommendations go on beside it
WRITING_THREADS = 1  # SQLite has one writer at a time; waiting here is fairer than in its busy loop
T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """What the routes work with; made when a worker starts and kept in ``app.state.parts``."""

    home: Home
    generation: CurrentGeneration
    events: EventStore
    metrics: Metrics
    guard: Guard
    encoders: Encoders
    scoring: CapacityLimiter
    encoding: CapacityLimiter
    writing: CapacityLimiter


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsOfApp = Annotated[Parts, Depends(_parts)]


def answering(parts: Parts, adapter: str | None) -> "Recommender":
    """Return what answers a request, wholly, which may name an adapter.

    Raises:
        HTTPException: 404, the adapter is not served; 503, nothing is.
    """
    recommender = parts.generation.recommender()
    if adapter not in (None, recommender.adapter_id):
        raise HTTPException(404, f"Adapter {adapter!r} is not served; {recommender.adapter_id!r} is.")
    return recommender


async def in_thread(limiter: CapacityLimiter, work: Callable[..., T], *arguments: Any) -> T:
    """Run blocking work in one of a limiter's threads."""
    return await to_thread.run_sync(work, *arguments, limiter=limiter)


def json_response(answer: BaseModel) -> Response:
    """Return an answer that is known to fit its schema, without validating it once more."""
    return Response(answer.model_dump_json(), media_type="application/json")


def milliseconds_since(started: float) -> float:
    """Return the time since a reading of ``time.perf_counter``."""
    return round((time.perf_counter() - started) * 1_000, 3)
