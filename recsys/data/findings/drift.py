"""Rules about what has changed since the last snapshot: columns, their types, missing values, numbers of rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from recsys.data import columns
from recsys.data.findings.finding import ERROR, WARNING, Finding

NULLS = 0.1  # by which the share of missing values may change
FEWER, MANY = 0.1, 10.0  # share of the rows that may go, and times as many as there may be
# Columns that an ingest or a later version makes: they tell nothing of the source.
_OURS = (columns.TIMESTAMP_KNOWN,)


@dataclass(frozen=True)
class Profile:
    """What is kept of a table to compare others with: its rows, and the types and missing values of its columns."""

    rows: int
    types: Mapping[str, str]
    nulls: Mapping[str, int]

    @classmethod
    def of(cls, table: pl.DataFrame) -> "Profile":
        nulls = dict(zip(table.columns, table.null_count().row(0), strict=True)) if table.width else {}
        return cls(table.height, {name: str(kind) for name, kind in table.schema.items()}, nulls)

    def with_more(self, other: "Profile") -> "Profile":
        """Return the profile of two parts of one table."""
        nulls = {name: count + other.nulls.get(name, 0) for name, count in self.nulls.items()}
        return Profile(self.rows + other.rows, self.types, nulls)


def drift_findings(before: Mapping[str, Profile], now: Mapping[str, Profile]) -> list[Finding]:
    """Return what is other than before, by the name of the table."""
    return [one for table, profile in now.items() if table in before for one in _drift(table, before[table], profile)]


def _drift(table: str, before: Profile, now: Profile) -> Iterator[Finding]:
    gone = sorted(set(before.types) - set(now.types) - set(_OURS))
    new = sorted(set(now.types) - set(before.types) - set(_OURS))
    width = len(before.types)
    if gone:
        said = (
            f"Gone since the last snapshot: {_named(gone)} of {table}. Filters and texts that name them find nothing."
        )
        yield Finding("columns-gone", ERROR, table, len(gone), width, said, tuple(gone[:3]))
    if new:
        said = f"New since the last snapshot: {_named(new)} of {table}. Short texts among them are read by default."
        yield Finding("columns-new", WARNING, table, len(new), len(now.types), said, tuple(new[:3]))
    both = [name for name in now.types if name in before.types]
    other = [name for name in both if now.types[name] != before.types[name]]
    if other:
        examples = tuple(f"{name}: {before.types[name]}, now {now.types[name]}" for name in other[:3])
        said = f"Of another type than in the last snapshot: {_named(other)} of {table}. Check how they are written."
        yield Finding("types-changed", ERROR, table, len(other), width, said, examples)
    for name in both:
        earlier, later = (one.nulls.get(name, 0) / one.rows if one.rows else 0.0 for one in (before, now))
        if abs(later - earlier) > NULLS:
            said = f"{name} of {table} is missing in {later:.1%} of the rows; it was in {earlier:.1%}. Ask its source."
            yield Finding("missing-values-changed", WARNING, table, now.nulls.get(name, 0), now.rows, said)
    if now.rows < (1 - FEWER) * before.rows:
        said = (
            f"{now.rows:,} rows of {table}, and {before.rows:,} in the last snapshot. Check that the source is whole."
        )
        yield Finding("fewer-rows", ERROR, table, before.rows - now.rows, before.rows, said)
    elif before.rows and now.rows > MANY * before.rows:
        said = (
            f"{now.rows:,} rows of {table}, and {before.rows:,} in the last snapshot. Check that none is there twice."
        )
        yield Finding("many-more-rows", WARNING, table, now.rows - before.rows, now.rows, said)


def _named(names: list[str]) -> str:
    return f"{len(names):,} column{'s' if len(names) > 1 else ''}"
