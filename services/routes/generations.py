"""Generations and adapters: what there is, what answers, and switching it while requests go on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from fastapi import Path, Response

from recsys.artifacts import ArtifactError
from recsys.errors import SettingError
from recsys.ranking.parts import parts_of
from recsys.selection.values import in_words
from recsys.store.adapters import list_adapters
from recsys.store.adapters import when_made as adapter_made
from recsys.store.attempts import under_way
from recsys.store.generations import (
    current_id,
    list_generations,
    newest_last,
    previous_id,
    read_generation,
    when_made,
)
from recsys.store.names import ADAPTER, GENERATION, read_names
from recsys.store.shadow import begin_shadow, end_shadow
from recsys_client.schemas.generations import (
    AdapterCard,
    AdaptersAnswer,
    GenerationsAnswer,
    RollbackRequest,
    ShadowAnswer,
    ShadowRequest,
    SwitchAnswer,
)
from recsys_client.schemas.problems import Code
from services.edge.auth import guarded_router, scoped
from services.edge.problems import Refused
from services.worker.answering import by_name, json_response
from services.worker.promotions import answer_of, cause_of, load, told
from services.worker.shadow import summary
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


@router.post("/v1/rollback", name="roll_back", response_model=SwitchAnswer, **scoped("admin", 400, 404, 409, 413, 422))
async def roll_back_generation(worker: WorkerOfApp, request: RollbackRequest | None = None) -> Response:
    """Serve the generation before the current one again, or any other; 409 where there is none, or where it is broken.

    What is gone back from is no way back: going back twice goes back two steps.
    """
    return json_response(await worker.loading.run(_roll_back, worker, request or RollbackRequest()))


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
    promoting = under_way(worker.home)
    audience = None if worker.generation.serving is None else worker.generation.recommender().users.audience
    return GenerationsAnswer(
        serving=worker.generation.serving,
        current=current,
        problem=worker.generation.problem,
        promoting=None if promoting is None else answer_of(promoting),
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


def _roll_back(worker: Worker, request: RollbackRequest) -> SwitchAnswer:
    from recsys.publishing.rollback import roll_back  # brings Polars

    before = current_id(worker.home)
    try:
        target = previous_id(worker.home) if request.to is None else loaded(worker, request.to)
    except ArtifactError as error:
        raise Refused(Code.NOTHING_BEFORE, str(error)) from None
    with told(Code.NOTHING_BEFORE if request.to is None else Code.CANNOT_ANSWER):
        worker.cache.open(target)
        try:
            roll_back(worker.home, target, expected=before, cause=cause_of(worker.home, request.reason))
        except SettingError as error:
            raise Refused(Code.INVALID_REQUEST, f"body.reason: {error}", pointer="/reason") from None
    worker.generation.check()
    return SwitchAnswer(generation=target, previous=before, findings=[])


def _shadow(worker: Worker, generation_id: str, share: float) -> ShadowAnswer:
    generation_id = loaded(worker, generation_id)
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


def loaded(worker: Worker, name: str) -> str:
    """Load a generation beside the current one and return its id: 404 if it does not exist, 409 if it is broken."""
    generation_id = existing(worker, name)
    load(worker.cache, generation_id)
    return generation_id


def existing(worker: Worker, name: str) -> str:
    """Return the id of a generation that a route names: 404 if it does not exist."""
    generation_id = by_name(worker, GENERATION, name) or name
    try:
        read_generation(worker.home, generation_id)
    except ArtifactError as error:
        raise Refused(Code.UNKNOWN_GENERATION, str(error)) from None
    return generation_id
