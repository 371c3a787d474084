"""What several publishers' tables need: ids, times, names on one line, and events that are there more than once."""

import polars as pl

from recsys.data import columns

SECONDS = 1_000_000  # in microseconds
_EPOCH = pl.lit(0, pl.Int64).cast(pl.Datetime("us", "UTC"))


def since_1970(seconds: pl.Expr) -> pl.Expr:
    """Return instants of Unix seconds, texts or numbers."""
    return (seconds.cast(pl.Float64) * SECONDS).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC"))


def unknown_times() -> list[pl.Expr]:
    """Return the columns of events whose times nobody knows: a made-up one, which says so, and their order instead."""
    return [_EPOCH.alias(columns.TIMESTAMP), pl.lit(False).alias(columns.TIMESTAMP_KNOWN)]


def on_one_line(text: pl.Expr) -> pl.Expr:
    """Return texts with single blanks, null where nothing is left."""
    line = text.str.replace_all(r"[\s\p{Cc}]+", " ").str.strip_chars()
    return pl.when(line != "").then(line)


def rated_once(events: pl.LazyFrame) -> pl.LazyFrame:
    """Return events of which none has the user, item, time and type of another; of several the greatest values stay."""
    keys = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.EVENT_TYPE)
    return events.group_by(keys).agg(pl.all().max()).sort(keys)
