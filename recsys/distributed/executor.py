"""What does the shards of a job: this process, one after another, or the workers of a cluster.

A shard is fixed by what it holds, never by who does it, and results come in the order of the shards. So they are the
same for any number of workers, and where one is lost on the way.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from recsys.callbacks import Progress

Shard = TypeVar("Shard")
Result = TypeVar("Result")
Taken = TypeVar("Taken", contravariant=True)
Given = TypeVar("Given", covariant=True)

Advance = Callable[[int], None]  # units done since the last call
Work = Callable[[Shard, Advance], Result]


class Job(Protocol[Taken, Given]):
    """What is done with each shard: values that can be carried to another process, and how it is begun there."""

    def files(self) -> Sequence[Path]:
        """Return files that whoever works must find as the process does that asks: in folders that all share."""

    def opened(self) -> AbstractContextManager[Callable[[Taken, Advance], Given]]:
        """Load what the work stands on, once for all shards that a process does.

        A shard that is done twice, or by two at once, must leave what it leaves when it is done once.
        """


class Executor(Protocol):
    """Does jobs."""

    def map(
        self, job: Job[Shard, Result], shards: Sequence[Shard], advance: Advance, trains: bool = False
    ) -> Iterator[Result]:
        """Yield the result of each shard, in their order.

        Args:
            job: what is done.
            shards: with what.
            advance: is told of units as they are done, by a cluster as shards are.
            trains: whether torch trains, whose sums hang on threads and device: those are this process's everywhere.

        Raises:
            ClusterError: a cluster cannot do it; shards that are done stay done.
            Exception: whatever the work raises.
        """


class InProcess:
    """Does all shards here, one after another."""

    def map(
        self, job: Job[Shard, Result], shards: Sequence[Shard], advance: Advance, trains: bool = False
    ) -> Iterator[Result]:
        """See ``Executor``."""
        with job.opened() as work:
            for shard in shards:
                yield work(shard, advance)


def shards_done(executor: Executor, progress: Progress | None, shards: int) -> Advance:
    """Return what tells how many shards are done elsewhere; work that is done here tells of itself, and more finely."""
    if progress is None or isinstance(executor, InProcess):
        return lambda _: None
    done = 0

    def advance(units: int) -> None:
        nonlocal done
        done += units
        progress(done, shards)

    progress(0, shards)
    return advance
