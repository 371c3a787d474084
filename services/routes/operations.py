"""For those who run the service: its numbers and its description."""

from anyio import to_thread
from fastapi import Response

from services.edge.auth import OPEN, guarded_router
from services.edge.metrics import exposition

router = guarded_router()


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, **OPEN)
async def metrics() -> Response:
    """Return the numbers of all workers in Prometheus' text format."""
    content, media_type = await to_thread.run_sync(exposition)
    return Response(content, media_type=media_type)
