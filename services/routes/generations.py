"""Generations: what there is, and which one answers."""

from fastapi import Response

from recsys.store.generations import current_id, list_generations
from services.auth import guarded_router, scoped
from services.parts import Parts, PartsOfApp, in_thread, json_response
from services.schemas.generations import GenerationsAnswer

router = guarded_router()


@router.get("/v1/generations", response_model=GenerationsAnswer, **scoped("admin"))
async def generations(parts: PartsOfApp) -> Response:
    """List all generations, and say which one answers here."""
    return json_response(await in_thread(parts.writing, _generations, parts))


def _generations(parts: Parts) -> GenerationsAnswer:
    return GenerationsAnswer(
        serving=parts.generation.serving,
        current=current_id(parts.home),
        problem=parts.generation.problem,
        generations=[
            {key: value for key, value in manifest.items() if key != "files"}
            for manifest in list_generations(parts.home)
        ],
    )
