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

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys.store.events import EventStore
from recsys.store.shadows import ShadowStore
from services.auth import Guard
from services.classifiers import Classifiers
from services.current import CurrentGeneration
from services.encoding import Encoders
from services.items import LiveItems
from services.lineage import Impressions
from services.metrics import Metrics
from services.schemas.recommend import FromModel
from services.shadow import Shadow
from services.shelf import Shelf

if TYPE_CHECKING:
    from recsys.people import People
    from recsys.recommender import Recommender

SCORING_THREADS = 2  # a worker scores on one core; the second hides the waits for SQL
ENCODING_THREADS = 1  # BERT fills a core; recommendations go on beside it
LOADING_THREADS = 1  # two generations that load at once take each other's time
WRITING_THREADS = 1  # SQLite has one writer at a time; waiting here is fairer than in its busy loop
T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """What the routes work with; made when a worker starts and kept in ``app.state.parts``."""

    home: Home
    generation: CurrentGeneration
    shelf: Shelf
    items: LiveItems
    people: "People"
    impressions: Impressions
    shadow: Shadow
    shadows: ShadowStore
    metrics: Metrics
    guard: Guard
    encoders: Encoders
    classifiers: Classifiers
    scoring: CapacityLimiter
    encoding: CapacityLimiter
    writing: CapacityLimiter
    loading: CapacityLimiter

    @property
    def events(self) -> EventStore:
        """Live events."""
        return self.people.events


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsOfApp = Annotated[Parts, Depends(_parts)]


def answering(parts: Parts, asked: FromModel) -> "Recommender":
    """Return what answers a request, wholly, which may name an adapter or a generation.

    Raises:
        HTTPException: 404, there is no such adapter or generation; 409, nothing was made with the adapter, or the
            generation was made with another one or is broken; 503, nothing is served.
    """
    recommender, adapter = parts.generation.recommender(), asked.adapter
    if asked.generation is None and adapter in (None, recommender.adapter_id):
        return recommender
    generation_id = asked.generation or parts.shelf.answering(adapter or "")
    if generation_id != recommender.generation_id:
        parts.shelf.known(generation_id)
        try:
            recommender = parts.items.dress(parts.shelf.open(generation_id))
        except ArtifactError as error:
            raise HTTPException(409, f"Generation {generation_id} cannot answer: {error}") from None
    if adapter not in (None, recommender.adapter_id):
        raise HTTPException(409, f"Generation {generation_id} was made with adapter {recommender.adapter_id}.")
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
