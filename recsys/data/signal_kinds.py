"""What types of events there are, and what values: enough of them to tell what they suggest, out of any number."""

import polars as pl

from recsys.data import columns
from recsys.data.compact import compact

MOST_VALUES = 23  # of a type, none among them: more are no scale of ratings


def further_kinds(found: pl.DataFrame | None, events: pl.DataFrame) -> pl.DataFrame:
    """Return ``distinct_kinds`` of all events so far, given those of the ones before; types of many values are done."""
    if found is None:
        return compact(distinct_kinds(events))
    if columns.EVENT_TYPE in found.columns and columns.EVENT_TYPE in events.columns:
        done = found.group_by(columns.EVENT_TYPE).len().filter(pl.col("len") >= MOST_VALUES)[columns.EVENT_TYPE]
        events = events.filter(~pl.col(columns.EVENT_TYPE).is_in(done.implode(), nulls_equal=True))
    return compact(distinct_kinds(pl.concat([found, distinct_kinds(events)], how="diagonal_relaxed")))


def distinct_kinds(events: pl.DataFrame) -> pl.DataFrame:
    """Return a few events of each type, with type, value and time: every value of a type that has few of them."""
    there = [name for name in (columns.EVENT_TYPE, columns.VALUE) if name in events.columns]
    if columns.EVENT_TYPE not in there:
        return events.select(*there, columns.TIMESTAMP).head(1)
    rows = events.select(*there, columns.TIMESTAMP).unique(there, maintain_order=True)
    return rows.group_by(columns.EVENT_TYPE, maintain_order=True).head(MOST_VALUES).select(*there, columns.TIMESTAMP)
