"""What makes a row bad, declared as data, and the parting of a table into good rows and quarantined ones.

A row goes to the quarantine with its file, its number, the first check it fails and its content. Which of several
duplicates stays depends on their content alone, never on the order of rows or files.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from recsys.data import columns
from recsys.data.parsing import parse_flags, parse_integers, parse_numbers, parse_timestamps
from recsys.data.quality import DUPLICATE, QUARANTINE_SCHEMA, SAME_ID, TableQuality, place
from recsys.data.sources import FILE, REQUIRED, ROW, Kind

MAX_ID_CHARACTERS = 256
_TOO_LONG = f"id longer than {MAX_ID_CHARACTERS} characters"

# Columns that are parsed; the raw value stays beside them under another name until the checks are through.
_PARSERS: dict[str, dict[str, Callable[[pl.Series], pl.Series]]] = {
    "events": {
        columns.TIMESTAMP: parse_timestamps,
        columns.EVENT_ID: lambda raw: _present(raw),  # an empty id is none, or all such events would be duplicates
        columns.VALUE: parse_numbers,
        columns.POSITION: parse_integers,
        columns.TIMESTAMP_KNOWN: parse_flags,
    },
    "items": {columns.AVAILABLE: parse_flags, columns.UPDATED_AT: parse_timestamps},
    "users": {columns.UPDATED_AT: parse_timestamps},
}
_RAW = "__raw "
_READ = "__read "  # before the name of a column as it was read, where it is kept as another value
_INDEX, _STAYS = "__index", "__stays"
BASE = ""  # the file of rows that an earlier snapshot has: of two that are the same in all, they stay


@dataclass(frozen=True)
class Check:
    """One way for a row to be bad."""

    column: str
    reason: str
    bad: pl.Expr  # true for a bad row
    of_id: bool = False  # none is bad where all ids are plain


def event_checks(catalogue: pl.Series, latest: datetime) -> list[Check]:
    """Return the checks of events, given the ids of the good items and the latest time that is not the future."""
    timestamp = pl.col(columns.TIMESTAMP)
    return [
        *_id_checks(columns.USER_ID),
        *_id_checks(columns.ITEM_ID),
        *_id_checks(columns.EVENT_ID)[1:],  # it may be missing
        Check(columns.TIMESTAMP, "missing", pl.col(_RAW + columns.TIMESTAMP).is_null()),
        Check(columns.TIMESTAMP, "unparsable timestamp", timestamp.is_null()),
        Check(columns.TIMESTAMP, "timestamp in the future", timestamp > latest),
        _parse_check(columns.VALUE, "not a number"),
        _parse_check(columns.POSITION, "not a whole number"),
        _parse_check(columns.TIMESTAMP_KNOWN, "neither true nor false"),
        Check(columns.ITEM_ID, "unknown item", ~pl.col(columns.ITEM_ID).is_in(catalogue.implode())),
    ]


def item_checks() -> list[Check]:
    """Return the checks of items."""
    return [
        *_id_checks(columns.ITEM_ID),
        Check(columns.TITLE, "missing", _blank(columns.TITLE)),
        _parse_check(columns.AVAILABLE, "neither true nor false"),
        _parse_check(columns.UPDATED_AT, "unparsable timestamp"),
    ]


def user_checks() -> list[Check]:
    """Return the checks of users."""
    return [*_id_checks(columns.USER_ID), _parse_check(columns.UPDATED_AT, "unparsable timestamp")]


@dataclass(frozen=True)
class Sifted:
    """Rows parted by what they say themselves, without regard to others.

    Attributes:
        good: typed, with ``FILE`` and ``ROW``; where that is another value, with what was read beside it.
        quarantine: the others, in ``QUARANTINE_SCHEMA``.
        reasons: how many of them there are by column and kind of reason.
        known: how many rows an earlier snapshot has as well; they are good, and no duplicates of one source.
    """

    good: pl.DataFrame
    quarantine: pl.DataFrame
    reasons: Counter[tuple[str, str]]
    known: int = 0


def split(raw: pl.DataFrame, kind: Kind, checks: list[Check]) -> tuple[pl.DataFrame, pl.DataFrame, TableQuality]:
    """Part a table as it was read into good rows, typed, and quarantined ones.

    Of events with the same ``event_id`` (or, where there is none, the same user, item, time, type and position) the
    earliest stays; of items, or users, with the same id the one with the newest ``updated_at``; then the one whose
    content sorts first. So a catalogue with two descriptions of an item keeps one, and the quarantine shows the other.

    Args:
        raw: what ``read_table`` returned.
        kind: which table it is.
        checks: ``event_checks``, ``item_checks`` or ``user_checks``; those of absent columns are passed over.

    Returns:
        Good rows without ``FILE`` and ``ROW``; bad rows in ``QUARANTINE_SCHEMA``, by file and row; the counts.
    """
    sifted = sift(raw, kind, checks)
    good, repeated = without_duplicates(sifted.good, kind, raw.schema)
    reasons = sifted.reasons + repeated.reasons
    bad = pl.concat([sifted.quarantine, repeated.quarantine]).sort("file", "row")
    return cleared(good), bad, quality_of(kind, raw.height, reasons)


def sift(raw: pl.DataFrame, kind: Kind, checks: list[Check]) -> Sifted:
    """Part rows as they were read by the checks; duplicates stay among the good ones."""
    parsers = {name: parse for name, parse in _PARSERS[kind].items() if name in raw.columns}
    typed = raw.with_columns(
        *[parse(raw[name]).alias(name) for name, parse in parsers.items()],
        *[_present(raw[name]).alias(_RAW + name) for name in parsers],
        pl.int_range(pl.len(), dtype=pl.UInt32).alias(_INDEX),
    )
    floats = [name for name, dtype in typed.schema.items() if dtype.is_float() and not name.startswith(_RAW)]
    plain = {name for name in {check.column for check in checks if check.of_id} if _plain(raw, name)}
    checks = [one for one in checks if one.column in raw.columns and not (one.of_id and one.column in plain)]
    checks += [Check(name, "not a finite number", ~pl.col(name).is_finite()) for name in floats]
    failed = typed.select(_INDEX, *(one.bad.fill_null(False).alias(str(number)) for number, one in enumerate(checks)))
    is_bad = failed.select(_INDEX, bad=pl.any_horizontal(pl.lit(False), pl.exclude(_INDEX)))["bad"]
    bad = _findings(failed.filter(is_bad), checks)
    read = [raw[name].alias(_READ + name) for name in parsers if not _same(raw[name], typed[name])]
    good = typed.drop(*(_RAW + name for name in parsers), _INDEX).with_columns(read)
    good = good.filter(~is_bad) if is_bad.any() else good
    return Sifted(good, _quarantine(raw[bad[_INDEX]], kind, bad), _reasons(bad))


def without_duplicates(good: pl.DataFrame, kind: Kind, read: pl.Schema) -> tuple[pl.DataFrame, Sifted]:
    """Return good rows without those that repeat others, and these.

    Args:
        good: of ``sift``.
        kind: which table it is.
        read: the columns as they were read.
    """
    numbered = good.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias(_INDEX))
    surplus = _duplicate_events(numbered) if kind == "events" else _duplicate_ids(numbered, REQUIRED[kind][0])
    if surplus.is_empty():
        return good, Sifted(good.clear(), pl.DataFrame(schema=QUARANTINE_SCHEMA), Counter())
    left = numbered.filter(~pl.col(_INDEX).is_in(surplus[_INDEX].implode())).drop(_INDEX)
    return left, _repeating(good, kind, surplus, read)


def repeated_names(good: pl.DataFrame, read: pl.Schema) -> Sifted:
    """Return the good events that repeat the ``event_id`` of another one among them, but for the one that stays."""
    numbered = good.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias(_INDEX))
    return _repeating(good, "events", _duplicate_names(numbered), read)


def _repeating(good: pl.DataFrame, kind: Kind, surplus: pl.DataFrame, read: pl.Schema) -> Sifted:
    """Return the rows that go since others stay; where one of two is of an earlier snapshot, nothing is wrong."""
    rows = good[surplus[_INDEX]]
    new = (rows[FILE] != BASE) & (surplus[_STAYS] != BASE)
    return Sifted(
        rows,
        _quarantine(_as_read(rows.filter(new), read), kind, surplus.filter(new)),
        _reasons(surplus.filter(new)),
        surplus.height - int(new.sum()),
    )


def cleared(good: pl.DataFrame) -> pl.DataFrame:
    """Return good rows as they are kept: without where they stood, and what was read."""
    return good.drop(FILE, ROW, *(name for name in good.columns if name.startswith(_READ)), strict=False)


def quality_of(kind: Kind, rows: int, reasons: Counter[tuple[str, str]]) -> TableQuality:
    """Return the counts of a table."""
    ordered = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    return TableQuality(kind, rows, reasons.total(), {f"{column}: {why}": count for (column, why), count in ordered})


def _same(raw: pl.Series, typed: pl.Series) -> bool:
    """Tell whether a column of good rows can stand for what was read."""
    return raw.dtype == typed.dtype and raw.null_count() == typed.null_count()


def _as_read(good: pl.DataFrame, read: pl.Schema) -> pl.DataFrame:
    """Return good rows as they were read, with ``FILE`` and ``ROW``."""
    kept = [pl.col(_READ + name).alias(name) if _READ + name in good.columns else pl.col(name) for name in read]
    return good.select(kept)


def _reasons(bad: pl.DataFrame) -> Counter[tuple[str, str]]:
    counts = bad.group_by("column", "kind").len()
    return Counter({(column, why): count for column, why, count in counts.iter_rows()})


def _findings(failed: pl.DataFrame, checks: list[Check]) -> pl.DataFrame:
    """Return for every bad row the column and the reason of the first check it fails."""
    numbers = [pl.when(pl.col(str(number))).then(pl.lit(number, pl.UInt32)) for number in range(len(checks))]
    first = failed.select(_INDEX, first=pl.coalesce(*numbers, pl.lit(None, pl.UInt32)))["first"]
    schema = {"column": pl.String, "reason": pl.String}
    named = pl.DataFrame([(check.column, check.reason) for check in checks], schema=schema, orient="row")
    return named[first].with_columns(failed[_INDEX], pl.col("reason").alias("kind"))


def _blank(column: str) -> pl.Expr:
    return pl.col(column).is_null() | (pl.col(column).str.strip_chars() == "")


def _id_checks(column: str) -> list[Check]:
    return [
        Check(column, "missing", _blank(column), of_id=True),
        Check(column, "control character in an id", pl.col(column).str.contains(r"\p{Cc}"), of_id=True),
        Check(column, _TOO_LONG, pl.col(column).str.len_chars() > MAX_ID_CHARACTERS, of_id=True),
    ]


def _plain(rows: pl.DataFrame, column: str) -> bool:
    """Tell whether all ids are of printable ASCII without blanks, none of them empty or long: one look at all bytes."""
    ids = rows[column] if column in rows.columns else pl.Series(dtype=pl.String)
    if ids.is_empty() or ids.null_count() or ids.dtype != pl.String:
        return False
    lengths, together = ids.str.len_bytes(), np.frombuffer(ids.str.join("").item().encode(), dtype=np.uint8)
    if lengths.min() == 0 or lengths.max() > MAX_ID_CHARACTERS:  # type: ignore[operator]
        return False
    return bool(together.min() > ord(" ") and together.max() <= ord("~"))


def _parse_check(column: str, reason: str) -> Check:
    return Check(column, reason, pl.col(column).is_null() & pl.col(_RAW + column).is_not_null())


def _present(raw: pl.Series) -> pl.Series:
    if raw.dtype != pl.String:
        return raw
    return pl.select(pl.when(raw.str.strip_chars() != "").then(raw)).to_series()


def _duplicate_events(good: pl.DataFrame) -> pl.DataFrame:
    content = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.EVENT_TYPE, columns.POSITION)
    keys = [name for name in content if name in good.columns]
    order = [pl.col(columns.TIMESTAMP)]
    if columns.EVENT_ID not in good.columns:
        return _surplus(good, keys, order, DUPLICATE, columns.ITEM_ID)
    nameless = good.filter(pl.col(columns.EVENT_ID).is_null())
    by_content = _surplus(nameless, keys, order, DUPLICATE, columns.ITEM_ID)
    return pl.concat([_duplicate_names(good), by_content])


def _duplicate_names(good: pl.DataFrame) -> pl.DataFrame:
    named = good.filter(pl.col(columns.EVENT_ID).is_not_null())
    return _surplus(named, [columns.EVENT_ID], [pl.col(columns.TIMESTAMP)], DUPLICATE, columns.EVENT_ID)


def _duplicate_ids(good: pl.DataFrame, key: str) -> pl.DataFrame:
    order = [-pl.col(columns.UPDATED_AT).dt.epoch("us")] if columns.UPDATED_AT in good.columns else []
    return _surplus(good, [key], order, SAME_ID, key)


def _surplus(good: pl.DataFrame, keys: list[str], order: list[pl.Expr], reason: str, column: str) -> pl.DataFrame:
    """Return the rows that repeat another one's keys, except the one of each group that stays."""
    suspected = _twice(good.select(keys).hash_rows())  # a fraction of what comparing all keys takes
    group = good.filter(suspected) if suspected.any() else good.clear()
    group = group.filter(group.select(keys).is_duplicated())
    content = [name for name in good.columns if name not in (FILE, ROW, _INDEX) and not name.startswith(_READ)]
    group = group.with_columns(pl.struct(sorted(content)).struct.json_encode().alias("content"))
    group = group.sort([*order, "content", FILE, ROW], nulls_last=True, maintain_order=True)
    first = [pl.col(name).first().over(keys).alias(f"first {name}") for name in (FILE, ROW, "content", _INDEX)]
    group = group.with_columns(first).filter(pl.col(_INDEX) != pl.col(f"first {_INDEX}"))
    same = (pl.col("content") == pl.col("first content")).alias("same")
    reasons = [
        f"{reason}: {place(file, row)} {'is the same' if is_same else 'differs'} and stays"
        for file, row, is_same in group.select(f"first {FILE}", f"first {ROW}", same).iter_rows()
    ]
    return group.select(
        pl.lit(column).alias("column"),
        pl.Series("reason", reasons, pl.String),
        pl.col(_INDEX),
        pl.lit(reason).alias("kind"),
        pl.col(f"first {FILE}").alias(_STAYS),
    )


def _twice(hashes: pl.Series) -> pl.Series:
    """Return which hashes come more than once; sorted, few of them are left to look for."""
    ordered = np.sort(hashes.to_numpy())
    return hashes.is_in(pl.Series(ordered[1:][ordered[1:] == ordered[:-1]]).implode())


def _quarantine(rows: pl.DataFrame, kind: Kind, bad: pl.DataFrame) -> pl.DataFrame:
    """Return rows as they were read, with why they are bad, by file and row."""
    content = rows.select(pl.struct(pl.exclude(FILE, ROW)).struct.json_encode()).to_series()
    frame = pl.DataFrame(
        {
            "table": pl.repeat(kind, rows.height, dtype=pl.String, eager=True),
            "file": rows[FILE],
            "row": rows[ROW],
            "column": bad["column"],
            "reason": bad["reason"],
            "content": content,
        },
        schema=QUARANTINE_SCHEMA,
    )
    return frame.sort("file", "row")
