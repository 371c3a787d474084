"""For those who run the service: its numbers and its description."""

from anyio import to_thread
from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from services.metrics import exposition

router = APIRouter()


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics() -> Response:
    """Return the numbers of all workers in Prometheus' text format."""
    content, media_type = await to_thread.run_sync(exposition)
    return Response(content, media_type=media_type)


@router.get("/", include_in_schema=False)
async def describe() -> Response:
    """Lead people to the description; without this route they would get BentoML's page, which loads a tracker."""
    return RedirectResponse("/docs.json")
