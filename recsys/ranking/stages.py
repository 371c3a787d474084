"""The stages of an answer, and a stopwatch for them that whoever wants to know passes down.

Where a stage ends, ``lap(STAGE)`` is called: the time since the lap before is that stage's. A stage may have many laps.
"""

import time
from collections.abc import Callable

RULES = "rules"  # filter, exclusions, promotions, limits, diversity
TOWER = "tower"  # a history to queries of the dense components
EXPERTS = "experts"  # the sparse ones' scores
SEARCH = "search"  # candidates from all sources
RANKER = "ranker"  # candidates' scores and their order
FIELDS = "fields"  # the catalogue's columns of what is shown
EXPLAIN = "explain"
ENCODE = "encode"  # texts to vectors

Lap = Callable[[str], object]


def unmeasured(stage: str) -> None:
    """Measure nothing: the lap of those who do not ask."""


class Stopwatch:
    """Notes when stages end; a lap costs a fraction of a microsecond. For one thread at a time.

    Attributes:
        started: a reading of ``time.perf_counter``.
        laps: stages and when they ended, in their order.
    """

    __slots__ = ("laps", "started")

    def __init__(self) -> None:
        self.laps: list[tuple[str, float]] = []
        self.started = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Give the time since the last lap, or since the start, to a stage."""
        self.laps.append((stage, time.perf_counter()))

    def totals(self) -> dict[str, float]:
        """Return the seconds that each stage took in all."""
        seconds: dict[str, float] = {}
        before = self.started
        for stage, ended in self.laps:
            seconds[stage] = seconds.get(stage, 0.0) + ended - before
            before = ended
        return seconds
