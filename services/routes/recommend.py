"""Items for a person or for many, given items in order, and items like an item."""

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Response

from services.edge.auth import ReadsHistories, guarded_router, scoped
from services.edge.context import HISTORY, MODEL, RECORD, lap
from services.edge.metrics import COLD, NO_FALLBACK, WARM
from services.schemas.lists import RecommendedItem
from services.schemas.recommend import (
    BatchAnswer,
    BatchRequest,
    PersonsList,
    RankAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    SimilarRequest,
)
from services.worker.answering import ERRORS, answering, json_response, milliseconds_since, ranked, refusing, wish_of
from services.worker.shadow import Shown
from services.worker.state import Parts, PartsOfApp

if TYPE_CHECKING:
    from recsys.serving.answers import Answer
    from recsys.serving.recommender import Recommender

router = guarded_router()


@router.post("/v1/recommend", response_model=RecommendAnswer, **scoped("recommend", *ERRORS))
async def recommend(request: RecommendRequest, parts: PartsOfApp, reads: ReadsHistories) -> Response:
    """Return the best items for a person, given by user_id or by history.

    A user whom neither the snapshot nor the live events know gets what is popular, with ``fallback`` saying so.
    """
    return json_response(await parts.scoring.run(_recommend, parts, request, reads))


@router.post("/v1/recommend/batch", response_model=BatchAnswer, **scoped("recommend", *ERRORS))
async def recommend_batch(request: BatchRequest, parts: PartsOfApp, reads: ReadsHistories) -> Response:
    """Return the best items for up to 256 people: for each what /v1/recommend would answer, in less time.

    What is unknown of one person (the user, items of the history) shows in that person's answer and nowhere else.
    """
    return json_response(await parts.scoring.run(_recommend_batch, parts, request, reads))


@router.post("/v1/rank", response_model=RankAnswer, **scoped("recommend", *ERRORS))
async def rank(request: RankRequest, parts: PartsOfApp, reads: ReadsHistories) -> Response:
    """Return up to 1,000 given items in the order in which they suit a person."""
    return json_response(await parts.scoring.run(_rank, parts, request, reads))


@router.post("/v1/similar", response_model=SimilarAnswer, **scoped("recommend", *ERRORS))
async def similar(request: SimilarRequest, parts: PartsOfApp) -> Response:
    """Return the items most like a given one."""
    return json_response(await parts.scoring.run(_similar, parts, request))


def _recommend(parts: Parts, request: RecommendRequest, reads: bool) -> RecommendAnswer:
    started = time.perf_counter()
    recommender = answering(parts, request)
    wish, rec_id = wish_of(request), uuid.uuid4().hex
    lap(MODEL)
    (known,) = parts.histories.of(recommender, [request])
    lap(HISTORY)
    history = known or []
    with refusing(recommender, request.fields):
        (answer,) = recommender.recommend_many([history], wish, lap)
    answer = _told(parts, answer, known, reads or request.user_id is None)
    _count_items(parts, recommender, answer)
    if request.record:
        parts.impressions.record(rec_id, recommender, request, request, history, answer)
        parts.shadow.follow(Shown(rec_id, recommender, history, wish, answer, milliseconds_since(started)))
    lap(RECORD)
    return RecommendAnswer(
        rec_id=rec_id,
        items=_recommended(answer),
        fallback=answer.fallback,
        missing_ids=answer.missing_ids,
        **_origin(answer, started),
    )


def _recommend_batch(parts: Parts, request: BatchRequest, reads: bool) -> BatchAnswer:
    started = time.perf_counter()
    recommender = answering(parts, request)
    lap(MODEL)
    known = parts.histories.of(recommender, request.users)
    lap(HISTORY)
    histories = [history or [] for history in known]
    with refusing(recommender, request.fields):
        answers = recommender.recommend_many(histories, wish_of(request), lap)
    answers = [
        _told(parts, answer, history, reads or person.user_id is None)
        for answer, history, person in zip(answers, known, request.users, strict=True)
    ]
    rec_ids = [uuid.uuid4().hex for _ in answers]
    for rec_id, person, history, answer in zip(rec_ids, request.users, histories, answers, strict=True):
        _count_items(parts, recommender, answer)
        if request.record:
            parts.impressions.record(rec_id, recommender, person, request, history, answer)
    lap(RECORD)
    return BatchAnswer(
        answers=[
            PersonsList(
                rec_id=rec_id,
                user_id=person.user_id,
                items=_recommended(answer),
                fallback=answer.fallback,
                missing_ids=answer.missing_ids,
            )
            for rec_id, person, answer in zip(rec_ids, request.users, answers, strict=True)
        ],
        **_origin(answers[0], started),
    )


def _rank(parts: Parts, request: RankRequest, reads: bool) -> RankAnswer:
    started = time.perf_counter()
    recommender = answering(parts, request)
    lap(MODEL)
    (known,) = parts.histories.of(recommender, [request])
    lap(HISTORY)
    with refusing(recommender, request.fields):
        answer = recommender.rank(
            known or [], request.item_ids, explain=request.explain, fields=request.fields, lap=lap
        )
    answer = _told(parts, answer, known, reads or request.user_id is None)
    return RankAnswer(
        items=ranked(answer),
        fallback=answer.fallback,
        missing_ids=answer.missing_ids,
        **_origin(answer, started),
    )


def _similar(parts: Parts, request: SimilarRequest) -> SimilarAnswer:
    started = time.perf_counter()
    recommender = answering(parts, request)
    if not recommender.known_item(request.item_id):
        raise HTTPException(404, f"There is no item {request.item_id!r} in generation {recommender.generation_id}.")
    lap(MODEL)
    with refusing(recommender, request.fields):
        answer = recommender.similar(
            request.item_id, k=request.k, filter=request.filter, fields=request.fields, lap=lap
        )
    return SimilarAnswer(items=ranked(answer), **_origin(answer, started))


def _told(parts: Parts, answer: "Answer", history: list[str] | None, openly: bool) -> "Answer":
    """Return an answer as the caller may see it; count which link of the chain it came from.

    It says so where the history could not be read. Unless ``openly``, explanations do not name the history's items.
    """
    from recsys.serving.answers import DEGRADED

    if history is None:
        answer = replace(answer, fallback=DEGRADED)
    if not openly:
        answer = replace(answer, items=[item.without_history() for item in answer.items])
    parts.metrics.answers.labels(answer.fallback or NO_FALLBACK).inc()
    return answer


def _count_items(parts: Parts, recommender: "Recommender", answer: "Answer") -> None:
    cold = round(recommender.cold_share([item.item_id for item in answer.items]) * len(answer.items))
    parts.metrics.items.labels(COLD).inc(cold)
    parts.metrics.items.labels(WARM).inc(len(answer.items) - cold)


def _origin(answer: "Answer", started: float) -> dict[str, Any]:
    return {"generation": answer.generation, "adapter": answer.adapter, "took_ms": milliseconds_since(started)}


def _recommended(answer: "Answer") -> list[RecommendedItem]:
    return [RecommendedItem.model_validate(item) for item in answer.items]
