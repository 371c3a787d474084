"""The stages of an answer, and a timer for them that whoever wants to know passes down.

Where a stage ends, ``end_stage(STAGE)`` is called: the time since the last such call is that stage's. A stage may end
many times.
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

EndStage = Callable[[str], object]


def unmeasured(stage: str) -> None:
    """Measure nothing: for those who do not ask."""


class StageTimer:
    """Notes when stages end; each call costs a fraction of a microsecond. For one thread at a time.

    Attributes:
        started: a reading of ``time.perf_counter``.
        ends: stages and when they ended, in their order.
    """

    __slots__ = ("ends", "started")

    def __init__(self) -> None:
        self.ends: list[tuple[str, float]] = []
        self.started = time.perf_counter()

    def end_stage(self, stage: str) -> None:
        """Give the time since the last stage ended, or since the start, to a stage."""
        self.ends.append((stage, time.perf_counter()))

    def totals(self) -> dict[str, float]:
        """Return the seconds that each stage took in all."""
        seconds: dict[str, float] = {}
        before = self.started
        for stage, ended in self.ends:
            seconds[stage] = seconds.get(stage, 0.0) + ended - before
            before = ended
        return seconds
