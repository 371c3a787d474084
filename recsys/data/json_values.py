"""Values as JSON writes them, as a column of some type holds them: what is shown of an item can be put back.

Dates are written as ``2026-01-31``, times of day as ``12:30:00``, both together as ISO 8601 and durations as
``P1DT2H30M``, where a year (``P1Y``) has 365 days; a list may hold nulls.
"""

import math
import re
import sys
from collections.abc import Sequence
from datetime import date, time, timedelta
from functools import cache
from typing import Any

import polars as pl

from recsys.data.parsing import parse_timestamps

MAX_TEXT = 20_000  # characters of one value
MAX_MEMBERS = 1_000  # of one list
MAX_FLOAT, MAX_FLOAT_32 = sys.float_info.max, (2 - 2**-23) * 2.0**127
MOST_MICROSECONDS = (2**63 - 1) // 1_000  # of a moment or a duration that is kept in nanoseconds
LONGEST = timedelta(days=106_751_991)  # whose microseconds 64 bits hold
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: JSON can spell it, UTF-8 cannot
_DURATION = re.compile(
    r"(?P<sign>-?)P(?:(?P<years>\d{1,9})Y)?(?:(?P<days>\d{1,9})D)?"
    r"(?:T(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,9}(?:\.\d{1,6})?)S)?)?"
)


def fits(value: Any, kind: pl.DataType) -> bool:
    """Tell whether a JSON value, not null itself, is one that a column of a type holds."""
    if isinstance(kind, pl.List | pl.Array):
        if not isinstance(value, list) or len(value) > MAX_MEMBERS:
            return False
        width = len(value) if isinstance(kind, pl.List) else kind.size
        return len(value) == width and _all_fit([member for member in value if member is not None], kind.inner)
    return _all_fit([value], kind)


def typed(name: str, values: Sequence[Any], kind: pl.DataType) -> pl.Series:
    """Return JSON values as a column; one that does not fit its type is null."""
    if isinstance(kind, pl.Datetime):  # all at once: to parse one takes milliseconds
        return _times(name, values, kind)
    fitting = [value if value is not None and fits(value, kind) else None for value in values]
    if isinstance(kind, pl.List | pl.Array):
        members = typed("", [member for value in fitting for member in value or ()], kind.inner)  # type: ignore[arg-type]
        found = iter(members.to_list())
        cells = [None if value is None else [next(found) for _ in value] for value in fitting]
        return pl.Series(name, cells, dtype=kind)
    if isinstance(kind, pl.Duration):
        lengths = [None if value is None else _microseconds(value) for value in fitting]
        return pl.Series(name, lengths, dtype=pl.Int64).cast(pl.Duration("us")).cast(kind)
    read: Any = _READERS.get(kind.base_type(), lambda value: value)
    return pl.Series(name, [None if value is None else read(value) for value in fitting], dtype=kind)


def limit(kind: pl.DataType, value: Any) -> str:
    """Return what bounds the values of a type, as it follows the type in a sentence."""
    if isinstance(kind, pl.Array):
        return f" of {kind.size:,} members"
    if isinstance(kind, pl.List):
        return f" of at most {MAX_MEMBERS:,} members"
    if kind.is_integer() and isinstance(value, int):
        return " from {:,} to {:,}".format(*_range(str(kind)))
    example = _EXAMPLES.get(kind.base_type())
    if example:
        return f" such as {example}"
    return f" of at most {MAX_TEXT:,} characters" if kind == pl.String else ""


def _all_fit(values: list[Any], kind: Any) -> bool:
    if isinstance(kind, pl.Datetime):
        if not all(isinstance(value, str) for value in values):
            return False
        return bool(_times("", values, kind).is_not_null().all())
    return all(_is_one(value, kind) for value in values)


def _is_one(value: Any, kind: Any) -> bool:
    if isinstance(kind, pl.List | pl.Array):
        return fits(value, kind)
    if kind == pl.String:
        return isinstance(value, str) and len(value) <= MAX_TEXT and not SURROGATE.search(value)
    if kind == pl.Boolean:
        return isinstance(value, bool)
    if kind.base_type() in _READERS:
        found = _READERS[kind.base_type()](value) if isinstance(value, str) else None
        if found is not None and kind == pl.Duration("ns"):
            return abs(_microseconds(value)) <= MOST_MICROSECONDS
        return found is not None
    if not kind.is_numeric() or isinstance(value, bool):
        return False
    if kind.is_integer():
        smallest, largest = _range(str(kind))
        return isinstance(value, int) and smallest <= value <= largest
    most = MAX_FLOAT_32 if kind == pl.Float32 else MAX_FLOAT
    return isinstance(value, int | float) and (isinstance(value, int) or math.isfinite(value)) and abs(value) <= most


def _times(name: str, values: Sequence[Any], kind: Any) -> pl.Series:
    times = parse_timestamps(pl.Series(name, [v if isinstance(v, str) else None for v in values], dtype=pl.String))
    if kind.time_unit == "ns":
        held = times.dt.epoch("us").is_between(-MOST_MICROSECONDS, MOST_MICROSECONDS)
        times = pl.select(pl.when(held).then(times).alias(name)).to_series()
    if kind.time_zone is None:
        return times.dt.replace_time_zone(None).cast(kind)
    return times.dt.convert_time_zone(kind.time_zone).cast(kind)


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _time(text: str) -> time | None:
    try:
        found = time.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is None else None


def _duration(text: str) -> timedelta | None:
    found = _DURATION.fullmatch(text)
    if found is None or text.endswith(("P", "T")):
        return None
    parts = found.groupdict("0")
    try:
        length = timedelta(
            days=365 * int(parts["years"]) + int(parts["days"]),
            hours=int(parts["hours"]),
            minutes=int(parts["minutes"]),
            seconds=float(parts["seconds"]),
        )
    except OverflowError:
        return None
    if length > LONGEST:
        return None
    return -length if found["sign"] else length


def _microseconds(text: str) -> int:
    length = _duration(text)
    return 0 if length is None else length // timedelta(microseconds=1)


_READERS: dict[Any, Any] = {pl.Date: _date, pl.Time: _time, pl.Duration: _duration}
_EXAMPLES: dict[Any, str] = {
    pl.Date: "2026-01-31",
    pl.Time: "12:30:00",
    pl.Datetime: "2026-01-31T12:00:00Z",
    pl.Duration: "P1DT2H30M",
}


@cache
def _range(kind: str) -> tuple[int, int]:
    """Return the least and the largest whole number of a type, of those that fit into 64 bits."""
    bits = int(kind.lstrip("UInt"))
    unsigned = kind.startswith("U")
    return (0, 2 ** min(bits, 64) - 1) if unsigned else (-(2 ** min(bits - 1, 63)), 2 ** min(bits - 1, 63) - 1)
