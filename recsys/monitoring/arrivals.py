"""What came in, as such: columns that are gone or of another type, bad rows, and how old everything is."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import polars as pl

from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.data.quality import TableQuality
from recsys.monitoring.checks import TRAIN, Reading

_HOURS, _DAYS = 3_600, 86_400
_NOW = "__now"
LEAST_ITEMS = 5  # of which a number is known then and now


def schema(table: str, trained: Mapping[str, str], found: Mapping[str, str]) -> Reading:
    """Compare the columns of a table, by name and type, with those of what was trained on."""
    gone = sorted(set(trained) - set(found))
    turned = sorted(name for name in set(trained) & set(found) if trained[name] != found[name])
    new = sorted(set(found) - set(trained))
    said = [f"{name} is gone" for name in gone]
    said += [f"{name} is {found[name]}, it was {trained[name]}" for name in turned]
    said += [f"{name} is new" for name in new]
    return Reading(
        f"columns of {table}",
        f"{'; '.join(said)}." if said else f"All {len(trained)} columns are as they were.",
        "Look what the source delivers; map a column that is called otherwise now.",
        figure=len(gone) + len(turned),
        expected=0,
        beyond=bool(gone or turned),
    )


def bad_rows(quality: TableQuality, allowed: float) -> Reading:
    """Say how many rows of a raw table the next ingest would set aside."""
    share = quality.share if quality.rows else 0.0
    reasons = "; ".join(f"{count:,} × {reason}" for reason, count in quality.reasons.items())
    return Reading(
        f"bad rows of {quality.table}",
        f"{quality.quarantined:,} of {quality.rows:,} rows would be set aside{f' ({reasons})' if reasons else ''}.",
        "Above the limit an ingest refuses the table: `recsys validate` shows the first rows.",
        figure=share,
        expected=allowed,
        beyond=share > allowed,
    )


def numbers(trained: pl.DataFrame, catalogue: pl.DataFrame, config: MonitorConfig) -> Reading | None:
    """Say by what items' numbers have been multiplied, such as prices in another currency: in the middle of the items.

    Returns:
        The column of which that is furthest from 1; None where no column of both has five items above 0.
    """
    known = trained.join(catalogue, on=columns.ITEM_ID, suffix=_NOW)
    middles: dict[str, float] = {}
    for name, kind in trained.schema.items():
        if kind.is_numeric() and f"{name}{_NOW}" in known.columns and known.schema[f"{name}{_NOW}"].is_numeric():
            pairs = known.select(name, f"{name}{_NOW}").cast(pl.Float64).drop_nulls().to_numpy()
            pairs = pairs[np.isfinite(pairs).all(axis=1) & (pairs > 0).all(axis=1)]
            if len(pairs) >= LEAST_ITEMS:
                middles[name] = float(np.median(np.log(pairs[:, 1] / pairs[:, 0])))
    if not middles:
        return None
    name = min(middles, key=lambda one: (-abs(middles[one]), one))
    times = float(np.exp(middles[name]))
    return Reading(
        "numbers of items",
        f"{name} is {times:.3g} times what it was, in the middle of the items that were known.",
        "Look whether it is written in another unit or currency.",
        figure=times,
        expected=config.number_change if times >= 1 else 1 / config.number_change,
        beyond=max(times, 1 / times) >= config.number_change,
    )


def freshness(trained: datetime, newest: datetime | None, now: datetime, config: MonitorConfig) -> list[Reading]:
    """Say how old the training's newest event is, and the newest event of all.

    Args:
        trained: when the last event of the training was.
        newest: when the last one that is newer was; None: there is none.
        now: when it is looked.
    """
    old = (now - trained).total_seconds() / _DAYS
    silent = (now - max(trained, newest or trained)).total_seconds() / _HOURS
    return [
        Reading(
            "age of the training",
            f"What is served has learnt nothing of the last {old:.1f} days.",
            f"More than {config.max_training_days:g} were not meant to be: train on newer events.",
            TRAIN,
            figure=old,
            expected=config.max_training_days,
            beyond=old > config.max_training_days,
        ),
        Reading(
            "newest event",
            f"The newest event is {silent:.1f} hours old.",
            f"More than {config.max_silent_hours:g} were not meant to be: look whether events still arrive.",
            figure=silent,
            expected=config.max_silent_hours,
            beyond=silent > config.max_silent_hours,
        ),
    ]


def types(table: pl.DataFrame) -> dict[str, str]:
    """Return the type of each column, by name, as manifests have it."""
    return {name: str(kind) for name, kind in table.schema.items()}
