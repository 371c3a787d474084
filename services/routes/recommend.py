"""Items for a user or for many, given items in order, and items like an item."""

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Response

from recsys_client.schemas.lists import RecommendedItem
from recsys_client.schemas.recommend import (
    BatchAnswer,
    BatchRequest,
    RankAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    SimilarRequest,
    UserRecommendations,
)
from services.edge.auth import ReadsHistories, guarded_router, scoped
from services.edge.context import HISTORY, MODEL, RECORD, end_stage
from services.edge.metrics import COLD, NO_FALLBACK, WARM
from services.worker.answering import (
    ERRORS,
    answering,
    json_response,
    list_request,
    milliseconds_since,
    ranked,
    refusing,
)
from services.worker.shadow import Shown
from services.worker.state import Worker, WorkerOfApp

if TYPE_CHECKING:
    from recsys.serving.answers import Answer
    from recsys.serving.recommender import Recommender

router = guarded_router()


@router.post("/v1/recommend", response_model=RecommendAnswer, **scoped("recommend", *ERRORS))
async def recommend(request: RecommendRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return the best items for a user, given by user_id or by history.

    A user whom neither the snapshot nor the live events know gets what is popular, with ``fallback`` saying so.
    """
    return json_response(await worker.scoring.run(_recommend, worker, request, reads))


@router.post("/v1/recommend/batch", response_model=BatchAnswer, **scoped("recommend", *ERRORS))
async def recommend_batch(request: BatchRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return the best items for up to 256 users: for each what /v1/recommend would answer, in less time.

    What is unknown of one of them (the user, items of the history) shows in that one's answer and nowhere else.
    """
    return json_response(await worker.scoring.run(_recommend_batch, worker, request, reads))


@router.post("/v1/rank", response_model=RankAnswer, **scoped("recommend", *ERRORS))
async def rank(request: RankRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return up to 1,000 given items in the order in which they suit a user."""
    return json_response(await worker.scoring.run(_rank, worker, request, reads))


@router.post("/v1/similar", response_model=SimilarAnswer, **scoped("recommend", *ERRORS))
async def similar(request: SimilarRequest, worker: WorkerOfApp) -> Response:
    """Return the items most like a given one."""
    return json_response(await worker.scoring.run(_similar, worker, request))


def _recommend(worker: Worker, request: RecommendRequest, reads: bool) -> RecommendAnswer:
    started = time.perf_counter()
    recommender = answering(worker, request)
    asked, rec_id = list_request(request), uuid.uuid4().hex
    end_stage(MODEL)
    (known,) = worker.histories.of(recommender, [request])
    end_stage(HISTORY)
    history = known or []
    with refusing(recommender, request.fields):
        (answer,) = recommender.recommend_many([history], asked, end_stage)
    answer = _as_seen_by_caller(worker, answer, known, reads or request.user_id is None)
    _count_items(worker, recommender, answer)
    if request.record:
        worker.impressions.record(rec_id, recommender, request, request, history, answer)
        worker.shadow.follow(Shown(rec_id, recommender, history, asked, answer, milliseconds_since(started)))
    end_stage(RECORD)
    return RecommendAnswer(
        rec_id=rec_id,
        items=_recommended(answer),
        fallback=answer.fallback,
        missing_ids=answer.missing_ids,
        **_origin(answer, started),
    )


def _recommend_batch(worker: Worker, request: BatchRequest, reads: bool) -> BatchAnswer:
    started = time.perf_counter()
    recommender = answering(worker, request)
    end_stage(MODEL)
    known = worker.histories.of(recommender, request.users)
    end_stage(HISTORY)
    histories = [history or [] for history in known]
    with refusing(recommender, request.fields):
        answers = recommender.recommend_many(histories, list_request(request), end_stage)
    answers = [
        _as_seen_by_caller(worker, answer, history, reads or user.user_id is None)
        for answer, history, user in zip(answers, known, request.users, strict=True)
    ]
    rec_ids = [uuid.uuid4().hex for _ in answers]
    for rec_id, user, history, answer in zip(rec_ids, request.users, histories, answers, strict=True):
        _count_items(worker, recommender, answer)
        if request.record:
            worker.impressions.record(rec_id, recommender, user, request, history, answer)
    end_stage(RECORD)
    return BatchAnswer(
        answers=[
            UserRecommendations(
                rec_id=rec_id,
                user_id=user.user_id,
                items=_recommended(answer),
                fallback=answer.fallback,
                missing_ids=answer.missing_ids,
            )
            for rec_id, user, answer in zip(rec_ids, request.users, answers, strict=True)
        ],
        **_origin(answers[0], started),
    )


def _rank(worker: Worker, request: RankRequest, reads: bool) -> RankAnswer:
    started = time.perf_counter()
    recommender = answering(worker, request)
    end_stage(MODEL)
    (known,) = worker.histories.of(recommender, [request])
    end_stage(HISTORY)
    with refusing(recommender, request.fields):
        answer = recommender.rank(
            known or [], request.item_ids, explain=request.explain, fields=request.fields, end_stage=end_stage
        )
    answer = _as_seen_by_caller(worker, answer, known, reads or request.user_id is None)
    return RankAnswer(
        items=ranked(answer),
        fallback=answer.fallback,
        missing_ids=answer.missing_ids,
        **_origin(answer, started),
    )


def _similar(worker: Worker, request: SimilarRequest) -> SimilarAnswer:
    started = time.perf_counter()
    recommender = answering(worker, request)
    if not recommender.known_item(request.item_id):
        raise HTTPException(404, f"There is no item {request.item_id!r} in generation {recommender.generation_id}.")
    end_stage(MODEL)
    with refusing(recommender, request.fields):
        answer = recommender.similar(
            request.item_id, k=request.k, filter=request.filter, fields=request.fields, end_stage=end_stage
        )
    return SimilarAnswer(items=ranked(answer), **_origin(answer, started))


def _as_seen_by_caller(worker: Worker, answer: "Answer", history: list[str] | None, openly: bool) -> "Answer":
    """Return an answer as the caller may see it; count which link of the chain it came from.

    It says so where the history could not be read. Unless ``openly``, explanations do not name the history's items.
    """
    from recsys.serving.answers import DEGRADED

    if history is None:
        answer = replace(answer, fallback=DEGRADED)
    if not openly:
        answer = replace(answer, items=[item.without_history() for item in answer.items])
    worker.metrics.answers.labels(answer.fallback or NO_FALLBACK).inc()
    return answer


def _count_items(worker: Worker, recommender: "Recommender", answer: "Answer") -> None:
    cold = round(recommender.cold_share([item.item_id for item in answer.items]) * len(answer.items))
    worker.metrics.items.labels(COLD).inc(cold)
    worker.metrics.items.labels(WARM).inc(len(answer.items) - cold)


def _origin(answer: "Answer", started: float) -> dict[str, Any]:
    return {"generation": answer.generation, "adapter": answer.adapter, "took_ms": milliseconds_since(started)}


def _recommended(answer: "Answer") -> list[RecommendedItem]:
    return [RecommendedItem.model_validate(item) for item in answer.items]
