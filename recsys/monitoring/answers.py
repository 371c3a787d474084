"""What answers have brought, by generation: clicks, and events that are asked for, of those who were shown a list."""

import math
from collections.abc import Mapping, Sequence

from recsys.config import MonitorConfig
from recsys.database.rates import Rate, wilson
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


def _compared(name: str, rates: Sequence[Rate], served: str, config: MonitorConfig) -> Reading | None:
    """Return None where the served generation has given no answers."""
    ours = [rate for rate in rates if rate.generation == served]
    theirs = [rate for rate in rates if rate.generation != served]
    lists, clicked, before, clicked_before = (
        sum(getattr(rate, field) for rate in some) for some in (ours, theirs) for field in ("lists", "clicked")
    )
    if not lists:
        return None
    advice = "Look what differs between both; `recsys rollback` serves the one before."
    share, low, high = clicked / lists, *wilson(clicked, lists)
    seen = f"{100 * share:.2f} % of {lists:,} answers of generation {served} brought something "
    seen += f"({100 * low:.2f} to {100 * high:.2f} %)"
    shown = {"name": name, "advice": advice, "remedy": LOOK, "figure": share, "interval": (low, high)}
    if not before or not clicked + clicked_before:
        return Reading(seen=f"{seen}; no other one has given answers of late.", **shown)
    usual = clicked_before / before
    return Reading(
        seen=f"{seen}, {100 * usual:.2f} % of {before:,} of other generations.",
        expected=usual,
        p=_lower(clicked, lists, clicked_before, before),
        effect=max(0.0, 1 - share / usual) if usual else 0.0,
        least_effect=config.rate_change,
        **shown,
    )


def _lower(hits: int, trials: int, others: int, tried: int) -> float:
    """Return the chance of a share as far below another one, both of one rate: the score test of two shares."""
    pooled = (hits + others) / (trials + tried)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / trials + 1 / tried))
    distance = (hits / trials - others / tried) / spread if spread else 0.0
    return 0.5 * math.erfc(-distance / math.sqrt(2))
