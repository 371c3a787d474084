"""What the routes work with, and how they answer."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, HTTPException, Request, Response
from pydantic import BaseModel

from recsys.artifacts import ArtifactError
from recsys.database.comparisons import ShadowStore
from recsys.database.events import EventStore
from recsys.home import Home
from services.auth import Guard
from services.classifiers import Classifiers
from services.current import CurrentGeneration
from services.encoding import Encoders
from services.histories import Histories
from services.items import LiveItems
from services.limits import Lane
from services.lineage import Impressions
from services.metrics import Metrics
from services.schemas.recommend import FromModel
from services.shadow import Shadow
from services.shelf import Shelf

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender
    from recsys.serving.users import People


@dataclass(frozen=True)
class Parts:
    """What the routes work with; made when a worker starts and kept in ``app.state.parts``."""

    home: Home
    generation: CurrentGeneration
    shelf: Shelf
    items: LiveItems
    people: "People"
    histories: Histories
    impressions: Impressions
    shadow: Shadow
    shadows: ShadowStore
    metrics: Metrics
    guard: Guard
    encoders: Encoders
    classifiers: Classifiers
    scoring: Lane
    encoding: Lane
    writing: Lane
    loading: Lane

    def loaded(self, generation_id: str) -> "Recommender":
        """Return a generation: the one that answers, or another, which is loaded for it.

        Raises:
            ArtifactError: it does not exist, or is not what it was.
        """
        if generation_id == self.generation.serving:
            return self.generation.recommender()
        return self.shelf.open(generation_id)

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


def json_response(answer: BaseModel) -> Response:
    """Return an answer that is known to fit its schema, without validating it once more."""
    return Response(answer.model_dump_json(), media_type="application/json")


def milliseconds_since(started: float) -> float:
    """Return the time since a reading of ``time.perf_counter``."""
    return round((time.perf_counter() - started) * 1_000, 3)
