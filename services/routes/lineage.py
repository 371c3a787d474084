"""Lineage: where an answer came from, and whether the same generation still gives it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from fastapi import Path, Query, Response

from recsys.artifacts import ArtifactError
from recsys.database.impressions import Impression, Lineage
from recsys_client.schemas.problems import Code
from recsys_client.schemas.recipes import RECIPES
from recsys_client.schemas.recommend import RecommendRequest
from recsys_client.schemas.users import LineageAnswer, Replay
from services.edge.auth import guarded_router, scoped
from services.edge.problems import Refused
from services.worker.answering import LEAST_ALIKE, json_response, list_request, unkept
from services.worker.impression_writer import differences
from services.worker.recipes import recipe_of
from services.worker.state import Worker, WorkerOfApp

if TYPE_CHECKING:
    from recsys.serving.answers import Answer
    from recsys.serving.recommender import Recommender

router = guarded_router("users")
WAIT_SECONDS = 1.0  # in which another worker has written what it answered
LOOK_SECONDS = 0.1


@router.get("/v1/recommendations/{rec_id}", response_model=LineageAnswer, **scoped("admin", 404, 409, 422))
async def recommendation(
    rec_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As the answer gave it.", examples=["0" * 32])],
    worker: WorkerOfApp,
    replay: Annotated[bool, Query(description="Make the answer again from its generation, and compare.")] = False,
) -> Response:
    """Return what an answer was made from: request, history, generation, adapter, snapshot, flow run, index version.

    Answers are kept for 30 days unless the service is told otherwise; 409 says why one cannot be replayed.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    found = await worker.reading.run(_find, worker, rec_id)
    while found is None and time.monotonic() < deadline:
        await anyio.sleep(LOOK_SECONDS)
        found = await worker.reading.run(worker.users.impressions.find, rec_id)
    if found is None:
        detail = f"No answer {rec_id} is recorded; it is too old, or its user was forgotten."
        raise Refused(Code.UNKNOWN_RECOMMENDATION, detail)
    answer = _lineage(found)
    if replay:
        answer.replay = await worker.loading.run(_replay, worker, found)
    return unkept(json_response(answer))


def _find(worker: Worker, rec_id: str) -> Impression | None:
    worker.impressions.backlog.flush(WAIT_SECONDS)
    return worker.users.impressions.find(rec_id)


def _lineage(found: Impression) -> LineageAnswer:
    named = set(LineageAnswer.model_fields) - {"replay", *Lineage.__annotations__}
    return LineageAnswer.model_validate({**{name: getattr(found, name) for name in named}, **found.lineage})


def _replay(worker: Worker, found: Impression) -> Replay:
    from recsys.serving.history import History  # brings torch, for which BentoML's supervisor has no use

    current = worker.generation.recommender()
    try:
        recommender = (
            current
            if current.generation_id == found.generation
            else worker.items.applied_to(worker.cache.open(found.generation))
        )
    except ArtifactError as error:
        raise Refused(Code.CANNOT_ANSWER, f"The generation {found.generation} is gone or broken: {error}") from None
    if found.request is None or found.left_out.keys() & {"history", "known"}:
        detail = "What was asked, or the history behind it, was too large to be kept whole; it cannot be replayed."
        raise Refused(Code.NOT_REPLAYABLE, detail)
    if "item_ids" in found.request and "recipe" not in found.request:
        raise Refused(Code.NOT_REPLAYABLE, "This is an order of given items, which is not replayed.")
    history = History.restored(found.history, found.known)
    answer = _again(worker, recommender, found.request, history, found.time, found.attributes)
    different = differences(found, answer)
    return Replay(
        same=not different,
        differences=different,
        catalogue_changed=worker.items.store.version() != found.lineage["items_version"],
        items=[{"item_id": item.item_id, "score": item.score} for item in answer.items],
    )


def _again(
    worker: Worker,
    recommender: "Recommender",
    asked: Mapping[str, Any],
    history: Sequence[str],
    time: datetime,
    attributes: Mapping[str, Any],
) -> "Answer":
    """Return the answer to a request that is written down, as of the time when it was asked."""
    now, least_alike = int(time.timestamp()), asked.get(LEAST_ALIKE, 1)
    given = {name: value for name, value in asked.items() if name not in (LEAST_ALIKE, "recipe", "least_offered")}
    if "recipe" in asked:
        request = RECIPES[asked["recipe"]].model_validate(given)
        as_asked = replace(list_request(worker, request, now, least_alike), least_offered=asked["least_offered"])
        return recommender.listed(recipe_of(request), history, as_asked, attributes=attributes)
    options = RecommendRequest.model_validate(given)
    return recommender.recommend(history, attributes, **vars(list_request(worker, options, now, least_alike)))
