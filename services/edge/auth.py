"""Who may ask for what: every route declares a scope, and its guard looks at the key before a body is read.

The declaration is the route's ``security`` in the OpenAPI document, so what is described is what is enforced; a route
without one does not start. ``write`` does not imply ``recommend``: what a tracker in somebody's browser can do must
not include reading. A key may have several scopes; ``admin`` has all. One user's history needs ``admin``, also where an
explanation would name its items.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive, Scope, Send

from services.edge.bodies import BYTES, COMMAS, SMALL, BodyLimit, check_no_null, check_sent_as_json
from services.edge.context import asking_key
from services.edge.description import SCHEME, documented
from services.edge.guard import ALLOWANCE, READS_HISTORIES, Guard
from services.edge.keys import SCOPES
from services.edge.problems import announced_bytes, capped, too_large

WORKER = "recsys.worker"  # in a request's scope: the parts of the service that it is answered with
NONSENSE = {400, 413, 415, 422}  # what a key is made to wait for, where it is answered so too often
OPEN: dict[str, Any] = {"openapi_extra": {"security": []}}  # for a route that needs no key


def scoped(scope: str, *errors: int, body: BodyLimit = SMALL) -> dict[str, Any]:
    """Return a route's arguments that make it need a scope and describe its errors, those of the guard among them.

    Args:
        scope: what a key must have.
        errors: statuses of the route's own.
        body: how large its body may be.
    """
    if scope not in SCOPES:
        raise ValueError(f"There is no scope {scope!r}; there are {', '.join(SCOPES)}.")
    return {
        "openapi_extra": {"security": [{SCHEME: [scope]}], **body.described()},
        "responses": documented(*sorted({*errors, 401, 403, 429, 503})),
    }


class Workers(Protocol):
    """Who answers in this process: one for everybody, or one for each tenant."""

    def guard_of(self, scope: Scope) -> Guard:
        """Return who judges a request."""

    def entered(self, guard: Guard, scope: Scope) -> AbstractAsyncContextManager[object]:
        """Hold what answers those whom a guard has let in, for the length of a request.

        Raises:
            Refused: 401, the tenant has gone since; 503, it is not loaded yet.
        """

    def asks_for_keys(self) -> bool:
        """Tell whether a request needs a key."""


class GuardedRoute(APIRoute):
    """A route whose declared scope is checked first.

    Raises:
        TypeError: no scope is declared; ``OPEN`` or ``scoped`` does.
    """

    def __init__(self, path: str, endpoint: Any, **arguments: Any) -> None:
        super().__init__(path, endpoint, **arguments)
        declared = (self.openapi_extra or {}).get("security")
        if declared is None:
            raise TypeError(f"{path} declares no scope; add **scoped(…) or **OPEN to its route.")
        self.needed: str | None = declared[0][SCHEME][0] if declared else None

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request that may; its body is looked at before it is parsed."""
        answer, limit = super().get_route_handler(), self._limit()

        async def answer_bounded(request: Request) -> Response:
            body = await request.body()  # which the request keeps
            if body and self.body_field is not None:
                check_sent_as_json(request.headers)
                if not self.body_field.field_info.is_required():
                    check_no_null(body)
            limit.check(body)
            return await answer(request)

        return answer_bounded

    def _limit(self) -> BodyLimit:
        declared = self.openapi_extra or {}
        return BodyLimit(declared[BYTES] // 2**10, declared[COMMAS]) if BYTES in declared else SMALL

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403, 413 or 429, or go on."""
        if self.needed is None or scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        workers: Workers = scope["app"].state.workers
        guard = workers.guard_of(scope)
        refusal = guard.check(scope, self.needed)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        most = self._limit().size
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if message["type"] == "http.response.start" and ALLOWANCE in scope:
                message = {**message, "headers": [*message.get("headers", ()), *scope[ALLOWANCE]]}
            await send(message)

        with guard.under_way():
            if (patience := guard.patience()) > 0:
                await asyncio.sleep(patience)
            if announced_bytes(scope) > most:
                await too_large(most)(scope, receive, send_noting)
            else:
                async with workers.entered(guard, scope) as scope[WORKER]:
                    await super().handle(scope, capped(receive, most), send_noting)
        if status in NONSENSE:
            guard.refused()


def guarded_router(tag: str | None = None) -> APIRouter:
    """Return a router whose routes must declare a scope.

    Args:
        tag: of ``services.edge.description.TAGS``; None for routes that are not described.
    """
    return APIRouter(route_class=GuardedRoute, tags=[tag] if tag else [])


async def _reads_histories(request: Request) -> bool:
    return bool(request.scope.get(READS_HISTORIES, False))


async def _key_id() -> str | None:
    return asking_key()


ReadsHistories = Annotated[bool, Depends(_reads_histories)]
KeyId = Annotated[str | None, Depends(_key_id)]
