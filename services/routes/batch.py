"""Items for many users at once: a few users at a time, in a lane of their own, behind whoever asks for one list."""

import time
from collections.abc import Sequence

from fastapi import Response

from recsys.ranking.stages import EndStage
from recsys_client.schemas.recommend import BatchAnswer, BatchRequest, Origin, UserOrHistory, UserRecommendations
from services.edge.auth import ReadsHistories, guarded_router, scoped
from services.edge.bodies import MANY_USERS
from services.edge.context import MODEL, SERIALISE, end_stage
from services.worker.answering import ERRORS, answering, milliseconds_since
from services.worker.disclosure import check_disclosure
from services.worker.lists import Lists
from services.worker.state import Worker, WorkerOfApp

AT_ONCE = 8  # users: ranking them together saves time, and others' batches have their turn between two such groups
router = guarded_router("lists")


@router.post("/v1/recommend/batch", response_model=BatchAnswer, **scoped("recommend", *ERRORS, body=MANY_USERS))
async def recommend_batch(request: BatchRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return the best items for up to 256 users: for each what /v1/recommend would answer, in less time.

    What is unknown of one of them (the user, items of the history) shows in that one's answer and nowhere else.
    """
    started = time.perf_counter()
    lists = await worker.batches.run(_lists, worker, request, reads)
    parts: list[str] = []
    while len(parts) < len(request.users):
        parts += await worker.batches.run(_some, worker, lists, request.users[len(parts) :])
    generation, adapter = lists.recommender.generation_id, lists.recommender.adapter_id
    origin = Origin(generation=generation, adapter=adapter, took_ms=milliseconds_since(started)).model_dump_json()
    # joined as text: to write a large answer in one piece would hold up everybody else's
    return Response(f'{{"answers":[{",".join(parts)}],{origin[1:]}', media_type="application/json")


def _lists(worker: Worker, request: BatchRequest, reads: bool) -> Lists:
    recommender = answering(worker, request)
    check_disclosure(recommender, request, request.users, reads)
    end_stage(MODEL)
    return Lists.of(worker, recommender, request, reads)


def _some(worker: Worker, lists: Lists, users: Sequence[UserOrHistory]) -> list[str]:
    """Return the answers of the first users as JSON: of all, unless another key waits."""
    parts: list[str] = []
    checkpoint = worker.batches.checkpoint()
    while len(parts) < len(users) and not (parts and worker.batches.contended):
        parts += _group(lists, users[len(parts) : len(parts) + AT_ONCE], checkpoint)
    return parts


def _group(lists: Lists, users: Sequence[UserOrHistory], checkpoint: EndStage) -> list[str]:
    parts = []
    for user, made in zip(users, lists.made(users, checkpoint), strict=True):
        answer = UserRecommendations(
            rec_id=made.rec_id,
            user_id=user.user_id,
            items=made.items,
            fallback=made.answer.fallback,
            missing_ids=made.answer.missing_ids,
            unused_attributes=made.answer.unused_attributes,
            unused_context=made.answer.unused_context,
        )
        parts.append(answer.model_dump_json(exclude=set(answer.unsaid)))
        checkpoint(SERIALISE)
    return parts
