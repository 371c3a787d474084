"""An attack runs in a process of its own, for a while, and neither it nor the service may grow without end.

The processes are forked: whoever calls has one thread.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import psutil

from infra.attack.target import Target, memory_of

MOST_MIB = 3_000  # that an attack, or a service beyond what it had, may come to
LOOK_SECONDS = 0.2
FORK = multiprocessing.get_context("fork")


class TooLongError(Exception):
    """It took too long, and was ended."""


class TooLargeError(Exception):
    """It took too much memory, and was ended. The message says how much."""


def bounded(work: Callable[[], Any], seconds: float, target: Target | None = None) -> Any:
    """Run work in a child process, in a group of its own, and return its result.

    Args:
        work: whose result can be pickled.
        seconds: for which it may run.
        target: whose memory is looked at meanwhile.

    Raises:
        TooLongError, TooLargeError: it was ended.
        RuntimeError: it failed; the message is its error.
    """
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=_run, args=(work, theirs))
    before = target.memory() if target else 0.0
    child.start()
    theirs.close()
    deadline = time.monotonic() + seconds
    try:
        while not ours.poll(LOOK_SECONDS):
            if time.monotonic() > deadline:
                raise TooLongError(f"no end after {seconds:.0f} s")
            grown = target.memory() - before if target else 0.0
            own = memory_of(_family(child.pid))
            if max(grown, own) > MOST_MIB:
                raise TooLargeError(f"ended at {max(grown, own):,.0f} MiB")
        failed, result = ours.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"it ended without a result (exit code {child.exitcode})") from None
    finally:
        _end(child.pid)
        child.join()
    if failed:
        raise RuntimeError(result)
    return result


@contextmanager
def beside(works: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Run works without an end in processes of their own for the length of a ``with`` block, then kill them."""
    processes = [FORK.Process(target=work, daemon=True) for work in works]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


def _run(work: Callable[[], Any], answer: Connection) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        result = (False, work())
    except Exception as error:
        result = (True, f"{type(error).__name__}: {error}"[:300])
    with suppress(OSError):
        answer.send(result)


def _family(pid: int | None) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    return []


def _end(pid: int | None) -> None:
    """Kill what is left of a child's group."""
    with suppress(ProcessLookupError, PermissionError):
        if pid is not None and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
