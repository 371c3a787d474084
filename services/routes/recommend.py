"""Items for a person or for many, given items in order, and items like an item."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Response

from recsys.ranking.rules import FilterError
from recsys.ranking.selection import LimitError, Promotion
from services.auth import guarded_router, scoped
from services.parts import Parts, PartsOfApp, answering, json_response, milliseconds_since
from services.schemas.items import RankedItem, RecommendedItem
from services.schemas.recommend import (
    BatchAnswer,
    BatchRequest,
    FromModel,
    PersonsList,
    RankAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    SimilarRequest,
    Wishes,
)
from services.shadow import Shown

if TYPE_CHECKING:
    from recsys.answers import Answer, Wish
    from recsys.recommender import Recommender

router = guarded_router()
ERRORS = (400, 404, 409, 413, 422)


@router.post("/v1/recommend", response_model=RecommendAnswer, **scoped("recommend", *ERRORS))
async def recommend(request: RecommendRequest, parts: PartsOfApp) -> Response:
    """Return the best items for a person, given by user_id or by history.

    A user whom neither the snapshot nor the live events know gets what is popular, with ``fallback`` saying so.
    """
    return json_response(await parts.scoring.run(_recommend, parts, request))


@router.post("/v1/recommend/batch", response_model=BatchAnswer, **scoped("recommend", *ERRORS))
async def recommend_batch(request: BatchRequest, parts: PartsOfApp) -> Response:
    """Return the best items for up to 256 people: for each what /v1/recommend would answer, in less time.

    What is unknown of one person (the user, items of the history) shows in that person's answer and nowhere else.
    """
    return json_response(await parts.scoring.run(_recommend_batch, parts, request))


@router.post("/v1/rank", response_model=RankAnswer, **scoped("recommend", *ERRORS))
async def rank(request: RankRequest, parts: PartsOfApp) -> Response:
    """Return up to 1,000 given items in the order in which they suit a person."""
    return json_response(await parts.scoring.run(_rank, parts, request))


@router.post("/v1/similar", response_model=SimilarAnswer, **scoped("recommend", *ERRORS))
async def similar(request: SimilarRequest, parts: PartsOfApp) -> Response:
    """Return the items most like a given one."""
    return json_response(await parts.scoring.run(_similar, parts, request))


def _recommend(parts: Parts, request: RecommendRequest) -> RecommendAnswer:
    started = time.perf_counter()
    recommender = answering(parts, request)
    wish, rec_id = wish_of(request), uuid.uuid4().hex
    (known,) = parts.histories.of(recommender, [request])
    history = known or []
    with refusing(recommender, request.fields):
        (answer,) = recommender.recommend_many([history], wish)
    answer = _told(parts, answer, known)
    if request.record:
        parts.impressions.record(rec_id, recommender, request, request, history, answer)
        parts.shadow.follow(Shown(rec_id, recommender, history, wish, answer, milliseconds_since(started)))
    return RecommendAnswer(
        rec_id=rec_id,
        items=_recommended(answer),
        fallback=answer.fallback,
        missing_ids=answer.missing_ids,
        **_origin(answer, started),
    )


def _recommend_batch(parts: Parts, request: BatchRequest) -> BatchAnswer:
    started = time.perf_counter()
    recommender = answering(parts, request)
    known = parts.histories.of(recommender, request.users)
    histories = [history or [] for history in known]
    with refusing(recommender, request.fields):
        answers = recommender.recommend_many(histories, wish_of(request))
    answers = [_told(parts, answer, history) for answer, history in zip(answers, known, strict=True)]
    rec_ids = [uuid.uuid4().hex for _ in answers]
    for rec_id, person, history, answer in zip(rec_ids, request.users, histories, answers, strict=True):
        if request.record:
            parts.impressions.record(rec_id, recommender, person, request, history, answer)
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


def _rank(parts: Parts, request: RankRequest) -> RankAnswer:
    started = time.perf_counter()
    recommender = answering(parts, request)
    (known,) = parts.histories.of(recommender, [request])
    with refusing(recommender, request.fields):
        answer = recommender.rank(known or [], request.item_ids, explain=request.explain, fields=request.fields)
    answer = _told(parts, answer, known)
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
    with refusing(recommender, request.fields):
        answer = recommender.similar(request.item_id, k=request.k, filter=request.filter, fields=request.fields)
    return SimilarAnswer(items=ranked(answer), **_origin(answer, started))


def wish_of(request: Wishes) -> "Wish":
    """Return what a request wants of a list."""
    from recsys.answers import Wish  # brings torch, for which BentoML's supervisor has no use

    of_the_list = set(Wishes.model_fields) - set(FromModel.model_fields) - {"promotions", "record"}
    given = {name: getattr(request, name) for name in of_the_list}
    return Wish(**given, promotions=[Promotion(one.item_id, one.slot) for one in request.promotions])


def _told(parts: Parts, answer: "Answer", history: list[str] | None) -> "Answer":
    """Return an answer that says so where the history could not be read; count which link of the chain it came from."""
    from recsys.answers import DEGRADED

    if history is None:
        answer = replace(answer, fallback=DEGRADED)
    if answer.fallback:
        parts.metrics.fallbacks.labels(answer.fallback).inc()
    return answer


def _origin(answer: "Answer", started: float) -> dict[str, Any]:
    return {"generation": answer.generation, "adapter": answer.adapter, "took_ms": milliseconds_since(started)}


def _recommended(answer: "Answer") -> list[RecommendedItem]:
    return [RecommendedItem.model_validate(item) for item in answer.items]


def ranked(answer: "Answer") -> list[RankedItem]:
    """Return an answer's items for a list that is not a person's."""
    return [RankedItem.model_validate(item) for item in answer.items]


@contextmanager
def refusing(recommender: "Recommender", fields: list[str]) -> Iterator[None]:
    """Answer 422 to fields, filters and limits that do not fit the catalogue."""
    unknown = [name for name in fields if name not in recommender.field_names]
    if unknown:
        raise HTTPException(422, f"body.fields: there is no {unknown[0]!r}; there are {recommender.field_names}.")
    try:
        yield
    except FilterError as error:
        raise HTTPException(422, f"body.filter: {error}") from None
    except LimitError as error:
        raise HTTPException(422, f"body.limits: {error}") from None
