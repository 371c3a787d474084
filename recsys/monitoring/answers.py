"""What answers have brought, by generation: clicks, and events that are asked for, of those who were shown a list."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.config import MonitorConfig
from recsys.database.rates import WEEK, Rate, wilson
from recsys.monitoring.checks import LOOK, Reading

ANY = "any"  # event type


def answers(rates: Mapping[str, Sequence[Rate]], served: str, config: MonitorConfig) -> list[Reading]:
    """Compare the rates of what is served with those of all other generations of the same days.

    Args:
        rates: of generations, by the type of the events that count.
        served: the generation.
    """
    return [
        reading
        for event_type, found in rates.items()
        if (reading := _compared("click rate" if event_type == ANY else f"rate of {event_type}", found, served, config))
    ]


def told(rates: Mapping[str, Sequence[Rate]]) -> list[dict[str, Any]]:
    """Return rates as JSON values, a row a generation and type of event."""
    return [
        {
            "event_type": event_type, "generation": one.generation, "adapter": one.adapter, "answers": one.lists,
            "brought": one.clicked, "rate": one.rate, "interval": list(one.interval),
        }
        for event_type, found in rates.items()
        for one in found
    ]  # fmt: skip


def _compared(name: str, rates: Sequence[Rate], served: str, config: MonitorConfig) -> Reading | None:
    """Return None where the served generation has given no answers."""
    ours, theirs = (
        _by_weekday([rate for rate in rates if (rate.generation == served) is own]) for own in (True, False)
    )
    lists, clicked = ours[:, 0].sum(), ours[:, 1].sum()
    if not lists:
        return None
    advice = "Look what differs between both; `recsys rollback` serves the one before."
    share, (low, high) = float(clicked / lists), wilson(int(clicked), int(lists))
    seen = f"{100 * share:.2f} % of {lists:,} answers of generation {served} brought something "
    seen += f"({100 * low:.2f} to {100 * high:.2f} %)"
    shown = {"name": name, "advice": advice, "remedy": LOOK, "figure": share, "interval": (low, high)}
    shared = (ours[:, 0] > 0) & (theirs[:, 0] > 0)
    if not theirs[:, 0].any() or not (ours + theirs)[:, 1].any():
        return Reading(seen=f"{seen}; no other one has given answers of late.", **shown)
    if not shared.any():
        return Reading(seen=f"{seen}; no other one has given answers on the same days of the week.", **shown)
    days = "" if shared[ours[:, 0] > 0].all() else " on the days of the week that both have answered on"
    ours, theirs = ours[shared], theirs[shared]
    usual = float(np.average(theirs[:, 1] / theirs[:, 0], weights=ours[:, 0]))
    same = float(ours[:, 1].sum() / ours[:, 0].sum())
    told = f"{100 * same:.2f} %{days}, " if days else ""
    return Reading(
        seen=f"{seen}, {told}{100 * usual:.2f} % of {theirs[:, 0].sum():,} of other generations, weekday by weekday.",
        expected=usual,
        p=_lower(ours, theirs),
        effect=max(0.0, 1 - same / usual) if usual else 0.0,
        least_effect=config.rate_change,
        **shown,
    )


def _by_weekday(rates: Sequence[Rate]) -> NDArray[np.int64]:
    """Return lists and those that brought something, (7, 2)."""
    found = np.zeros((WEEK, 2), dtype=np.int64)
    for rate in rates:
        for day, counts in rate.weekdays.items():
            found[day] += counts
    return found


def _lower(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
    """Return the chance of shares as far below others, of one rate on each day of the week.

    The test of N. Mantel and W. Haenszel (1959) over the weekdays, without a correction for continuity: generations
    that follow one another have not answered on the same days, and a Saturday brings more than a Monday.

    Args:
        ours: trials and hits, (weekdays, 2).
        theirs: likewise.
    """
    trials = (ours + theirs)[:, 0].astype(float)
    hits = (ours + theirs)[:, 1].astype(float)
    expected = ours[:, 0] * hits / trials
    spread = ours[:, 0] * theirs[:, 0] * hits * (trials - hits) / (trials**2 * np.maximum(1.0, trials - 1))
    deviation = math.sqrt(float(spread.sum()))
    distance = float((ours[:, 1] - expected).sum()) / deviation if deviation else 0.0
    return 0.5 * math.erfc(-distance / math.sqrt(2))
