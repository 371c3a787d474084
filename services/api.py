"""The routes: what the service can be asked, and how requests become calls of the library.

Scoring and SQL run in a few threads, so that a slow request never holds up the others or the health checks.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from recsys.config import IngestConfig
from recsys.home import Home
from recsys.ranking.rules import FilterError
from recsys.store.events import Event, EventStore
from recsys.store.generations import current_id, list_generations
from services.current import CurrentGeneration
from services.metrics import Measured, Metrics, exposition
from services.problems import documented, install_handlers
from services.schemas import (
    EventsAnswer,
    EventsRequest,
    GenerationsAnswer,
    Problem,
    RankedItem,
    RecommendAnswer,
    RecommendRequest,
    Rejection,
    SimilarAnswer,
    SimilarRequest,
)

if TYPE_CHECKING:
    from recsys.recommender import Recommendation, Recommender

SCORING_THREADS = 2  # a worker scores on one core; the second hides the waits for SQL
WRITING_THREADS = 1  # SQLite has one writer at a time; waiting here is fairer than in its busy loop
FUTURE_TOLERANCE = timedelta(seconds=IngestConfig().future_tolerance_seconds)
T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """What the routes work with; made when a worker starts and kept in ``app.state.parts``."""

    home: Home
    generation: CurrentGeneration
    events: EventStore
    metrics: Metrics
    scoring: CapacityLimiter
    writing: CapacityLimiter


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsOfApp = Annotated[Parts, Depends(_parts)]


def create_app() -> FastAPI:
    """Return the application with all routes; whoever runs it sets ``app.state.parts`` first."""
    app = FastAPI(
        title="recsys",
        version=version("recsys"),
        summary="Recommendations from user behaviour and item texts.",
        openapi_url="/docs.json",
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Measured, metrics=lambda: app.state.parts.metrics)
    install_handlers(app)
    app.post("/v1/recommend", response_model=RecommendAnswer, responses=documented(400, 404, 413, 422, 503))(recommend)
    app.post("/v1/similar", response_model=SimilarAnswer, responses=documented(400, 404, 413, 422, 503))(similar)
    app.post("/v1/events", response_model=EventsAnswer, responses=documented(400, 413, 422, 503))(add_events)
    app.get("/v1/generations", response_model=GenerationsAnswer)(generations)
    app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})(metrics)
    app.get("/", include_in_schema=False)(describe)
    app.openapi = partial(_complete, app, app.openapi)  # type: ignore[method-assign]
    return app


async def recommend(request: RecommendRequest, parts: PartsOfApp) -> Response:
    """Return the best items for a person, given by user_id or by history.

    A user whom neither the snapshot nor the live events know gets what is popular, with ``fallback`` saying so.
    """
    return _json(await _in_thread(parts.scoring, _recommend, parts, request))


async def similar(request: SimilarRequest, parts: PartsOfApp) -> Response:
    """Return the items most like a given one."""
    return _json(await _in_thread(parts.scoring, _similar, parts, request))


async def add_events(request: EventsRequest, parts: PartsOfApp) -> Response:
    """Store live events; repeating a request is safe where events have a timestamp or an event_id."""
    return _json(await _in_thread(parts.writing, _add_events, parts, request))


async def generations(parts: PartsOfApp) -> Response:
    """List all generations, and say which one answers here."""
    return _json(await _in_thread(parts.writing, _generations, parts))


async def metrics() -> Response:
    """Return the numbers of all workers in Prometheus' text format."""
    content, media_type = await to_thread.run_sync(exposition)
    return Response(content, media_type=media_type)


async def describe() -> Response:
    """Lead people to the description; without this route they would get BentoML's page, which loads a tracker."""
    return RedirectResponse("/docs.json")


def _recommend(parts: Parts, request: RecommendRequest) -> RecommendAnswer:
    started = time.perf_counter()
    recommender = parts.generation.recommender()
    if request.adapter not in (None, recommender.adapter_id):
        raise HTTPException(404, f"Adapter {request.adapter!r} is not served; {recommender.adapter_id!r} is.")
    if request.user_id is not None:
        live = parts.events.history(request.user_id)
        history = recommender.history(request.user_id, [event.item_id for event in live])
    else:
        history = request.history or []
    with _refusing(recommender, request.fields):
        answer = recommender.recommend(
            history,
            k=request.k,
            filter=request.filter,
            exclude_seen=request.exclude_seen,
            exclude_ids=request.exclude_ids,
            explain=request.explain,
            fields=request.fields,
        )
    if answer.fallback:
        parts.metrics.fallbacks.labels(answer.fallback).inc()
    return RecommendAnswer(
        rec_id=uuid.uuid4().hex,
        items=_items(answer.items),
        generation=answer.generation,
        adapter=answer.adapter,
        fallback=answer.fallback,
        missing_ids=answer.missing_ids,
        took_ms=_milliseconds_since(started),
    )


def _similar(parts: Parts, request: SimilarRequest) -> SimilarAnswer:
    started = time.perf_counter()
    recommender = parts.generation.recommender()
    if not recommender.known_item(request.item_id):
        raise HTTPException(404, f"There is no item {request.item_id!r} in generation {recommender.generation_id}.")
    with _refusing(recommender, request.fields):
        answer = recommender.similar(request.item_id, k=request.k, filter=request.filter, fields=request.fields)
    return SimilarAnswer(
        items=_items(answer.items),
        generation=answer.generation,
        adapter=answer.adapter,
        took_ms=_milliseconds_since(started),
    )


def _add_events(parts: Parts, request: EventsRequest) -> EventsAnswer:
    recommender = parts.generation.recommender()
    now = datetime.now(UTC)
    events, rejected = [], []
    for index, new in enumerate(request.events):
        # events without a time happened in the order in which they were sent
        timestamp = new.timestamp or now + timedelta(microseconds=index)
        try:
            if not recommender.known_item(new.item_id):
                raise ValueError(f"There is no item {new.item_id!r} in generation {recommender.generation_id}.")
            if timestamp > now + FUTURE_TOLERANCE:
                raise ValueError(f"The timestamp {timestamp} lies in the future.")
            events.append(Event(**new.model_dump() | {"timestamp": timestamp, "event_id": new.event_id or ""}))
        except ValueError as error:
            rejected.append(Rejection(index=index, reason=str(error)))
    added = parts.events.add(events)
    parts.metrics.events.labels("accepted").inc(added.accepted)
    parts.metrics.events.labels("duplicate").inc(added.duplicates)
    parts.metrics.events.labels("rejected").inc(len(rejected))
    return EventsAnswer(accepted=added.accepted, duplicates=added.duplicates, rejected=rejected)


def _generations(parts: Parts) -> GenerationsAnswer:
    return GenerationsAnswer(
        serving=parts.generation.serving,
        current=current_id(parts.home),
        problem=parts.generation.problem,
        generations=[
            {key: value for key, value in manifest.items() if key != "files"}
            for manifest in list_generations(parts.home)
        ],
    )


@contextmanager
def _refusing(recommender: "Recommender", fields: list[str]) -> Iterator[None]:
    """Answer 422 to fields and filters that do not fit the catalogue."""
    unknown = [name for name in fields if name not in recommender.field_names]
    if unknown:
        raise HTTPException(422, f"body.fields: there is no {unknown[0]!r}; there are {recommender.field_names}.")
    try:
        yield
    except FilterError as error:
        raise HTTPException(422, f"body.filter: {error}") from None


def _items(recommendations: list["Recommendation"]) -> list[RankedItem]:
    return [
        RankedItem(item_id=found.item_id, score=found.score, reasons=list(found.reasons), fields=found.fields)
        for found in recommendations
    ]


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1_000, 3)


async def _in_thread(limiter: CapacityLimiter, work: Callable[..., T], *arguments: Any) -> T:
    return await to_thread.run_sync(work, *arguments, limiter=limiter)


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _complete(app: FastAPI, generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the OpenAPI document with what FastAPI does not know: the errors' shape, and BentoML's health checks."""
    document = generate()
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    for path, summary, errors in (("/livez", "Is the process alive?", ()), ("/readyz", "Can it answer?", (503,))):
        responses = {str(status): response for status, response in documented(*errors).items()}
        responses["200"] = {"description": "Yes."}
        document["paths"][path] = {"get": {"summary": summary, "operationId": path[1:], "responses": responses}}
    return document
