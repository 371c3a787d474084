"""Who may ask for what: every route declares a scope, and its guard looks at the key before a body is read.

The declaration is the route's ``security`` in the OpenAPI document, so what is described is what is enforced; a route
without one does not start. ``write`` does not imply ``recommend``: what a tracker in somebody's browser can do must
not include reading. A key may have several scopes; ``admin`` has all. One user's history needs ``admin``, also where an
explanation would name its items.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from recsys_client.schemas.problems import Code
from services.edge.bodies import BYTES, COMMAS, SMALL, BodyLimit, check_no_null, check_sent_as_json
from services.edge.context import CURRENT, asking_key
from services.edge.description import SCHEME, documented
from services.edge.keys import ADMIN, SCOPES, Key, Keys
from services.edge.problems import announced_bytes, capped, problem, too_large

READS_HISTORIES = "recsys.reads_histories"  # in a request's scope: whether it may be told what a user did
ALLOWANCE = "recsys.allowance"  # in a request's scope: headers that say what its key has left
BURST_SECONDS = 2.0  # how much of its rate a key may use at once
MOST_AT_ONCE = 100  # requests of one key that a worker has under way; fewer than may wait for a lane
# To refuse takes time, too: a key that has sent so many bodies lately that are none waits so long for each request that
# it has under way. So many are forgotten every second. An id that names nothing is no nonsense: catalogues change.
NONSENSE = {400, 413, 415, 422}
FREE_REFUSALS, REFUSAL_SECONDS, REFUSALS_FORGOTTEN = 50, 0.05, 5.0
LONGEST_SECONDS = 3.0
OPEN: dict[str, Any] = {"openapi_extra": {"security": []}}  # for a route that needs no key
CHALLENGE = {"WWW-Authenticate": "Bearer"}


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
        guard: Guard = scope["app"].state.worker.guard
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
                await super().handle(scope, capped(receive, most), send_noting)
        if status in NONSENSE:
            guard.refused()


def guarded_router(tag: str | None = None) -> APIRouter:
    """Return a router whose routes must declare a scope.

    Args:
        tag: of ``services.edge.description.TAGS``; None for routes that are not described.
    """
    return APIRouter(route_class=GuardedRoute, tags=[tag] if tag else [])


class Guard:
    """Judges requests by their keys; called from the event loop alone, so it takes no lock."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._buckets: dict[str, tuple[float, float]] = {}  # by key: tokens left, and when that was
        self._under_way: Counter[str] = Counter()  # requests by key
        self._refusals: dict[str, tuple[float, float]] = {}  # by key: how many lately, and when that was

    def asks_for_keys(self) -> bool:
        """Tell whether there are keys, or must be."""
        return self._keys.asked_for()

    def check(self, scope: Scope, needed: str) -> Any:
        """Return None if a request may go on, else the response that refuses it."""
        if not self._keys.asked_for():  # whoever is answered at all then, is answered everything
            scope[READS_HISTORIES] = True
            return None
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return problem(Code.UNAUTHORISED, "Send a key: `Authorization: Bearer …`.", CHALLENGE)
        key = self._keys.find(token.strip())
        if key is None:
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return problem(Code.UNKNOWN_KEY, "The key is unknown or revoked.", headers)
        if not key.may(needed):
            held = ", ".join(key.scopes)
            headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'}
            detail = f"This needs the scope {needed!r}; the key {key.id} has {held}."
            return problem(Code.MISSING_SCOPE, detail, headers)
        if self._under_way[key.id] >= MOST_AT_ONCE:
            detail = (
                f"The key {key.id} has {MOST_AT_ONCE} requests under way, as many as it may; wait for some of them."
            )
            return problem(Code.TOO_MANY_REQUESTS, detail, {"Retry-After": "1"})
        scope[READS_HISTORIES] = key.may(ADMIN)
        context = CURRENT.get()
        if context is not None:
            context.key = key.id
        return self._take(scope, key)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count the current request among those of its key."""
        key = asking_key() or ""
        self._under_way[key] += 1
        try:
            yield
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]

    def refused(self) -> None:
        """Note that the current request was nonsense."""
        key = asking_key()
        if key is not None:
            self._refusals[key] = self._refusals_of(key) + 1, time.monotonic()

    def patience(self) -> float:
        """Return for how many seconds the current request has to wait: its key has asked for nonsense too often.

        The more it asks at once the longer, so that it gets no more answers in all.
        """
        key = asking_key()
        if key is None or self._refusals_of(key) <= FREE_REFUSALS:
            return 0.0
        return min(LONGEST_SECONDS, REFUSAL_SECONDS * self._under_way[key])

    def _refusals_of(self, key: str) -> float:
        count, then = self._refusals.get(key, (0.0, 0.0))
        return max(0.0, count - REFUSALS_FORGOTTEN * (time.monotonic() - then))

    def _take(self, scope: Scope, key: Key) -> Any:
        if key.rate is None:
            return None
        now, most = time.monotonic(), max(1.0, key.rate * BURST_SECONDS)
        tokens, before = self._buckets.get(key.id, (most, now))
        tokens = min(most, tokens + (now - before) * key.rate)
        if tokens < 1:
            self._buckets[key.id] = (tokens, now)
            headers = allowance(key.rate, most, tokens) | {"Retry-After": str(math.ceil((1 - tokens) / key.rate))}
            return problem(Code.TOO_MANY_REQUESTS, f"The key {key.id} may ask {key.rate:g} times a second.", headers)
        self._buckets[key.id] = (tokens - 1, now)
        told = allowance(key.rate, most, tokens - 1)
        scope[ALLOWANCE] = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        return None


def allowance(rate: float, most: float, left: float) -> dict[str, str]:
    """Return the headers that say what a key may ask a worker for, and what is left of it.

    As draft-ietf-httpapi-ratelimit-headers-10 has them: ``q`` requests at once, which come back within ``w`` seconds;
    ``r`` are left, and all of them again in ``t`` seconds.

    Args:
        rate: requests a second.
        most: requests at once.
        left: of these.
    """
    quota = f'"rate";q={int(most)};w={math.ceil(most / rate)}'
    return {"RateLimit-Policy": quota, "RateLimit": f'"rate";r={int(left)};t={math.ceil((most - left) / rate)}'}


async def _reads_histories(request: Request) -> bool:
    return bool(request.scope.get(READS_HISTORIES, False))


async def _key_id() -> str | None:
    return asking_key()


ReadsHistories = Annotated[bool, Depends(_reads_histories)]
KeyId = Annotated[str | None, Depends(_key_id)]
