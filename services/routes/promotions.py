"""Promotions: asking for one, what became of it, and what was served when."""

from typing import Annotated

from fastapi import Path, Query, Response

from recsys.artifacts import ArtifactError
from recsys.store.attempts import Attempt, find_attempt
from recsys.store.pointer import list_promotions
from recsys_client.schemas.generations import PromoteRequest, PromotionAnswer, PromotionRecord, PromotionsAnswer
from recsys_client.schemas.problems import Code
from services.edge.auth import guarded_router, scoped
from services.edge.context import since_arrival
from services.edge.lanes import LOADED_SECONDS
from services.edge.paths import without_paths
from services.edge.preferences import Prefer, Preference
from services.edge.problems import Refused
from services.routes.generations import GenerationId, existing
from services.worker.answering import json_response
from services.worker.promotions import PATH, answer_of, cause_of, code_of
from services.worker.state import Worker, WorkerOfApp

MOST_PROMOTIONS = 1_000  # in one answer
AGAIN_SECONDS = 1  # after which to ask what became of a promotion
ACCEPTED = {202: {"model": PromotionAnswer, "description": "It is being judged; Location says where to ask for it."}}
SCOPED = scoped("admin", 400, 404, 409, 413, 422)
router = guarded_router("generations")


@router.post(
    "/v1/generations/{generation_id}/promote",
    name="promote",
    response_model=PromotionAnswer,
    **SCOPED | {"responses": SCOPED["responses"] | ACCEPTED},
)
async def promote_generation(
    generation_id: GenerationId, worker: WorkerOfApp, request: PromoteRequest | None = None, prefer: Prefer = None
) -> Response:
    """Serve a generation: it is loaded and verified first, then judged by the gate, then every worker switches.

    409 says why it is not served, and the one that was served still is. A gate that needs longer than an answer may
    take, or than the caller wants to wait, goes on after a 202. One promotion is under way at a time: who asks for the
    same once more waits for the same, and for anything else gets 409 `promotion-running`.
    """
    attempt = await worker.reading.run(_begin, worker, generation_id, request or PromoteRequest())
    preference, left = Preference.of(prefer), max(0.0, LOADED_SECONDS - since_arrival())
    attempt = await worker.promotions.outcome(
        attempt, left if preference.seconds is None else min(left, preference.seconds)
    )
    if attempt.code is not None:
        raise Refused(code_of(attempt), str(attempt.detail))
    response = json_response(answer_of(attempt))
    if attempt.running:
        response.status_code = 202
        response.headers.update({"Location": f"{PATH}{attempt.id}", "Retry-After": str(AGAIN_SECONDS)})
        if preference.applied:
            response.headers["Preference-Applied"] = preference.applied
    return response


@router.get(
    "/v1/promotions/{promotion_id}", name="promotion", response_model=PromotionAnswer, **scoped("admin", 404, 422)
)
async def promotion(
    promotion_id: Annotated[
        str, Path(pattern="^[0-9a-f]{16}$", description="As the promotion's answer gave it.", examples=["0" * 16])
    ],
    worker: WorkerOfApp,
) -> Response:
    """Return what became of a promotion, whichever worker it was asked of; the newest 100 are kept."""
    attempt = await worker.reading.run(_find, worker, promotion_id)
    response = json_response(answer_of(attempt))
    if attempt.running:
        response.headers["Retry-After"] = str(AGAIN_SECONDS)
    return response


@router.get("/v1/promotions", name="promotions", response_model=PromotionsAnswer, **scoped("admin", 422))
async def promotions(
    worker: WorkerOfApp,
    limit: Annotated[int, Query(ge=1, le=MOST_PROMOTIONS, description="How many of the newest.")] = 100,
) -> Response:
    """List what was served when, by whom and why, and what was refused; the newest first."""
    return json_response(await worker.reading.run(_promotions, worker, limit))


def _begin(worker: Worker, generation_id: str, request: PromoteRequest) -> Attempt:
    generation_id = existing(worker, generation_id)
    return worker.promotions.begin(generation_id, cause_of(worker.home, request.reason), request.force)


def _find(worker: Worker, promotion_id: str) -> Attempt:
    try:
        return find_attempt(worker.home, promotion_id)
    except ArtifactError as error:
        raise Refused(Code.UNKNOWN_PROMOTION, str(error)) from None


def _promotions(worker: Worker, limit: int) -> PromotionsAnswer:
    return PromotionsAnswer(
        promotions=[
            PromotionRecord(
                **{name: value for name, value in vars(one).items() if name in PromotionRecord.model_fields}
                | {"findings": [without_paths(finding) for finding in one.findings], "promotion": one.attempt}
            )
            for one in list_promotions(worker.home)[:limit]
        ]
    )
