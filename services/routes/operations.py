"""For those who run the service: its numbers and its description."""

from functools import cache
from http import HTTPStatus

from fastapi import Request, Response

from recsys_client.schemas.problems import TYPES, Code
from recsys_client.schemas.readiness import Readiness
from services.edge.auth import OPEN, guarded_router
from services.edge.description import documented
from services.edge.problems import Refused
from services.edge.representations import etag_of

EXPLAINED = {str(code): f"{code} ({code.status} {HTTPStatus(code.status).phrase})\n{code.meaning}\n" for code in Code}
DOCS, LIVEZ, READYZ = "/docs.json", "/livez", "/readyz"
router = guarded_router("operations")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, **OPEN)
async def metrics(request: Request) -> Response:
    """Return the numbers of all workers in Prometheus' text format; those of tenants to an operator's key alone."""
    request.app.state.workers.check_numbers(request.scope)
    content, media_type = await request.app.state.exposition.read()
    return Response(content, media_type=media_type)


@router.get(DOCS, include_in_schema=False, **OPEN)
async def docs(request: Request) -> Response:
    """Return the OpenAPI document."""
    document = request.app.state.document(request.app.state.workers.asks_for_keys())
    return Response(document, headers={"ETag": _etag(document)}, media_type="application/json")


@router.get(f"{TYPES}{{code}}", include_in_schema=False, **OPEN)
async def problem_type(code: str) -> Response:
    """Explain the code of an error, whose ``type`` this is."""
    if code not in EXPLAINED:
        raise Refused(Code.NOT_FOUND, f"There is no error {code[:80]!r}; there are {', '.join(EXPLAINED)}.")
    return Response(EXPLAINED[code], media_type="text/plain")


@router.get(LIVEZ, response_class=Response, responses={200: {"content": {"text/plain": {}}}}, **OPEN)
async def livez() -> Response:
    """Is the process alive?"""
    return Response("alive\n", media_type="text/plain")


@router.get(READYZ, response_model=Readiness, responses=documented(503), **OPEN)
async def readyz(request: Request) -> Response:
    """Can it answer, lists and texts? 503 says what is missing.

    A service with ``RECSYS_TEXTS=off`` is ready without what texts need.
    """
    found: Readiness = request.app.state.workers.readiness()
    return Response(found.model_dump_json(exclude_none=True), media_type="application/json")


@cache
def _etag(document: bytes) -> str:
    return etag_of(document)
