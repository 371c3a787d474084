"""Generations and adapters: what there is, what answers, and switching it while requests go on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from fastapi import Path, Response

from recsys.artifacts import ArtifactError
from recsys.ranking.parts import parts_of
from recsys.selection.values import in_words
from recsys.store.adapters import list_adapters
from recsys.store.adapters import when_made as adapter_made
from recsys.store.generations import (
    current_id,
    list_generations,
    newest_last,
    previous_id,
    read_generation,
    rollback,
    when_made,
)
from recsys.store.names import ADAPTER, GENERATION, read_names
from recsys_client.schemas.generations import (
    AdapterCard,
    AdaptersAnswer,
    GenerationsAnswer,
    PromoteRequest,
    ShadowAnswer,
    ShadowRequest,
    SwitchAnswer,
)
from recsys_client.schemas.problems import Code
from services.edge.auth import guarded_router, scoped
from services.edge.problems import Refused
from services.worker.answering import by_name, json_response
from services.worker.shadow import begin_shadow, end_shadow, summary
from services.worker.state import Worker, WorkerOfApp

if TYPE_CHECKING:
    import polars as pl

router = guarded_router("generations")
GenerationId = Annotated[
    str,
    Path(max_length=64, description="As GET /v1/generations shows it, or its alias.", examples=["0123456789abcdef"]),
]


@router.get("/v1/generations", response_model=GenerationsAnswer, **scoped("admin"))
async def generations(worker: WorkerOfApp) -> Response:
    """List all generations, and say which one answers here."""
    return json_response(await worker.reading.run(_generations, worker))


@router.get("/v1/adapters", response_model=AdaptersAnswer, **scoped("admin"))
async def adapters(worker: WorkerOfApp) -> Response:
    """List all adapters, and say which ones a request may name."""
    return json_response(await worker.reading.run(_adapters, worker))


@router.post(
    "/v1/generations/{generation_id}/promote",
    name="promote",
    response_model=SwitchAnswer,
    **scoped("admin", 400, 404, 409, 413, 422),
)
async def promote_generation(
    generation_id: GenerationId, worker: WorkerOfApp, request: PromoteRequest | None = None
) -> Response:
    """Serve a generation: it is loaded and verified first, then judged by the gate, then every worker switches.

    409 says why it is not served, and the one that was served still is.
    """
    force = request is not None and request.force
    return json_response(await worker.loading.run(_promote, worker, generation_id, force))


@router.post("/v1/rollback", response_model=SwitchAnswer, **scoped("admin", 409))
async def roll_back(worker: WorkerOfApp) -> Response:
    """Serve the generation before the current one again; 409 where there is none, or where it is broken."""
    return json_response(await worker.loading.run(_roll_back, worker))


@router.post(
    "/v1/generations/{generation_id}/shadow",
    name="begin_shadow",
    response_model=ShadowAnswer,
    **scoped("admin", 400, 404, 409, 413, 422),
)
async def shadow_generation(
    generation_id: GenerationId, worker: WorkerOfApp, request: ShadowRequest | None = None
) -> Response:
    """Let a generation answer a share of the requests in the background, to compare; no answer changes by it."""
    share = (request or ShadowRequest()).share
    return json_response(await worker.loading.run(_shadow, worker, generation_id, share))


@router.delete(
    "/v1/generations/{generation_id}/shadow",
    name="end_shadow",
    response_model=ShadowAnswer,
    **scoped("admin", 404, 422),
)
async def end_shadowing(generation_id: GenerationId, worker: WorkerOfApp) -> Response:
    """Let a generation be the shadow no longer; the answer is its last summary."""
    return json_response(await worker.loading.run(_end_shadow, worker, generation_id))


@router.get("/v1/shadow", response_model=ShadowAnswer, **scoped("admin"))
async def shadow(worker: WorkerOfApp) -> Response:
    """Compare the shadow with what was answered."""
    return json_response(await worker.reading.run(_summary, worker))


def _generations(worker: Worker) -> GenerationsAnswer:
    current, names = current_id(worker.home), read_names(worker.home, GENERATION)
    audience = None if worker.generation.serving is None else worker.generation.recommender().users.audience
    return GenerationsAnswer(
        serving=worker.generation.serving,
        current=current,
        problem=worker.generation.problem,
        generations=[
            one.summary()
            | {"current": one.id == current, "made": when_made(worker.home, one).isoformat(timespec="microseconds")}
            | names.of(one.id)
            | parts_of(worker.home.generations / one.id)
            for one in list_generations(worker.home)
        ],
        attributes={} if audience is None else _types(audience.schema),
        context={} if audience is None else _types(audience.context_schema),
    )


def _types(schema: "Mapping[str, pl.DataType]") -> dict[str, str]:
    return {name: in_words(kind) for name, kind in schema.items()}


def _adapters(worker: Worker) -> AdaptersAnswer:
    made, current = newest_last(worker.home), current_id(worker.home)
    serving = next(((one.adapter, one.search_adapter) for one in made if one.id == current), ())
    cards, names = [], read_names(worker.home, ADAPTER)
    for card in list_adapters(worker.home):
        used = [one.id for one in made if one.adapter == card.id]
        searched = [one.id for one in made if one.search_adapter == card.id]
        state = {"generations": used or searched, "can_answer": bool(used), "serving": card.id in serving}
        state |= parts_of(worker.home.generations / used[-1]) if used else {}
        written = {"made": adapter_made(worker.home, card).isoformat(timespec="microseconds")}
        cards.append(AdapterCard.model_validate(card.summary() | state | written | names.of(card.id)))
    return AdaptersAnswer(adapters=cards)


def _promote(worker: Worker, generation_id: str, force: bool) -> SwitchAnswer:
    from recsys.publishing.admission import publish  # brings torch

    generation_id = _load(worker, generation_id)
    previous = current_id(worker.home)
    try:
        verdict = publish(worker.home, generation_id, force, worker.opened)
    except ArtifactError as error:
        raise Refused(Code.CANNOT_ANSWER, str(error)) from None
    if not (verdict.passed or force):
        raise Refused(Code.REFUSED_BY_GATE, f"The gate refuses {generation_id}: {' '.join(verdict.findings)}")
    worker.generation.check()
    return SwitchAnswer(generation=generation_id, previous=previous, findings=list(verdict.findings))


def _roll_back(worker: Worker) -> SwitchAnswer:
    before = current_id(worker.home)
    try:
        target = previous_id(worker.home)
        worker.cache.open(target)
        generation_id = rollback(worker.home, expected=before)
    except ArtifactError as error:
        raise Refused(Code.NOTHING_BEFORE, str(error)) from None
    worker.generation.check()
    return SwitchAnswer(generation=generation_id, previous=before, findings=[])


def _shadow(worker: Worker, generation_id: str, share: float) -> ShadowAnswer:
    generation_id = _load(worker, generation_id)
    begin_shadow(worker.home, generation_id, share)
    worker.shadow.check()
    return _summary(worker)


def _end_shadow(worker: Worker, generation_id: str) -> ShadowAnswer:
    last = _summary(worker)
    if last.generation != by_name(worker, GENERATION, generation_id):
        raise Refused(Code.NOT_THE_SHADOW, f"{generation_id!r} is not the shadow; GET /v1/shadow says what is.")
    end_shadow(worker.home)
    worker.shadow.check()
    return last


def _summary(worker: Worker) -> ShadowAnswer:
    found = summary(worker.home, worker.shadows)
    if found.generation is None:
        return found
    clicks, shared = worker.rates.shadowed(found.generation)
    return found.model_copy(update={"clicks": clicks, "clicks_shared": shared / clicks if clicks else None})


def _load(worker: Worker, name: str) -> str:
    """Load a generation beside the current one and return its id: 404 if it does not exist, 409 if it is broken."""
    generation_id = by_name(worker, GENERATION, name) or name
    try:
        read_generation(worker.home, generation_id)
    except ArtifactError as error:
        raise Refused(Code.UNKNOWN_GENERATION, str(error)) from None
    try:
        worker.cache.open(generation_id)
    except Exception as error:  # whatever a broken file makes its reader raise
        raise Refused(Code.CANNOT_ANSWER, f"Generation {generation_id} cannot be loaded: {error}") from None
    return generation_id
