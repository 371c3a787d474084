"""Items for a user, given items in order, and items like an item."""

import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fastapi import Response

from recsys.database.impressions import Options
from recsys.ranking.stages import EndStage
from recsys_client.schemas.lists import RankedItem, RecommendedItem
from recsys_client.schemas.problems import Code
from recsys_client.schemas.recommend import (
    RankAnswer,
    RankRequest,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    SimilarRequest,
)
from services.edge.auth import ReadsHistories, guarded_router, scoped
from services.edge.bodies import A_LIST, A_QUESTION
from services.edge.context import HISTORY, MODEL, checkpoint, end_stage
from services.edge.problems import Refused
from services.worker.answering import (
    ERRORS,
    answering,
    items_as_json,
    json_response,
    milliseconds_since,
    ranked,
    refusing,
    with_items,
)
from services.worker.asking import dials
from services.worker.disclosure import check_disclosure
from services.worker.lists import Lists, UserList, as_seen_by_caller, write_down
from services.worker.shadow import Shown
from services.worker.state import Worker, WorkerOfApp

if TYPE_CHECKING:
    from recsys.serving.answers import Answer

router = guarded_router("lists")


@router.post("/v1/recommend", response_model=RecommendAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def recommend(request: RecommendRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return the best items for a user, given by user_id or by history.

    A user whom neither the snapshot nor the live events know gets what is popular, with ``fallback`` saying so.
    """
    lane = worker.lane_for(request.work_of_a_list)
    answer, items = await lane.run(_recommend, worker, request, reads, lane.checkpoint())
    return with_items(answer, items, answer.unsaid)


@router.post("/v1/rank", response_model=RankAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def rank(request: RankRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return up to 1,000 given items in the order in which they suit a user."""
    lane = worker.lane_for(request.work)
    answer, items = await lane.run(_rank, worker, request, reads, lane.checkpoint())
    return with_items(answer, items, [*answer.unsaid, *(["rec_id"] if answer.rec_id is None else [])])


@router.post("/v1/similar", response_model=SimilarAnswer, **scoped("recommend", *ERRORS, body=A_QUESTION))
async def similar(request: SimilarRequest, worker: WorkerOfApp) -> Response:
    """Return the items most like a given one."""
    return json_response(await worker.scoring.run(_similar, worker, request))


def _recommend(
    worker: Worker, request: RecommendRequest, reads: bool, checkpoint: EndStage
) -> tuple[RecommendAnswer, list[str]]:
    """Return an answer without its items, and these as JSON."""
    started = time.perf_counter()
    recommender = answering(worker, request)
    check_disclosure(recommender, request, [request], reads)
    end_stage(MODEL)
    lists = Lists.of(worker, recommender, request, reads)
    (made,) = lists.made([request], checkpoint)
    if request.record:
        took = milliseconds_since(started)
        worker.shadow.follow(
            Shown(made.rec_id, recommender, made.history, lists.asked, made.answer, took, made.attributes)
        )
    items = items_as_json(map(RecommendedItem.model_validate, made.answer.items), checkpoint)
    answer = RecommendAnswer(
        rec_id=made.rec_id,
        items=[],
        fallback=made.answer.fallback,
        missing_ids=made.answer.missing_ids,
        unused_attributes=made.answer.unused_attributes,
        unused_context=made.answer.unused_context,
        **_origin(made.answer, started),
    )
    return answer, items


def _rank(worker: Worker, request: RankRequest, reads: bool, checkpoint: EndStage) -> tuple[RankAnswer, list[str]]:
    """Return an answer without its items, and these as JSON."""
    started, asked = time.perf_counter(), datetime.now(UTC)
    recommender = answering(worker, request)
    end_stage(MODEL)
    histories = worker.histories.of(recommender, [request])
    (known,) = histories
    attributes = next(iter(worker.histories.attributes(recommender, [request], histories)), {})
    end_stage(HISTORY)
    with refusing(recommender, request.fields):
        answer = recommender.rank(
            known or [],
            request.item_ids,
            **dials(request.boosts, request.objective),
            explain=request.explain,
            fields=request.fields,
            end_stage=checkpoint,
            now=int(asked.timestamp()),
            attributes=attributes,
            context=request.context,
        )
    openly = reads or request.user_id is None
    answer = as_seen_by_caller(worker, answer, known, openly, request.language)
    items = items_as_json(map(RankedItem.model_validate, answer.items), checkpoint)
    rec_id = None if openly else uuid.uuid4().hex
    if rec_id is not None:  # the order tells something of the user, and no list of it would say that somebody asked
        options = Options(request.model_dump(exclude={"user_id", "history"}))
        order = UserList(rec_id, known or [], answer, attributes)
        write_down(worker, recommender, request.user_id, options, order, shown=False, asked=asked)
    rest = RankAnswer(
        rec_id=rec_id,
        items=[],
        fallback=answer.fallback,
        missing_ids=answer.missing_ids,
        unused_attributes=answer.unused_attributes,
        unused_context=answer.unused_context,
        **_origin(answer, started),
    )
    return rest, items


def _similar(worker: Worker, request: SimilarRequest) -> SimilarAnswer:
    started = time.perf_counter()
    recommender = answering(worker, request)
    if not recommender.known_item(request.item_id):
        detail = f"There is no item {request.item_id!r} in generation {recommender.generation_id}."
        raise Refused(Code.UNKNOWN_ITEM, detail)
    end_stage(MODEL)
    with refusing(recommender, request.fields):
        answer = recommender.similar(
            request.item_id,
            k=request.k,
            offset=request.offset,
            filter=request.filter,
            fields=request.fields,
            by=request.by,
            end_stage=checkpoint,
        )
    return SimilarAnswer(items=ranked(answer), **_origin(answer, started))


def _origin(answer: "Answer", started: float) -> dict[str, Any]:
    return {"generation": answer.generation, "adapter": answer.adapter, "took_ms": milliseconds_since(started)}
