"""Generations and adapters: what there is, what answers, and switching it while requests go on."""

from typing import Annotated, Any

from fastapi import HTTPException, Path, Response

from recsys.artifacts import ArtifactError
from recsys.store.adapters import list_adapters
from recsys.store.generations import current_id, list_generations, previous_id, promote, read_generation, rollback
from services.edge.auth import guarded_router, scoped
from services.schemas.generations import (
    AdapterCard,
    AdaptersAnswer,
    GenerationsAnswer,
    PromoteRequest,
    ShadowAnswer,
    ShadowRequest,
    SwitchAnswer,
)
from services.worker.answering import json_response
from services.worker.shadow import begin_shadow, end_shadow, summary
from services.worker.shelf import newest_last
from services.worker.state import Parts, PartsOfApp

router = guarded_router()
GenerationId = Annotated[str, Path(max_length=64, description="As GET /v1/generations shows it.")]


@router.get("/v1/generations", response_model=GenerationsAnswer, **scoped("admin"))
async def generations(parts: PartsOfApp) -> Response:
    """List all generations, and say which one answers here."""
    return json_response(await parts.writing.run(_generations, parts))


@router.get("/v1/adapters", response_model=AdaptersAnswer, **scoped("admin"))
async def adapters(parts: PartsOfApp) -> Response:
    """List all adapters, and say which ones a request may name."""
    return json_response(await parts.writing.run(_adapters, parts))


@router.post(
    "/v1/generations/{generation_id}/promote", response_model=SwitchAnswer, **scoped("admin", 400, 404, 409, 413, 422)
)
async def promote_generation(
    generation_id: GenerationId, parts: PartsOfApp, request: PromoteRequest | None = None
) -> Response:
    """Serve a generation: it is loaded and verified first, then judged by the gate, then every worker switches.

    409 says why it is not served, and the one that was served still is.
    """
    force = request is not None and request.force
    return json_response(await parts.loading.run(_promote, parts, generation_id, force))


@router.post("/v1/rollback", response_model=SwitchAnswer, **scoped("admin", 409))
async def roll_back(parts: PartsOfApp) -> Response:
    """Serve the generation before the current one again; 409 where there is none, or where it is broken."""
    return json_response(await parts.loading.run(_roll_back, parts))


@router.post(
    "/v1/generations/{generation_id}/shadow", response_model=ShadowAnswer, **scoped("admin", 400, 404, 409, 413, 422)
)
async def shadow_generation(
    generation_id: GenerationId, parts: PartsOfApp, request: ShadowRequest | None = None
) -> Response:
    """Let a generation answer a share of the requests in the background, to compare; no answer changes by it."""
    share = (request or ShadowRequest()).share
    return json_response(await parts.loading.run(_shadow, parts, generation_id, share))


@router.delete("/v1/generations/{generation_id}/shadow", response_model=ShadowAnswer, **scoped("admin", 404, 422))
async def end_shadowing(generation_id: GenerationId, parts: PartsOfApp) -> Response:
    """Let a generation be the shadow no longer; the answer is its last summary."""
    return json_response(await parts.loading.run(_end_shadow, parts, generation_id))


@router.get("/v1/shadow", response_model=ShadowAnswer, **scoped("admin"))
async def shadow(parts: PartsOfApp) -> Response:
    """Compare the shadow with what was answered."""
    return json_response(await parts.writing.run(_summary, parts))


def _generations(parts: Parts) -> GenerationsAnswer:
    return GenerationsAnswer(
        serving=parts.generation.serving,
        current=current_id(parts.home),
        problem=parts.generation.problem,
        generations=[_without_files(manifest) for manifest in list_generations(parts.home)],
    )


def _adapters(parts: Parts) -> AdaptersAnswer:
    made = newest_last(parts.home)
    current = next((one["adapter"] for one in made if one["current"]), None)
    cards = []
    for card in list_adapters(parts.home):
        used = [one["id"] for one in made if one["adapter"] == card["id"]]
        state = {"generations": used, "can_answer": bool(used), "serving": card["id"] == current}
        cards.append(AdapterCard.model_validate(_without_files(card) | state))
    return AdaptersAnswer(adapters=cards)


def _promote(parts: Parts, generation_id: str, force: bool) -> SwitchAnswer:
    from recsys.publishing.admission import check_answers, check_gate  # bring torch

    _load(parts, generation_id)
    previous = current_id(parts.home)
    try:
        verdict = check_gate(parts.home, generation_id)
        if verdict.passed and not force:
            verdict += check_answers(parts.home, generation_id, parts.loaded)
        if not (verdict.passed or force):
            raise HTTPException(409, f"The gate refuses {generation_id}: {' '.join(verdict.findings)}")
        promote(parts.home, generation_id)
    except ArtifactError as error:
        raise HTTPException(409, str(error)) from None
    parts.generation.check()
    return SwitchAnswer(generation=generation_id, previous=previous, findings=list(verdict.findings))


def _roll_back(parts: Parts) -> SwitchAnswer:
    before = current_id(parts.home)
    try:
        target = previous_id(parts.home)
        parts.shelf.open(target)
        generation_id = rollback(parts.home)
    except ArtifactError as error:
        raise HTTPException(409, str(error)) from None
    parts.generation.check()
    return SwitchAnswer(generation=generation_id, previous=before, findings=[])


def _shadow(parts: Parts, generation_id: str, share: float) -> ShadowAnswer:
    _load(parts, generation_id)
    begin_shadow(parts.home, generation_id, share)
    parts.shadow.check()
    return _summary(parts)


def _end_shadow(parts: Parts, generation_id: str) -> ShadowAnswer:
    last = _summary(parts)
    if last.generation != generation_id:
        raise HTTPException(404, f"{generation_id!r} is not the shadow; GET /v1/shadow says what is.")
    end_shadow(parts.home)
    parts.shadow.check()
    return last


def _summary(parts: Parts) -> ShadowAnswer:
    return ShadowAnswer.model_validate(summary(parts.home, parts.shadows))


def _load(parts: Parts, generation_id: str) -> None:
    """Load a generation beside the current one: 404 if it does not exist, 409 if it is broken."""
    try:
        read_generation(parts.home, generation_id)
    except ArtifactError as error:
        raise HTTPException(404, str(error)) from None
    try:
        parts.shelf.open(generation_id)
    except Exception as error:  # whatever a broken file makes its reader raise
        raise HTTPException(409, f"Generation {generation_id} cannot be loaded: {error}") from None


def _without_files(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "files"}
