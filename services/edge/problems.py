"""Errors as ``application/problem+json`` (RFC 9457), whoever raises them, and the limits on a request's size and time.

Routes raise; the handlers here turn what is raised into one shape. ``Boundary`` stands around everything, so that
what the server answers by itself (an unknown path, not ready) has the same shape.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.artifacts import ArtifactError
from recsys.remote.bucket import StoreError
from recsys_client.schemas.problems import PROBLEM_JSON, Code, Problem, Violation, violation
from services.edge.context import CURRENT, AbandonedError
from services.edge.paths import without_paths

MAX_BODY_BYTES = 4 * 2**20  # of any route: 1,000 events with the longest ids fit, also outside ASCII
ANSWER_SECONDS = 9.5  # from headers to answer: more than a lane and SQLite wait, less than BentoML, which tells less
TOO_LATE = f"There was no answer within {ANSWER_SECONDS:g} s. What was begun may still be done; ask again."
KEPT_HEADERS = ("allow", "retry-after")
MAX_DETAILS = 5  # validation messages in one problem's detail
MAX_VIOLATIONS = 50  # of them one by one, for programs
_LOG = logging.getLogger(__name__)


class Refused(HTTPException):
    """A request is answered by an error.

    Args:
        code: which one; its status is the answer's.
        detail: what is wrong, and what to do about it.
        headers: of the answer.
        pointer: which place of the body is wrong, where it is one; the detail begins with it, as body.NAME.
    """

    def __init__(
        self, code: Code, detail: str, headers: Mapping[str, str] | None = None, pointer: str | None = None
    ) -> None:
        super().__init__(code.status, detail, dict(headers) if headers else None)
        self.code = code
        what = detail.partition(": ")[2] if pointer is not None else ""
        self.errors = [Violation(pointer=pointer, code=code, detail=what)] if what else []


def problem(
    code: Code, detail: str, headers: Mapping[str, str] | None = None, errors: Sequence[Violation] = ()
) -> Response:
    """Return an error response; of paths of this machine the detail keeps the last part."""
    return _response(Problem.of(code, without_paths(detail), errors, _request_id()), headers)


def _response(content: Problem, headers: Mapping[str, str] | None) -> Response:
    text = content.model_dump_json(exclude_none=True)
    return Response(text, content.status, headers=headers, media_type=PROBLEM_JSON)


def _of_status(status: int, detail: str, headers: Mapping[str, str] | None) -> Response:
    """Return an error response by its status alone, as who raised it knew nothing of codes."""
    code = Code.of(status)
    if code is not None:
        return problem(code, detail, headers)
    title = HTTPStatus(status).phrase
    return _response(
        Problem(title=title, status=status, detail=without_paths(detail), request_id=_request_id()), headers
    )


def _request_id() -> str | None:
    context = CURRENT.get()
    return context.request_id if context else None


def install_handlers(app: FastAPI) -> None:
    """Make an application answer every error as a problem."""

    @app.exception_handler(StarletteHTTPException)
    async def on_http_error(request: Request, error: StarletteHTTPException) -> Response:
        headers = error.headers
        if error.status_code == 405:
            headers = {"Allow": ", ".join(sorted(_methods(request)))}
        if isinstance(error, Refused):
            return problem(error.code, error.detail, headers, error.errors)
        return _of_status(error.status_code, error.detail, headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid_request(request: Request, error: RequestValidationError) -> Response:
        errors = error.errors()
        if errors[0]["type"] == "json_invalid":
            what, where = errors[0]["ctx"]["error"], errors[0]["loc"][-1]
            return problem(Code.INVALID_JSON, f"The body is no JSON: {what} at character {where}.")
        found = [_violation(request, entry) for entry in errors[:MAX_VIOLATIONS]]
        shown = [
            f"{'.'.join(map(str, entry['loc']))}: {one.detail}"
            for entry, one in zip(errors[:MAX_DETAILS], found, strict=False)
        ]
        more = [f"and {len(errors) - MAX_DETAILS} more"] if len(errors) > MAX_DETAILS else []
        return problem(Code.INVALID_REQUEST, "; ".join(shown + more), errors=found)

    @app.exception_handler(SQLAlchemyError)
    async def on_store_error(_: Request, error: SQLAlchemyError) -> Response:
        _LOG.error("The event store failed.", exc_info=error)
        detail = "The event store cannot be reached; nothing was stored. Try again."
        return problem(Code.DATABASE_UNAVAILABLE, detail, {"Retry-After": "1"})

    @app.exception_handler(ArtifactError)
    async def on_broken_file(_: Request, error: ArtifactError) -> Response:
        _LOG.error("What is stored cannot be read. %s", error)  # which names files, as an answer must not
        detail = "Files of the service are missing or damaged; its log says which. What is loaded goes on answering."
        return problem(Code.FILES_DAMAGED, detail, {"Retry-After": "5"})

    @app.exception_handler(StoreError)
    async def on_object_store_error(_: Request, error: StoreError) -> Response:
        _LOG.error("The object store of the home failed. %s", error)  # which names it, as an answer must not
        return problem(Code.UNAVAILABLE, STORE_FAILS, {"Retry-After": "5"})

    @app.exception_handler(ClientDisconnect)
    @app.exception_handler(AbandonedError)
    async def on_abandoned(_: Request, __: Exception) -> Response:
        # read by nobody, and no fault of the service
        return problem(Code.TOO_SLOW, "Nobody waits for this answer any more.")

    @app.exception_handler(Exception)
    async def on_fault(_: Request, __: Exception) -> Response:
        return problem(Code.FAULT, "The service failed; its log says why.")  # the server logs what was raised


STORE_FAILS = "The object store does not do what was asked; the log says why. What is loaded goes on answering."


class Boundary:
    """ASGI middleware around the whole server: caps body and time, and gives every error without a shape its shape."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if announced_bytes(scope) > MAX_BODY_BYTES:
            await too_large(MAX_BODY_BYTES)(scope, receive, send)
            return
        begun = False
        shapeless: Message | None = None  # the start of an error response that is not a problem yet
        content = b""

        async def send_shaped(message: Message) -> None:
            nonlocal begun, shapeless, content
            begun = True
            if message["type"] == "http.response.start":
                media_type = Headers(raw=message["headers"]).get("content-type")
                shapeless = message if message["status"] >= 400 and media_type != PROBLEM_JSON else None
            if shapeless is None:
                await send(message)
                return
            content += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                headers = Headers(raw=shapeless["headers"])
                kept = {name: headers[name] for name in KEPT_HEADERS if name in headers}
                await _of_status(shapeless["status"], _text(content), kept)(scope, receive, send)

        try:
            async with asyncio.timeout(ANSWER_SECONDS) as deadline:
                await self.app(scope, capped(receive, MAX_BODY_BYTES), send_shaped)
        except TimeoutError:
            if begun or not deadline.expired():
                raise
            await problem(Code.TOO_LATE, TOO_LATE, {"Retry-After": "1"})(scope, receive, send)


def announced_bytes(scope: Scope) -> int:
    """Return the size of the body that a request announces; 0 where it announces none."""
    length = Headers(scope=scope).get("content-length", "0")
    return int(length) if length.isdigit() else 0


def too_large(most: int) -> Response:
    """Return the answer to a larger body than a route takes; it is not read, so the connection cannot be used again."""
    return problem(Code.TOO_LARGE, _too_large(most), {"Connection": "close"})


def capped(receive: Receive, most: int) -> Receive:
    """Return what receives a body of at most so many bytes, also where it is sent in chunks, without a length.

    Raises:
        Refused: 413, there are more.
    """
    received = 0

    async def receive_capped() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise Refused(Code.TOO_LARGE, _too_large(most))
        return message

    return receive_capped


def _too_large(most: int) -> str:
    size = f"{most // 2**20} MiB" if most >= 2**20 else f"{most // 2**10} KiB"
    return f"The body is larger than {size}, the most that this route takes; send less in one request."


def _methods(request: Request) -> set[str]:
    """Return the methods of all routes with a request's path; Starlette names those of the first alone."""
    found = set()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        asked = {"type": "http", "method": method, "path": request.scope["path"], "root_path": ""}
        if any(route.matches(asked)[0] == Match.FULL for route in request.app.routes):
            found.add(method)
    return found | {"HEAD"} if "GET" in found else found


def _violation(request: Request, entry: Any) -> Violation:
    """Return what is wrong with a part of a request, as FastAPI has found it."""
    where, *place = entry["loc"]
    if where == "body":
        return violation(entry, place, request.scope["route"].body_field.field_info.annotation)
    code = entry["type"].replace("_", "-")
    return Violation(parameter=".".join(map(str, place)), code=code, detail=entry["msg"])


def _text(content: bytes) -> str:
    text = content.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, TypeError, KeyError):
        return text
