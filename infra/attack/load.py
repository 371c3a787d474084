"""Two keys side by side: what a victim's single requests take alone and while somebody attacks, by turns."""

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection

from infra.attack.attacks import Outcome, judged, not_tried
from infra.attack.bounds import FORK, beside
from infra.attack.target import OTHER, Target, answer

PAIRS = 3
REQUESTS, PHASE_SECONDS = 150, 5.0  # of the victim in each phase, whatever comes first
BEGIN_SECONDS, SETTLE_SECONDS = 1.0, 25.0  # from an attack's begin, and from its end, until it is measured
GOAL = 2.0  # times the p99 alone


def compared(target: Target, attacks: list[bytes], pairs: int = PAIRS, victim: bytes | None = None) -> Outcome:
    """Measure the victim alone and attacked, by turns; each request is repeated on a connection of its own."""
    if target.keys and OTHER not in target.keys:
        return not_tried("it takes two keys with the scope recommend")
    asked = victim or target.prepared("POST", "/v1/recommend", target.wish(record=False), OTHER)
    usual = statistics.median(_phase(target, asked, REQUESTS // 3)[0])  # and warm
    ratios, alone, attacked, failed, total = [], [], [], 0, 0
    for _ in range(pairs):
        _settle(target, asked, usual)
        before = _phase(target, asked, REQUESTS)
        with beside([partial(repeat, target, request) for request in attacks]):
            time.sleep(BEGIN_SECONDS)
            during = _phase(target, asked, REQUESTS)
        alone.append(percentile(before[0], 99))
        attacked.append(percentile(during[0], 99))
        ratios.append(attacked[-1] / alone[-1])
        failed += during[1]
        total += len(during[0])
    ratio = statistics.median(ratios)
    evidence = (
        f"p99 {statistics.median(alone):.0f} → {statistics.median(attacked):.0f} ms, ratio {ratio:.1f} "
        f"({min(ratios):.1f}–{max(ratios):.1f} over {pairs} pairs); {failed} of {total} refused"
    )
    return judged(ratio <= GOAL and not failed, evidence)


def _settle(target: Target, asked: bytes, usual: float) -> None:
    """Wait, for a while, until requests take what is usual: what an attack has begun may go on."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        milliseconds, failed = _phase(target, asked, 5)
        if not failed and statistics.median(milliseconds) < 2 * usual:
            return


def repeat(target: Target, request: bytes) -> None:
    """Send a request again and again, on a kept connection, without an end."""
    while True:
        with suppress(OSError), target.connect() as connection:
            while True:
                connection.sendall(request)
                list(answer(connection))


def percentile(values: list[float], share: float) -> float:
    """Return a percentile: the value below which such a share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def lag(target: Target, work: Callable[[], object], request: bytes | None = None) -> float:
    """Return the longest time, ms, that an answer took while work was done in this process.

    Args:
        target: who answers.
        work: is done meanwhile.
        request: what is asked for, again and again; None: whether it lives.
    """
    ours, theirs = FORK.Pipe()
    watcher = FORK.Process(
        target=_watch, args=(target, request or target.prepared("GET", "/livez"), theirs), daemon=True
    )
    watcher.start()
    ours.recv()
    work()
    ours.send(None)
    longest: float = ours.recv()
    watcher.join()
    return longest


def _watch(target: Target, request: bytes, pipe: Connection) -> None:
    longest = 0.0
    _phase(target, request, 5)
    pipe.send(None)
    while not pipe.poll(0.01):
        milliseconds, _ = _phase(target, request, 1)
        longest = max(longest, *milliseconds, 0.0)
    pipe.send(longest)


def _phase(target: Target, request: bytes, count: int) -> tuple[list[float], int]:
    """Send a request one after the other; return the milliseconds of each, and how many were no success."""
    milliseconds, failed = [], 0
    until = time.monotonic() + PHASE_SECONDS
    with target.connect() as connection:
        while len(milliseconds) < count and (time.monotonic() < until or not milliseconds):
            started = time.perf_counter()
            try:
                connection.sendall(request)
                head = next(iter(list(answer(connection))))
                failed += not head.startswith(b"http/1.1 200")
            except OSError:
                failed += 1
                connection.close()
                connection = target.connect()
            milliseconds.append((time.perf_counter() - started) * 1_000)
    return milliseconds, failed
