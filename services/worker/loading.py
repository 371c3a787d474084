"""What takes seconds to load: by a thread of its own, while requests wait for it outside of their lanes.

What is loaded last stays usable until what is wanted in its place is there, so that a switch fails nobody. A load that
failed is remembered for a while: whoever asks is told why, and nobody reads gigabytes for each request.
"""

import logging
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from recsys.artifacts import ArtifactError
from recsys.errors import SettingError
from recsys_client.schemas.problems import Code
from services.edge.lanes import StillLoadingError
from services.edge.problems import Refused

RETRY_SECONDS = 10.0  # between two attempts at what did not load
RESIDENCE_SECONDS = 30.0  # for which what a request has asked for stays before another may take its place
TEXTS = "RECSYS_TEXTS"  # whether encoders are loaded before a text needs one, and readiness waits for them: on or off
ON = "on"
OFF, LOADING, READY, FAILED = "off", "loading", "ready", "failed"
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class NoRoomError(Refused):
    """503 with Retry-After: what a request names is not loaded, and others that stay for a while take its place."""


class BackgroundLoader(Generic[T]):
    """Loads things by key, one after the other. Safe to share between threads.

    Args:
        what: how a sentence calls them, with ``{key}``; for instance "The encoder of generation {key}".
        load: makes one; may take long, and may raise.
        kept: how many stay loaded; what is wanted, and what stands in for it, in any case.
    """

    def __init__(self, what: str, load: Callable[[str], T], kept: int) -> None:
        self._what = what
        self._load = load
        self._kept = kept
        self._changing = threading.Lock()
        self._loading = threading.Lock()  # one at a time: two would take each other's time
        self._found: OrderedDict[str, Future[T]] = OrderedDict()
        self._failed: dict[str, float] = {}  # when to try again, by key
        self._asked: dict[str, float] = {}  # when a request last asked for it, by key
        self._wanted: str | None = None
        self._before: str | None = None  # was wanted before, and is loaded

    def want(self, key: str, ahead: bool = True) -> None:
        """Keep something from now on, and load it.

        Args:
            key: of what. What was wanted before is kept until this is there.
            ahead: False: nothing is loaded, or kept in its place, before somebody asks for it.
        """
        with self._changing:
            if key != self._wanted:
                if ahead and self._wanted is not None and _loaded(self._found.get(self._wanted)):
                    self._before = self._wanted
                self._wanted = key
        if ahead:
            self.begin(key)

    def begin(self, key: str, again: bool = False) -> "Future[T]":
        """Return what will hold something when it is loaded, and begin with it unless that has happened.

        Args:
            key: of what.
            again: try once more what has failed, however short a time ago.
        """
        with self._changing:
            future = self._found.get(key)
            if future is None or (_failure(future) and (again or time.monotonic() >= self._failed[key])):
                future = self._found[key] = Future()
                future.set_running_or_notify_cancel()  # whoever waits for it cannot cancel it
                threading.Thread(target=self._run, args=(key, future), name="load-in-background", daemon=True).start()
            self._found.move_to_end(key)
            return future

    def find(self, key: str) -> T | None:
        """Return what is loaded, or None."""
        future = self._found.get(key)
        return future.result() if future is not None and _loaded(future) else None

    def keep(self, key: str, made: T) -> None:
        """Take what is loaded already."""
        with self._changing:
            future = self._found[key] = Future()
            future.set_result(made)
            self._found.move_to_end(key)
        self._drop()

    def get(self, key: str) -> T:
        """Return what is loaded, in a lane.

        What was asked for this way stays for a while before something else may take its place: requests that ask for
        one after the other in turn must not have gigabytes read for each.

        Raises:
            StillLoadingError: it is being loaded.
            NoRoomError: as many others as are kept were asked for a short while ago.
            Exception: it could not be loaded; whatever ``load`` raised.
        """
        with self._changing:
            seconds = self._seconds_until_room(key)
            if seconds > 0:
                detail = (
                    f"{self._what.format(key=key)} is not loaded, and there is no room for it: {self._room()} beside "
                    "what serves may be named at a time. Ask for those, or come again when nobody has for a while."
                )
                raise NoRoomError(Code.LOADING, detail, {"Retry-After": str(math.ceil(seconds))})
            self._asked[key] = time.monotonic()
        future = self.begin(key)
        if not future.done():
            raise StillLoadingError(self._what.format(key=key), future)
        return future.result()

    def state(self, key: str) -> str:
        """Return "ready", "loading", "failed: why", or "off" where nobody has begun."""
        future = self._found.get(key)
        if future is None:
            return OFF
        if not future.done():
            return LOADING
        return f"{FAILED}: {future.exception()}" if _failure(future) else READY

    def loaded(self) -> list[T]:
        """Return all that is loaded."""
        with self._changing:
            return [future.result() for future in self._found.values() if _loaded(future)]

    @property
    def settled(self) -> bool:
        """Whether what is wanted is loaded, or could not be."""
        future = self._found.get(self._wanted) if self._wanted is not None else None
        return future is not None and future.done()

    @property
    def answering(self) -> str | None:
        """The key of what answers where none is named: what is wanted, or what was before it until it is there."""
        wanted, before = self._wanted, self._before
        if before is not None and wanted is not None and not _loaded(self._found.get(wanted)):
            return before
        return wanted

    def _run(self, key: str, future: "Future[T]") -> None:
        with self._loading:
            started = time.monotonic()
            try:
                made = self._load(key)
            except Exception as error:  # whatever a broken file makes its reader raise
                unexpected = None if isinstance(error, ArtifactError) else error
                _LOG.error("%s cannot be loaded: %s", self._what.format(key=key), error, exc_info=unexpected)
                self._failed[key] = time.monotonic() + RETRY_SECONDS
                future.set_exception(error)
                self._drop()
            else:
                _LOG.info("%s is loaded, in %.1f s.", self._what.format(key=key), time.monotonic() - started)
                with self._changing:  # who finds it loaded finds nothing more that had to go for it
                    future.set_result(made)
                    self._drop_others()

    def _drop(self) -> None:
        with self._changing:
            self._drop_others()

    def _drop_others(self) -> None:
        """Forget what was used longest ago, beyond what is kept."""
        if self._before is not None and _loaded(self._found.get(self._wanted or "")):
            self._before = None
        others = self._others()
        for key in others[: max(0, len(others) - self._room())]:
            if self._found[key].done():
                self._failed.pop(key, None)
                self._asked.pop(key, None)
                del self._found[key]

    def _others(self) -> list[str]:
        """Return what is there, or on its way, beside what is kept in any case; what was used longest ago first."""
        return [key for key in self._found if key not in (self._wanted, self._before)]

    def _room(self) -> int:
        """Return how many of those may stay."""
        return max(1, self._kept - len({self._wanted, self._before} - {None}))

    def _seconds_until_room(self, key: str) -> float:
        """Return how long something must wait until it may be loaded in the place of something else; 0: not at all."""
        if key in self._found or key in (self._wanted, self._before):
            return 0.0
        since = time.monotonic() - RESIDENCE_SECONDS
        recent = sorted(self._asked[other] for other in self._others() if self._asked.get(other, since) > since)
        return recent[-self._room()] - since if len(recent) >= self._room() else 0.0


def _loaded(future: "Future[T] | None") -> bool:
    return future is not None and future.done() and future.exception() is None


def _failure(future: "Future[T]") -> bool:
    return future.done() and future.exception() is not None


def loads_ahead() -> bool:
    """Tell whether encoders are loaded before a text needs one, as the environment says.

    Raises:
        SettingError: the variable is not what it must be.
    """
    value = os.environ.get(TEXTS) or ON
    if value not in (ON, OFF):
        raise SettingError(f"{TEXTS} is {value!r}; it must be {ON} or {OFF}.")
    return value == ON
