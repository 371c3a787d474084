"""Items for a person, and items like an item."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi import HTTPException, Response

from recsys.ranking.rules import FilterError
from services.auth import guarded_router, scoped
from services.parts import Parts, PartsOfApp, in_thread, json_response, milliseconds_since
from services.schemas.recommend import RankedItem, RecommendAnswer, RecommendRequest, SimilarAnswer, SimilarRequest

if TYPE_CHECKING:
    from recsys.recommender import Recommendation, Recommender

router = guarded_router()


@router.post("/v1/recommend", response_model=RecommendAnswer, **scoped("recommend", 400, 404, 413, 422))
async def recommend(request: RecommendRequest, parts: PartsOfApp) -> Response:
    """Return the best items for a person, given by user_id or by history.

    A user whom neither the snapshot nor the live events know gets what is popular, with ``fallback`` saying so.
    """
    return json_response(await in_thread(parts.scoring, _recommend, parts, request))


@router.post("/v1/similar", response_model=SimilarAnswer, **scoped("recommend", 400, 404, 413, 422))
async def similar(request: SimilarRequest, parts: PartsOfApp) -> Response:
    """Return the items most like a given one."""
    return json_response(await in_thread(parts.scoring, _similar, parts, request))


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
        took_ms=milliseconds_since(started),
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
        took_ms=milliseconds_since(started),
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
