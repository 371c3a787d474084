"""The two clients: how a call is sent, waited for and tried again; what can be called is in ``calls``.

Each class has a line a route; signatures and types come from the function that builds the call.
"""

import inspect
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import anyio
import httpx

from recsys_client import calls
from recsys_client.calls import Call
from recsys_client.errors import retry_after

TIMEOUT_SECONDS = 10.0  # the service itself gives up on a request after as long
FIRST_PAUSE_SECONDS = 0.1  # after a broken connection; doubles with each attempt
FOLLOWING_SECONDS = 0.5  # before asking what became of something that takes long
MAX_PAUSE_SECONDS = 5.0  # whoever is told to wait for longer gets the error at once
BROKEN = (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError)  # no timeout once a request is sent

P = ParamSpec("P")
T = TypeVar("T")


def _described(method: Any, build: Callable[..., Any]) -> Any:
    """Give a method the signature of the function behind it, so that ``help`` shows it."""
    signature = inspect.signature(build)
    returned = signature.return_annotation.__args__[0]  # of Call[…]
    self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = signature.replace(
        parameters=[self, *signature.parameters.values()], return_annotation=returned
    )
    return method


def _sync(build: Callable[P, Call[T]]) -> Callable[Concatenate["Client", P], T]:
    """Return the method that sends what a function builds, and waits for the answer."""

    @wraps(build)
    def method(self: "Client", *args: P.args, **kwargs: P.kwargs) -> T:
        return self._send(build(*args, **kwargs))

    return _described(method, build)


def _async(build: Callable[P, Call[T]]) -> Callable[Concatenate["AsyncClient", P], Awaitable[T]]:
    """Return the method whose awaiting sends what a function builds."""

    @wraps(build)
    async def method(self: "AsyncClient", *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._send(build(*args, **kwargs))

    return _described(method, build)


class Client:
    """Asks the service and waits for the answer; may be shared by threads.

    Args:
        base_url: such as ``http://localhost:3000``.
        key: as ``recsys keys create`` printed it; none for a service on this machine without keys.
        timeout: seconds to wait for a connection, and between two pieces of an answer.
        retries: how often to repeat at most what may safely be done twice (everything except deleting, forgetting,
            promoting, rolling back and shadowing) when the connection breaks, or on a 503 that says when to ask again
            (Retry-After, up to 5 seconds). 0, the default, leaves that to the caller.
        transport: of httpx, for a Unix socket, a proxy or a test.

    Raises:
        ServiceError: from every method, when the service refuses; see ``recsys_client.errors``.
        httpx.TransportError: from every method, when the service cannot be reached or does not answer in time.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = 0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retries = _bounded(retries)
        self._http = httpx.Client(base_url=base_url, headers=_headers(key), timeout=timeout, transport=transport)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        self._http.__enter__()
        return self

    def __exit__(self, *error: *tuple[type[BaseException] | None, BaseException | None, TracebackType | None]) -> None:
        self._http.__exit__(*error)

    def _send(self, call: Call[T]) -> T:
        answer = self._answer(call)
        while (further := call.follow(answer)) is not None:
            time.sleep(FOLLOWING_SECONDS)
            call, answer = further, self._answer(further)
        return answer

    def _answer(self, call: Call[T]) -> T:
        attempt = 0
        while True:
            left = self._retries - attempt if call.repeatable else 0
            try:
                response = self._http.request(call.method, call.path, **call.arguments)
            except BROKEN:
                if not left:
                    raise
                pause: float | None = _pause(attempt)
            else:
                pause = _asked_to_wait(response) if left else None
                if pause is None:
                    return call.answer(response)
            time.sleep(pause or 0)
            attempt += 1

    recommend = _sync(calls.recommend)
    recommend_batch = _sync(calls.recommend_batch)
    rank = _sync(calls.rank)
    similar = _sync(calls.similar)
    because_you_liked = _sync(calls.because_you_liked)
    bought_together = _sync(calls.bought_together)
    buy_again = _sync(calls.buy_again)
    new_arrivals = _sync(calls.new_arrivals)
    recently_viewed = _sync(calls.recently_viewed)
    page = _sync(calls.page)
    popular = _sync(calls.popular)
    trending = _sync(calls.trending)
    search = _sync(calls.search)
    embed = _sync(calls.embed)
    classify = _sync(calls.classify)
    add_events = _sync(calls.add_events)
    put_item = _sync(calls.put_item)
    put_items = _sync(calls.put_items)
    patch_item = _sync(calls.patch_item)
    items = _sync(calls.items)
    item = _sync(calls.item)
    delete_item = _sync(calls.delete_item)
    release_item = _sync(calls.release_item)
    user = _sync(calls.user)
    put_user = _sync(calls.put_user)
    similar_users = _sync(calls.similar_users)
    forget_user = _sync(calls.forget_user)
    recommendation = _sync(calls.recommendation)
    generations = _sync(calls.generations)
    adapters = _sync(calls.adapters)
    compare_adapters = _sync(calls.compare_adapters)
    promote = _sync(calls.promote)
    roll_back = _sync(calls.roll_back)
    promotion = _sync(calls.promotion)
    promotions = _sync(calls.promotions)
    begin_shadow = _sync(calls.begin_shadow)
    end_shadow = _sync(calls.end_shadow)
    shadow = _sync(calls.shadow)
    rates = _sync(calls.rates)
    livez = _sync(calls.livez)
    readyz = _sync(calls.readyz)
    metrics = _sync(calls.metrics)


class AsyncClient:
    """As ``Client``, with methods to await, under asyncio or trio."""

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = 0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._retries = _bounded(retries)
        self._http = httpx.AsyncClient(base_url=base_url, headers=_headers(key), timeout=timeout, transport=transport)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, *error: *tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
    ) -> None:
        await self._http.__aexit__(*error)

    async def _send(self, call: Call[T]) -> T:
        answer = await self._answer(call)
        while (further := call.follow(answer)) is not None:
            await anyio.sleep(FOLLOWING_SECONDS)
            call, answer = further, await self._answer(further)
        return answer

    async def _answer(self, call: Call[T]) -> T:
        attempt = 0
        while True:
            left = self._retries - attempt if call.repeatable else 0
            try:
                response = await self._http.request(call.method, call.path, **call.arguments)
            except BROKEN:
                if not left:
                    raise
                pause: float | None = _pause(attempt)
            else:
                pause = _asked_to_wait(response) if left else None
                if pause is None:
                    return call.answer(response)
            await anyio.sleep(pause or 0)
            attempt += 1

    recommend = _async(calls.recommend)
    recommend_batch = _async(calls.recommend_batch)
    rank = _async(calls.rank)
    similar = _async(calls.similar)
    because_you_liked = _async(calls.because_you_liked)
    bought_together = _async(calls.bought_together)
    buy_again = _async(calls.buy_again)
    new_arrivals = _async(calls.new_arrivals)
    recently_viewed = _async(calls.recently_viewed)
    page = _async(calls.page)
    popular = _async(calls.popular)
    trending = _async(calls.trending)
    search = _async(calls.search)
    embed = _async(calls.embed)
    classify = _async(calls.classify)
    add_events = _async(calls.add_events)
    put_item = _async(calls.put_item)
    put_items = _async(calls.put_items)
    patch_item = _async(calls.patch_item)
    items = _async(calls.items)
    item = _async(calls.item)
    delete_item = _async(calls.delete_item)
    release_item = _async(calls.release_item)
    user = _async(calls.user)
    put_user = _async(calls.put_user)
    similar_users = _async(calls.similar_users)
    forget_user = _async(calls.forget_user)
    recommendation = _async(calls.recommendation)
    generations = _async(calls.generations)
    adapters = _async(calls.adapters)
    compare_adapters = _async(calls.compare_adapters)
    promote = _async(calls.promote)
    roll_back = _async(calls.roll_back)
    promotion = _async(calls.promotion)
    promotions = _async(calls.promotions)
    begin_shadow = _async(calls.begin_shadow)
    end_shadow = _async(calls.end_shadow)
    shadow = _async(calls.shadow)
    rates = _async(calls.rates)
    livez = _async(calls.livez)
    readyz = _async(calls.readyz)
    metrics = _async(calls.metrics)


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _bounded(retries: int) -> int:
    if retries < 0:
        raise ValueError(f"retries: {retries} is less than 0.")
    return retries


def _pause(attempt: int) -> float:
    return min(FIRST_PAUSE_SECONDS * 2.0**attempt, MAX_PAUSE_SECONDS)


def _asked_to_wait(response: httpx.Response) -> float | None:
    """Return for how long to wait before asking again; None where asking again is not called for."""
    seconds = retry_after(response) if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else None
    return seconds if seconds is not None and seconds <= MAX_PAUSE_SECONDS else None
