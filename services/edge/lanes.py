"""Bounds on what runs at once and on what waits for it; beyond them a request is told at once to come again.

A queue without an end would make every answer late. A short one takes up bursts.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

from anyio import Semaphore, WouldBlock, move_on_after
from fastapi import HTTPException

from services.edge.context import MODEL, PARSE, QUEUE, WORK, end_stage, end_stage_after, since_arrival

WAIT_SECONDS = 4.0  # for a thread; with the database's own waiting this stays below the request's timeout
# From a request's arrival until what it needs is loaded; a second of what an answer may take is left for the work.
LOADED_SECONDS = 8.5
T = TypeVar("T")


class StillLoadingError(Exception):
    """Raised by work that needs what is still being loaded, before it has changed anything: it is begun again then.

    Args:
        what: is being loaded, as a sentence begins with it.
        loaded: is done when it is there, and when it could not be loaded.
    """

    def __init__(self, what: str, loaded: "Future[Any]") -> None:
        super().__init__(f"{what} is still being loaded.")
        self.loaded = loaded

    async def over(self) -> None:
        """Wait until it is there, or could not be loaded, for as long as an answer may take.

        Raises:
            HTTPException: 503 with Retry-After, it was neither in time.
        """
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self.loaded.add_done_callback(lambda _: _call_in(loop, over.set))
        with move_on_after(max(0.0, LOADED_SECONDS - since_arrival())):
            await over.wait()
        end_stage(MODEL)
        if not self.loaded.done():
            raise HTTPException(503, f"{self} Nothing was done; ask again.", {"Retry-After": "2"})


class Lane:
    """A few threads for one kind of blocking work, and a bounded number of requests that wait for one of them.

    A thread is free again when its work has ended, not when whoever asked has gone.

    Args:
        threads: how many.
        queue: requests that wait at most.
        shed: is called for every request that is turned away.
    """

    def __init__(self, threads: int, queue: int, shed: Callable[[], object]) -> None:
        self._slots = Semaphore(threads, fast_acquire=True)
        self._threads = ThreadPoolExecutor(threads)
        self._queue = queue
        self._waiting = 0
        self._shed = shed

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run blocking work in a thread, first come first served.

        Work that raises ``StillLoadingError`` gives its thread to others meanwhile, and runs again afterwards.

        Raises:
            HTTPException: 503 with Retry-After, as many wait already as may, or it has waited too long.
        """
        end_stage_after(None, PARSE)
        while True:
            try:
                return await self._once(work, *arguments)
            except StillLoadingError as loading:
                await loading.over()

    async def _once(self, work: Callable[..., T], *arguments: Any) -> T:
        await self._enter()
        loop = asyncio.get_running_loop()
        future = self._threads.submit(copy_context().run, _begun, work, *arguments)
        future.add_done_callback(lambda _: _call_in(loop, self._slots.release))
        return await asyncio.wrap_future(future)

    async def _enter(self) -> None:
        try:
            self._slots.acquire_nowait()
            return
        except WouldBlock:
            pass
        if self._waiting < self._queue:
            self._waiting += 1
            try:
                with move_on_after(WAIT_SECONDS):
                    await self._slots.acquire()
                    return
            finally:
                self._waiting -= 1
        self._shed()
        raise HTTPException(503, "The service has more to do than it can; nothing was done.", {"Retry-After": "1"})


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(function)


def _begun(work: Callable[..., T], *arguments: Any) -> T:
    end_stage(QUEUE)
    result = work(*arguments)
    end_stage_after(QUEUE, WORK)
    return result
