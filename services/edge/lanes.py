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

from services.edge.context import PARSE, QUEUE, WORK, end_stage, lap_after

WAIT_SECONDS = 4.0  # for a thread; with the database's own waiting this stays below the request's timeout
T = TypeVar("T")


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

        Raises:
            HTTPException: 503 with Retry-After, as many wait already as may, or it has waited too long.
        """
        lap_after(None, PARSE)
        await self._enter()
        loop = asyncio.get_running_loop()

        def ended(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._slots.release)

        future = self._threads.submit(copy_context().run, _begun, work, *arguments)
        future.add_done_callback(ended)
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


def _begun(work: Callable[..., T], *arguments: Any) -> T:
    end_stage(QUEUE)
    result = work(*arguments)
    lap_after(QUEUE, WORK)
    return result
