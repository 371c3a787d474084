"""Work that an answer must not wait for: a bounded queue and one thread; what does not fit is dropped and counted."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

LINGER_SECONDS = 0.1  # gathers what belongs into one transaction; readers elsewhere see it at most so much later
RETRY_SECONDS = 1.0  # after a database that cannot be reached
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class Backlog(Generic[T]):
    """Hands entries to a function in batches, in their order.

    Args:
        name: of the thread.
        work: takes a batch; one that fails for want of the database is tried again, any other failure loses the batch.
        size: entries that wait at most.
        batch: entries handed over at once at most.
        dropped: is told how many entries were lost.
    """

    def __init__(
        self, name: str, work: Callable[[Sequence[T]], object], size: int, batch: int, dropped: Callable[[int], object]
    ) -> None:
        self._work = work
        self._size = size
        self._batch = batch
        self._dropped = dropped
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._taken = self._done = 0  # entries ever accepted, and ever through
        self._urgent = self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def put(self, entry: T) -> bool:
        """Add an entry without waiting; return False where it was dropped instead."""
        with self._changed:
            if not self._closed and len(self._waiting) < self._size:
                self._waiting.append(entry)
                self._taken += 1
                self._changed.notify_all()
                return True
        self._dropped(1)
        return False

    def flush(self, seconds: float) -> bool:
        """Wait until all entries so far are through; return whether they are."""
        with self._changed:
            wanted, self._urgent = self._taken, True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= wanted, seconds)

    def close(self, seconds: float) -> bool:
        """Take no more, work off what waits, and stop; return whether all of it was through in time."""
        flushed = self.flush(seconds)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if not flushed:
            self._dropped(self._taken - self._done)
        return flushed

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._changed.wait_for(
                    lambda: self._urgent or self._closed or len(self._waiting) >= self._batch, LINGER_SECONDS
                )
                if self._closed:
                    return
                entries = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
                self._urgent = self._urgent and bool(self._waiting)
            self._hand_over(entries)
            with self._changed:
                self._done += len(entries)
                self._changed.notify_all()

    def _hand_over(self, entries: Sequence[T]) -> None:
        while True:
            try:
                self._work(entries)
                return
            except SQLAlchemyError as error:
                _LOG.error("%s: the database failed, %d entries wait.", self._thread.name, len(entries), exc_info=error)
                with self._changed:
                    if self._changed.wait_for(lambda: self._closed, RETRY_SECONDS):
                        return
            except Exception as error:
                _LOG.error("%s lost %d entries.", self._thread.name, len(entries), exc_info=error)
                self._dropped(len(entries))
                return
