"""A check as a value, and how grave it is: what is found by chance in all checks of a run together has a stated rate.

A reading has a p-value or a limit. Of all p-values of a run Holm's step-down (S. Holm, 1979) lets a run over unchanged
data find anything at all with the chance ``false_alarms`` at most. What is found is an alarm where its effect is large
as well, else a notice: with millions of events next to nothing is chance, and little of it matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from recsys.monitoring.forecasts import Forecast

Level = Literal["ok", "notice", "alarm"]
OK, NOTICE, ALARM = get_args(Level)

Remedy = Literal["look", "train"]
LOOK, TRAIN = get_args(Remedy)  # somebody has to look at the data first; a training learns what is new


@dataclass(frozen=True)
class Reading:
    """What one check has read, before it is judged beside the others of its run.

    Attributes:
        name: of the check, the same in every run.
        seen: a sentence about the figure.
        advice: a sentence about what to do where it is found to be unusual.
        remedy: whether a training helps, or somebody has to look first.
        figure: what was measured; None: nothing could be.
        forecast: what it was foretold to be by past weeks; None: there is none.
        expected: what it is compared with where there is no forecast.
        interval: of the figure itself, where its kind has one.
        p: the chance of a figure as far off in unchanged data; None: no test was made.
        effect: how large the change is, on the scale of ``least_effect``.
        least_effect: from which on it matters.
        beyond: whether a limit is broken; None: there is no limit.
        past: the same figure of past weeks, oldest first.
    """

    name: str
    seen: str
    advice: str
    remedy: Remedy = LOOK
    figure: float | None = None
    forecast: Forecast | None = None
    expected: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    effect: float | None = None
    least_effect: float | None = None
    beyond: bool | None = None
    past: tuple[float, ...] = ()


@dataclass(frozen=True)
class Check:
    """One reading, judged.

    Attributes:
        interval: where unchanged data has its figure, but for the false alarms of a run; of a rate, its 95 % interval.
        threshold: of the effect, from which on a finding is an alarm.
        p: of this check alone; ``corrected`` is Holm's, for all of the run.
        sentence: what was seen and, unless all is well, what to do.
    """

    name: str
    level: Level
    sentence: str
    remedy: Remedy
    figure: float | None = None
    expected: float | None = None
    interval: tuple[float, float] | None = None
    threshold: float | None = None
    effect: float | None = None
    p: float | None = None
    corrected: float | None = None
    past: tuple[float, ...] = field(default=(), repr=False)


def judged(readings: Sequence[Reading], false_alarms: float) -> tuple[Check, ...]:
    """Return the checks of a run, in the order of the readings."""
    tested = [one.p for one in readings if one.p is not None]
    corrected = iter(holm(tested))
    checks = []
    for one in readings:
        chance = None if one.p is None else next(corrected)
        found = one.beyond if chance is None else chance <= false_alarms
        grave = one.effect is None or one.least_effect is None or one.effect >= one.least_effect
        level: Level = (ALARM if grave else NOTICE) if found else OK
        foretold = one.forecast
        checks.append(
            Check(
                name=one.name,
                level=level,
                sentence=one.seen if level == OK else f"{one.seen} {one.advice}",
                remedy=one.remedy,
                figure=one.figure,
                expected=one.expected if foretold is None else foretold.expected,
                interval=one.interval if foretold is None else foretold.interval(false_alarms / max(1, len(tested))),
                threshold=one.least_effect,
                effect=one.effect,
                p=one.p,
                corrected=chance,
                past=one.past,
            )
        )
    return tuple(checks)


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in their order: ``max over j ≤ i of (n − j + 1) p_(j)``, or 1."""
    order = sorted(range(len(chances)), key=lambda place: (chances[place], place))
    corrected, highest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = highest
    return corrected


def worst(checks: Sequence[Check]) -> Level:
    """Return the gravest level of some checks."""
    levels = {check.level for check in checks}
    return next((level for level in (ALARM, NOTICE) if level in levels), OK)


def asks_for_training(checks: Sequence[Check]) -> bool:
    """Tell whether a training would help: something it learns has changed much, and nothing says the data is broken."""
    alarms = [check.remedy for check in checks if check.level == ALARM]
    return TRAIN in alarms and LOOK not in alarms
