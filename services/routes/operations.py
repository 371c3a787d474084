"""For those who run the service: its numbers and its description."""

from anyio import to_thread
from fastapi import Response
from fastapi.responses import RedirectResponse

from services.auth import OPEN, guarded_router
from services.metrics import exposition

router = guarded_router()


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, **OPEN)
async def metrics() -> Response:
    """Return the numbers of all workers in Prometheus' text format."""
    content, media_type = await to_thread.run_sync(exposition)
    return Response(content, media_type=media_type)


@router.get("/", include_in_schema=False, **OPEN)
async def describe() -> Response:
    """Lead people to the description; without this route they would get BentoML's page, which loads a tracker."""
    return RedirectResponse("/docs.json")
