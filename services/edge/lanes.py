"""Bounds on what runs at once and on what waits for it; beyond them a request is told at once to come again.

A queue without an end would make every answer late. A short one takes up bursts.
"""

import asyncio
import time
from bisect import insort
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any, TypeVar

from anyio import move_on_after

from recsys_client.schemas.problems import Code
from services.edge.context import (
    CURRENT,
    MODEL,
    PARSE,
    QUEUE,
    WORK,
    asking_key,
    asking_tenant,
    checkpoint,
    end_stage,
    end_stage_after,
    since_arrival,
)
from services.edge.problems import Refused

WAIT_SECONDS = 4.0  # for a thread; with the database's own waiting this stays below the request's timeout
# From a request's arrival until what it needs is loaded; a second of what an answer may take is left for the work.
LOADED_SECONDS = 8.5
MANY_KEYS = 1_000  # from which on those that have nothing to catch up with are forgotten
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
            Refused: 503 with Retry-After, it was neither in time.
        """
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self.loaded.add_done_callback(lambda _: _call_in(loop, over.set))
        with move_on_after(max(0.0, LOADED_SECONDS - since_arrival())):
            await over.wait()
        end_stage(MODEL)
        if not self.loaded.done():
            raise Refused(Code.LOADING, f"{self} Nothing was done; ask again.", {"Retry-After": "2"})


class Lane:
    """A few threads for one kind of blocking work, and a bounded number of requests that wait for one of them.

    Keys that wait share the threads' time equally (start-time fair queueing, Goyal and others, 1996), and a key's
    requests are served in the order of their arrival: who asks a little does not wait behind who asks for everything,
    nor behind a flood of small questions. Of a tenant all keys are as one. Where no more may wait, the newest request
    of the key that has most waiting makes room for one of a key that has fewer.

    A thread is free again when its work has ended, not when whoever asked has gone.

    Attributes:
        quiet: set while nothing runs and nothing waits.

    Args:
        threads: how many.
        queue: requests that wait at most.
        shed: is called for every request that is turned away.
        behind: a lane whose work goes first.
    """

    def __init__(self, threads: int, queue: int, shed: Callable[[], object], behind: "Lane | None" = None) -> None:
        self._behind = behind
        self.quiet = Event()
        self.quiet.set()
        self._free = self._all = threads
        self._threads = ThreadPoolExecutor(threads)
        self._queue = queue
        self._waiting: dict[str, list[Turn]] = {}  # by key, in the order in which their requests have arrived
        self._shares = Shares()
        self._shed = shed

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run blocking work in a thread.

        Work that raises ``StillLoadingError`` gives its thread to others meanwhile, and runs again afterwards.

        Raises:
            Refused: 503 with Retry-After, as many wait already as may, or it has waited too long.
        """
        end_stage_after(None, PARSE)
        while True:
            try:
                return await self._once(work, *arguments)
            except StillLoadingError as loading:
                await loading.over()

    def checkpoint(self) -> Callable[[str], None]:
        """Return what ends the stages of work in this lane, and stops it where nobody waits for the answer."""
        return checkpoint if self._behind is None else Considerate(self._behind.quiet)

    @property
    def contended(self) -> bool:
        """Whether another key waits than that of the current request; for work in a thread, which may stop for it."""
        return any(key != _asking() for key in list(self._waiting))

    async def _once(self, work: Callable[..., T], *arguments: Any) -> T:
        context, key = CURRENT.get(), _asking()
        await self._enter(key)
        loop, started = asyncio.get_running_loop(), time.monotonic()
        future = self._threads.submit(copy_context().run, _begun, work, *arguments)
        future.add_done_callback(lambda _: _call_in(loop, partial(self._leave, key, time.monotonic() - started)))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if context is not None:
                context.abandoned = True
            raise

    async def _enter(self, key: str) -> None:
        """Wait for a thread."""
        if self._free:
            self._free -= 1
            self.quiet.clear()
            self._shares.begun(key)
            return
        if sum(map(len, self._waiting.values())) >= self._queue and not self._make_room(key):
            raise self._refusal()
        turn, own = Turn(_arrival()), self._waiting.setdefault(key, [])
        insort(own, turn, key=lambda one: one.arrival)
        with move_on_after(WAIT_SECONDS):
            try:
                await turn.come
                return
            except asyncio.CancelledError:
                if not turn.come.cancelled() and turn.come.exception() is None:  # it came in the same moment
                    self._leave(key, 0)
                raise
            finally:
                with suppress(ValueError):
                    own.remove(turn)
                if not own and self._waiting.get(key) is own:
                    del self._waiting[key]
        raise self._refusal()

    def _leave(self, key: str, seconds: float) -> None:
        """Give a thread that a key's request had for some time to who is next."""
        self._shares.ended(key, seconds)
        for other in sorted(self._waiting, key=self._shares.tag):
            for turn in self._waiting[other]:
                if not turn.come.done():
                    self._shares.begun(other)
                    turn.come.set_result(None)
                    return
        self._free += 1
        if self._free == self._all:
            self.quiet.set()

    def _make_room(self, key: str) -> bool:
        """Turn away the newest request of the key that has most waiting, if a key has fewer; tell whether it was."""
        most = max(self._waiting.values(), key=len, default=[])
        if len(most) <= len(self._waiting.get(key, ())) + 1:
            return False
        most.pop().come.set_exception(self._refusal())
        return True

    def _refusal(self) -> Refused:
        self._shed()
        return Refused(
            Code.OVERLOADED, "The service has more to do than it can; nothing was done.", {"Retry-After": "1"}
        )


@dataclass(eq=False)
class Turn:
    """What a request waits for, which arrived at a reading of ``time.perf_counter``."""

    arrival: float
    come: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Shares:
    """How far each key has got in a time that goes on as work is done (its "virtual time", in seconds of threads).

    Who is furthest back is next. Who had nothing to do begins where the others are, so it neither pays for what it had
    before nor saves up what it left.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._tags: dict[str, float] = {}

    def tag(self, key: str) -> float:
        """Return how far a key has got."""
        return max(self._tags.get(key, 0.0), self._now)

    def begun(self, key: str) -> None:
        """Note that a key's work begins: it was the furthest back."""
        self._now = self._tags[key] = self.tag(key)
        if len(self._tags) > MANY_KEYS:
            self._tags = {one: tag for one, tag in self._tags.items() if tag > self._now}

    def ended(self, key: str, seconds: float) -> None:
        """Note what a key's work has taken."""
        self._tags[key] = self._tags.get(key, self._now) + seconds


class Considerate:
    """Ends the stages of work that lets others go first: after each it waits while they are at work.

    In all it waits at most as long as it has worked, so it gets half of the time at least.

    Args:
        quiet: set while the others neither work nor wait.
    """

    def __init__(self, quiet: Event) -> None:
        self._quiet = quiet
        self._since = time.monotonic()
        self._owed = 0.0  # seconds that it has worked more than waited

    def __call__(self, stage: str) -> None:
        """End a stage.

        Raises:
            AbandonedError: nobody waits for the answer any more.
        """
        checkpoint(stage)
        begun = time.monotonic()
        self._owed += begun - self._since
        self._since = begun
        if not self._quiet.is_set():
            self._quiet.wait(self._owed)
            checkpoint(QUEUE)
            self._since = time.monotonic()
            self._owed = max(0.0, self._owed - (self._since - begun))


def _asking() -> str:
    return asking_tenant() or asking_key() or ""


def _arrival() -> float:
    context = CURRENT.get()
    return context.timer.started if context is not None else time.perf_counter()


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(function)


def _begun(work: Callable[..., T], *arguments: Any) -> T:
    end_stage(QUEUE)
    result = work(*arguments)
    end_stage_after(QUEUE, WORK)
    return result
