"""What is done to what: shares of a column's values, which items are chosen, and whether a value has vanished.

Two samples of shares are compared by Pearson's statistic over its degrees of freedom, which does not grow with the
sample, and what that is when nothing is wrong is read from past weeks. How much the change is, is said by the
population stability index, less what that is in past weeks.
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.monitoring.checks import TRAIN, Reading
from recsys.monitoring.forecasts import SQUARES, by_chance, foretold
from recsys.monitoring.traffic import TOO_SHORT
from recsys.monitoring.windows import DAY, DailyCounts, History, Window, Windows

MOST_VALUES = 50  # of a column whose shares are compared
MOST_ITEMS = 2_000  # the others are one
BINS = 10  # of numbers, by the reference's quantiles
RECENT = 4  # past weeks, by which a value is missed
LEAST_EXPECTED = 1.0  # events of a value in a window; rarer ones are one
_NEVER = {
    columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.EVENT_ID, columns.TIMESTAMP_KNOWN, columns.TITLE,
    columns.UPDATED_AT, DAY,
}  # fmt: skip
_REST = "all others"
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Kinds:
    """Events by one column's values.

    Attributes:
        name: of the column.
        values: by their number.
        daily: how many of each, by day.
    """

    name: str
    values: tuple[str, ...]
    daily: DailyCounts


def mixes(history: History, items: pl.DataFrame, windows: Windows, config: MonitorConfig) -> list[Reading]:
    """Compare the shares of the values of columns of events, and of items that events chose, with those of past weeks.

    The columns are ``config.columns``, or those of few different values and the events' value, the first
    ``config.max_columns`` of them; the events' own come first, then the items' by their names.
    """
    of_items = items.select(columns.ITEM_ID, *_columns(items, config))
    own = history.events.select(*_columns(history.events, config))
    own = own.select(name for name in own.columns if name not in of_items.columns)
    chosen = history.events.select(columns.ITEM_ID).join(
        of_items, on=columns.ITEM_ID, how="left", maintain_order="left"
    )
    table = pl.concat([own, chosen.drop(columns.ITEM_ID)], how="horizontal")
    names = config.columns or table.columns[: config.max_columns]
    found = [_by_value(history, table[name], windows.now) for name in names if name in table.columns]
    return [_mix(kinds, windows, config) for kinds in found if kinds is not None]


def popularity(history: History, windows: Windows, config: MonitorConfig) -> Reading:
    """Compare which items are chosen with past weeks: how far shares are apart, and in what order they stand."""
    known = history.within(windows.now.reference)[columns.ITEM_ID].value_counts()
    first = known.sort("count", columns.ITEM_ID, descending=[True, False])[columns.ITEM_ID].head(MOST_ITEMS)
    kinds = _numbered(history, history.events[columns.ITEM_ID], "chosen items", first.to_list(), True)
    reading = _compared(
        "popularity",
        kinds,
        windows,
        config,
        "Look whether bots, a campaign or a broken page are behind it; if people have turned, train on newer events.",
    )
    now, trained = (kinds.daily.of(days)[: len(first)] for days in (windows.now.days, windows.now.reference))
    order = f" The order of the most chosen ones correlates by {_spearman(now, trained):.2f}." if now.any() else ""
    return Reading(**{**vars(reading), "seen": f"{reading.seen}{order}"})


def _columns(table: pl.DataFrame, config: MonitorConfig) -> list[str]:
    """Return the columns whose shares can be compared, by their names."""
    if config.columns is not None:
        return [name for name in config.columns if name in table.columns]
    found = []
    for name in sorted(set(table.columns) - _NEVER - {config.arrival_column, columns.POSITION}):
        kind = table.schema[name]
        listed = kind == pl.List(pl.String)
        few = kind == pl.String or kind.is_integer() or kind == pl.Boolean or listed
        different = (table[name].explode() if listed else table[name]).drop_nulls().n_unique() if few else 0
        if 2 <= different <= MOST_VALUES or (name == columns.VALUE and kind.is_float()):
            found.append(name)
    return found


def _by_value(history: History, values: pl.Series, window: Window) -> Kinds | None:
    """Count a column's values by day: of a list the first, of fractions by the quantiles of the reference."""
    if values.dtype == pl.List(pl.String):
        values = values.list.sort().list.first()
    if values.dtype.is_float():
        inside = history.events.select(pl.col(DAY).is_between(*window.reference, closed="left")).to_series()
        known = values.filter(inside).drop_nulls().drop_nans()
        if known.is_empty():
            return None
        bounds = np.unique(np.quantile(known.to_numpy(), np.arange(1, BINS) / BINS))
        place = np.searchsorted(bounds, values.fill_null(math.nan).to_numpy(), side="left")
        missing = values.is_null().to_numpy() | values.is_nan().fill_null(False).to_numpy()
        edges = [f"{bound:g}" for bound in bounds]
        names = [f"to {edges[0]}", *(f"to {edge}" for edge in edges[1:]), f"above {edges[-1]}"]
        return Kinds(values.name, tuple(names), history.counts(np.where(missing, -1, place), len(names)))
    texts = values.cast(pl.String)
    different = texts.drop_nulls().value_counts().sort("count", texts.name, descending=[True, False])
    return _numbered(history, texts, values.name, different[texts.name].head(MOST_VALUES).to_list(), False)


def _numbered(history: History, texts: pl.Series, name: str, different: list[str], rest: bool) -> Kinds:
    """Count events by the place of their value in a list; with ``rest`` all others stand behind it."""
    places = pl.DataFrame(
        {"value": different, "place": np.arange(len(different))}, schema={"value": pl.String, "place": pl.Int64}
    )
    found = texts.rename("value").to_frame().join(places, on="value", how="left", maintain_order="left")["place"]
    other = len(different) if rest else -1
    found = pl.select(pl.when(texts.is_null()).then(-1).otherwise(found.fill_null(other))).to_series()
    values = (*different, _REST) if rest else tuple(different)
    return Kinds(name, values, history.counts(found.to_numpy(), len(values)))


def _mix(kinds: Kinds, windows: Windows, config: MonitorConfig) -> Reading:
    advice = "Look whether the source delivers all of it; if it does, train on newer events."
    return _compared(f"shares of {kinds.name}", kinds, windows, config, advice)


def _compared(name: str, kinds: Kinds, windows: Windows, config: MonitorConfig, advice: str) -> Reading:
    """Compare the window's shares with the reference's, beside what that is in past weeks."""
    pairs = [(kinds.daily.of(one.days), kinds.daily.of(one.reference)) for one in (*windows.past, windows.now)]
    usual = float(np.median([own.sum() for own, _ in pairs[:-1]])) if windows.past else 0.0
    ratios, indices, freedoms = zip(*(_apart(own, known, usual) for own, known in pairs), strict=True)
    own, known = pairs[-1]
    forecast = foretold(ratios[:-1], SQUARES, by_chance(ratios[:-1], freedoms[-1]))
    if not own.sum():
        return Reading(name, f"No event of these days has any of {kinds.name}.", advice, TRAIN)
    if forecast is None or not known.sum():
        return Reading(name, TOO_SHORT, advice, TRAIN)
    effect = max(0.0, indices[-1] - float(np.mean(indices[:-1])))
    gone, chance = _vanished(own, np.array([one for one, _ in pairs[-1 - RECENT : -1]]), kinds.values)
    seen = f"The shares of {kinds.name} are {ratios[-1]:.1f} times as far from the training's as chance has it; "
    seen += f"{forecast.expected:.1f} were expected. {_most_changed(own, known, kinds.values)}"
    p = forecast.p(ratios[-1], upper=True)
    if gone and chance < p:
        seen, p, effect = f"{gone} has vanished from {kinds.name}. {seen}", chance, max(effect, config.psi)
    return Reading(
        name,
        seen,
        advice,
        TRAIN,
        figure=ratios[-1],
        forecast=forecast,
        p=min(1.0, 2 * p),  # two tests were made of it
        effect=effect,
        least_effect=config.psi,
        past=tuple(ratios[:-1]),
    )


def _apart(own: Counts, known: Counts, usual: float) -> tuple[float, float, int]:
    """Return Pearson's statistic of two samples over its degrees of freedom, their stability index, and the degrees.

    ``X² = Σ (√(N/n) w − √(n/N) r)² / (w + r)`` over a window's counts w, n in all, and the reference's r, N in all
    (W. H. Press et al., *Numerical Recipes*, 14.3); ``PSI = Σ (p − q) ln(p / q)``, half an event added to each count.
    """
    frequent = known * (usual / max(1, known.sum())) >= LEAST_EXPECTED
    own, known = (np.append(one[frequent], one[~frequent].sum()).astype(float) for one in (own, known))
    n, total = own.sum(), known.sum()
    if not n or not total:
        return 1.0, 0.0, 1
    there = own + known > 0
    own, known = own[there], known[there]
    squared = (math.sqrt(total / n) * own - math.sqrt(n / total) * known) ** 2 / (own + known)
    degrees = max(1, len(own) - 1)
    p, q = ((one + 0.5) / (one.sum() + 0.5 * len(one)) for one in (own, known))
    return float(squared.sum()) / degrees, float(((p - q) * np.log(p / q)).sum()), degrees


def _vanished(own: Counts, recent: Counts, values: tuple[str, ...]) -> tuple[str, float]:
    """Return the most frequent value that a window has none of, and the chance of it for any value at all.

    Of λ events that are expected, by the shares of recent weeks, none comes by ``exp(−λ / φ)`` where they come in
    bunches; φ is Pearson's statistic of these weeks over its degrees of freedom, 1 at least.

    Args:
        own: counts of the window, (values,).
        recent: counts of recent weeks, (weeks, values).
    """
    shares = recent.sum(axis=0) / max(1, recent.sum())
    expected = own.sum() * shares
    place = int(np.argmax(np.where(own == 0, expected, -1.0)))
    if own[place] or expected[place] < LEAST_EXPECTED:
        return "", 1.0
    usual = recent.sum(axis=1, keepdims=True) * shares
    told = (usual >= LEAST_EXPECTED).all(axis=0)
    squared = ((recent - usual)[:, told] ** 2 / usual[:, told]).sum()
    dispersion = max(1.0, float(squared) / max(1, (len(recent) - 1) * (int(told.sum()) - 1)))
    return values[place], min(1.0, len(values) * math.exp(-float(expected[place]) / dispersion))


def _most_changed(own: Counts, known: Counts, values: tuple[str, ...]) -> str:
    now, before = (one / max(1, one.sum()) for one in (own, known))
    place = int(np.argmax(np.abs(now - before)))
    return f"Most changed: {values[place]}, {100 * before[place]:.1f} % before, {100 * now[place]:.1f} % now."


def _spearman(one: Counts, other: Counts) -> float:
    """Return the correlation of ranks, ties at their mean; 0 where one of both has no order."""
    from scipy import stats

    ranks = [stats.rankdata(side) for side in (one, other)]
    if any(np.ptp(side) == 0 for side in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])
