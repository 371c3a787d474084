"""Who comes, and how much: volume, unknown users, cold items, values that are missing, events that are late."""

import math
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.monitoring.checks import TRAIN, Reading
from recsys.monitoring.forecasts import SHARE, foretold, foretold_count
from recsys.monitoring.windows import History, Window, Windows

TOO_SHORT = "Too few weeks are known for a comparison."


def volume(history: History, config: MonitorConfig) -> Reading:
    """Compare the number of events with what past weeks foretell of these weekdays."""
    windows = history.windows(config.volume_days, config)
    first, end = windows.now.days
    daily = history.counts(np.zeros(history.events.height, dtype=np.int64), 1)
    # a week that is half lost does not say what is usual on its last day
    known = history.known_days(min(first, end - config.window_days), 7 * config.past_weeks)
    counts = [int(daily.of((day, day + 1))[0]) for day in known]
    found = int(daily.of(windows.now.days)[0])
    advice = "Look whether the sources and the service deliver all events, before anything is trained on them."
    about = f"{found:,} events in {_days(config.volume_days)}"
    forecast = foretold_count(known, counts, range(first, end)) if known else None
    if forecast is None:
        return Reading("volume", f"{about}. {TOO_SHORT}", advice, figure=found)
    change = abs(math.log((found + 0.5) / (forecast.expected + 0.5)))
    past = [(first - 7 * back, end - 7 * back) for back in range(config.past_weeks, 0, -1)]
    return Reading(
        "volume",
        f"{about}, {forecast.expected:,.0f} were expected of these weekdays.",
        advice,
        figure=found,
        forecast=forecast,
        p=forecast.p(found),
        effect=1 - math.exp(-change),
        least_effect=config.volume_change,
        past=tuple(float(daily.of(days)[0]) for days in past if set(range(*days)) <= set(known)),
    )


def unknown_users(history: History, windows: Windows, config: MonitorConfig) -> Reading:
    """Compare the share of users of whom the training had not seen an event with the same share of past weeks."""
    advice = "Train on newer events: these users get popular items and what people alike choose."
    return _strangers(history, windows, config, columns.USER_ID, "unknown users", "users", advice)


def cold_items(history: History, windows: Windows, config: MonitorConfig) -> Reading:
    """Compare the share of chosen items of which the training had not seen an event with that of past weeks."""
    advice = "Train on newer items and events: these are ranked by their texts alone."
    return _strangers(history, windows, config, columns.ITEM_ID, "cold items", "chosen items", advice)


def missing_values(history: History, windows: Windows, names: Sequence[str], config: MonitorConfig) -> Reading | None:
    """Compare the share of nulls in each column with that of past weeks; the column that changed most speaks."""
    advice = "Look what the source of this column delivers, before anything is trained on it."
    asked = [name for name in names if name in history.events.columns]
    now, past = _nulls(history, windows.now, asked), [_nulls(history, one, asked) for one in windows.past]
    rows, before = now.pop("rows"), [one.pop("rows") for one in past]
    if not asked or not rows:
        return None
    found = []
    for name in asked:
        shares = [one[name] for one in past]
        forecast = foretold(shares, SHARE, *_sampled(rows, before))
        if forecast is not None:
            found.append((forecast.p(now[name]), -abs(now[name] - forecast.expected), name, forecast, shares))
    if not found:
        return Reading("missing values", TOO_SHORT, advice)
    chance, change, name, forecast, shares = min(found, key=lambda one: one[:3])
    return Reading(
        "missing values",
        f"{_percent(now[name])} of {name} are missing, {_percent(forecast.expected)} were expected; no other column "
        "has changed more.",
        advice,
        figure=now[name],
        forecast=forecast,
        p=min(1.0, len(found) * chance),
        effect=-change,
        least_effect=config.share_change,
        past=tuple(shares),
    )


def lag(history: History, windows: Windows, config: MonitorConfig) -> Reading | None:
    """Say how long after its time an event arrives, by the 95th percentile; None where arrivals are not known."""
    if config.arrival_column not in history.events.columns:
        return None
    events = history.within(windows.now.days)
    late = (events[config.arrival_column] - events[columns.TIMESTAMP]).drop_nulls().dt.total_seconds()
    if late.is_empty():
        return None
    middle, far = (float(late.quantile(share, "linear") or 0.0) / 60 for share in (0.5, 0.95))
    return Reading(
        "event lag",
        f"Half of the events arrive within {_minutes(middle)} of their time, 95 % within {_minutes(far)}.",
        f"More than {_minutes(config.max_lag_minutes)} were not meant to be: look at queues and retries of senders.",
        figure=far,
        expected=config.max_lag_minutes,
        beyond=far > config.max_lag_minutes,
    )


def _strangers(
    history: History, windows: Windows, config: MonitorConfig, key: str, name: str, whose: str, advice: str
) -> Reading:
    now, past = _new(history, windows.now, key), [_new(history, one, key) for one in windows.past]
    share, shares = now[0] / max(1, now[1]), [new / max(1, count) for new, count in past]
    about = f"{_percent(share)} of {now[1]:,} {whose} had no event in what was trained on"
    forecast = foretold(shares, SHARE, *_sampled(now[1], [count for _, count in past]))
    if forecast is None or not now[1]:
        return Reading(name, f"{about}. {TOO_SHORT}", advice, TRAIN, figure=share)
    return Reading(
        name,
        f"{about}, {_percent(forecast.expected)} were expected.",
        advice,
        TRAIN,
        figure=share,
        forecast=forecast,
        p=forecast.p(share),
        effect=abs(share - forecast.expected),
        least_effect=config.share_change,
        past=tuple(shares),
    )


def _new(history: History, window: Window, key: str) -> tuple[int, int]:
    """Return how many values of a column a window has that its reference has not, and how many it has."""
    own = history.within(window.days)[key].unique()
    known = history.within(window.reference)[key].unique()
    return int((~own.is_in(known.implode())).sum()), len(own)


def _nulls(history: History, window: Window, names: Sequence[str]) -> dict[str, float]:
    events = history.within(window.days)
    return {"rows": events.height} | {name: events[name].null_count() / max(1, events.height) for name in names}


def _sampled(now: float, past: Sequence[float]) -> tuple[float, float]:
    """Return the variance of a past week's share on its scale by sampling, and how much thinner the new one is."""
    usual = sum(past) / max(1, len(past))
    return 1 / (4 * max(1.0, usual)), usual / max(1.0, now)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _days(count: int) -> str:
    return "a day" if count == 1 else f"{count} days"


def _minutes(minutes: float) -> str:
    return str(timedelta(minutes=round(minutes))) if minutes >= 60 else f"{minutes:.1f} minutes"
