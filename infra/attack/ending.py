"""The last one: the service is ended while it is attacked."""

import os
import signal
import time
from functools import partial

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.bounds import beside
from infra.attack.load import repeat
from infra.attack.target import Target

SECONDS = 15


@attack("keyed", seconds=60)
def an_end_under_attack(target: Target) -> Outcome:
    """SIGTERM ends the service within 15 s, whatever it is asked for meanwhile."""
    processes = target.processes()
    if not processes or target.pid is None:
        return not_tried("it is not ours to end")
    heavy = target.prepared("POST", "/v1/recommend/batch", target.crowd(k=200, diversity=0.5, record=False))
    with beside([partial(repeat, target, heavy)] * 4):
        time.sleep(2)
        started = time.monotonic()
        os.kill(target.pid, signal.SIGTERM)
        while (took := time.monotonic() - started) < 2 * SECONDS and any(map(_lives, processes)):
            time.sleep(0.1)
    return judged(took <= SECONDS, f"ended after {took:.1f} s beside 4 connections of batches")


def _lives(process) -> bool:  # type: ignore[no-untyped-def]
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
