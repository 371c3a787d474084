"""A limit of a stage that ends what waits, too: a read, a lock, LanceDB.

Prefect's own limit of a task within a flow that has one takes effect when the call comes back to Python, which is just
what a stuck one does not do. Only the main thread can be interrupted so; a worker's flow runs there.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Stuck(BaseException):
    """No ``Exception``: nothing on its way takes it for a failure of its own."""


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Let a block take so long at most; a limit around it, such as the flow's, goes on meanwhile.

    What the block had begun is left as by a crash. Beyond the main thread nothing is limited.

    Raises:
        TimeoutError: it took longer. Prefect takes it for one of its own.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    around, begun = signal.getsignal(signal.SIGALRM), time.monotonic()
    left = signal.setitimer(signal.ITIMER_REAL, 0)[0]
    if 0 < left <= seconds:  # the limit around it comes first
        signal.setitimer(signal.ITIMER_REAL, left)
        yield
        return
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Stuck:
        raise TimeoutError(f"It has taken {seconds:,.0f} s and is taken for stuck.") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, around)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 0.001))


def _interrupt(*_: object) -> None:
    raise _Stuck
