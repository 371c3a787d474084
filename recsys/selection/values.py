"""Values of a filter and columns of the catalogue, brought to types that compare as plain Python compares.

What JSON cannot write (dates) is text in a filter; what it should not write (NaN, numbers of any length) is refused or
compared by value.
"""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from recsys.errors import RequestError

INTEGERS: dict[type[pl.DataType], tuple[int, int]] = {
    **{kind: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
       for kind, bits in ((pl.Int8, 8), (pl.Int16, 16), (pl.Int32, 32), (pl.Int64, 64), (pl.Int128, 128))},
    **{kind: (0, 2**bits - 1) for kind, bits in ((pl.UInt8, 8), (pl.UInt16, 16), (pl.UInt32, 32), (pl.UInt64, 64))},
}  # fmt: skip


# What a column holds, for people who write JSON: one, and several.
WORDS: tuple[tuple[Callable[[pl.DataType], bool], str, str], ...] = (
    (lambda kind: kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum), "a text", "texts"),
    (lambda kind: kind == pl.Boolean, "true or false", "true and false"),
    (lambda kind: kind.is_integer(), "a whole number", "whole numbers"),
    (lambda kind: kind.is_numeric(), "a number", "numbers"),
    (lambda kind: kind == pl.Date, "a date", "dates"),
    (lambda kind: isinstance(kind, pl.Datetime), "a date and time", "dates and times"),
    (lambda kind: kind == pl.Time, "a time of day", "times of day"),
    (lambda kind: isinstance(kind, pl.Duration), "a duration", "durations"),
    (lambda kind: isinstance(kind, pl.List | pl.Array), "a list", "lists"),
)


class FilterError(RequestError):
    """A filter names a field that does not exist, or an operator or a value that does not fit it.

    Attributes:
        place: where in the filter, from its top: the names and the places in lists that lead there.
        option: where in the request the filter stands.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.place: tuple[str | int, ...] = ()
        self.option: tuple[str | int, ...] = ("filter",)


def in_words(kind: pl.DataType) -> str:
    """Return what a column of a type holds, in words: "a whole number", "a list of texts"."""
    if isinstance(kind, pl.List | pl.Array):
        inner: Any = kind.inner
        return f"a list of {next((several for fits, _, several in WORDS if fits(inner)), 'values')}"
    return next((one for fits, one, _ in WORDS if fits(kind)), "something that JSON has no word for")


def comparable(name: str, kind: pl.DataType) -> pl.Expr:
    """Return a column for comparing: NaN is null, floats and decimals are 64 bits wide, times are UTC microseconds."""
    column = pl.col(name)
    if isinstance(kind, pl.List):
        inner: Any = kind.inner
        return column if _plain(inner) else column.list.eval(_plainly(pl.element(), inner))
    return column if _plain(kind) else _plainly(column, kind)


def literal(name: str, kind: pl.DataType, value: Any) -> Any:
    """Return a filter's value as the Python value that a column's type compares with.

    Raises:
        FilterError: it is no value of that type.
    """
    if kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum):
        if isinstance(value, str) and _is_text(value):
            return value
    elif kind == pl.Boolean:
        if isinstance(value, bool):
            return value
    elif kind.is_numeric():
        if isinstance(value, int | float) and not isinstance(value, bool) and not _is_endless(value):
            return value if kind.is_integer() else _as_float(value)
    elif isinstance(kind, pl.Date | pl.Datetime):
        if isinstance(value, str):
            return _time(name, kind, value)
    else:
        works = '"exists" and "contains" work' if isinstance(kind, pl.List) else '"exists" works'
        raise FilterError(f"{name!r} is {in_words(kind)}, which cannot be compared; only {works} on it.")
    raise FilterError(f"{name!r} is {in_words(kind)}; {_shown(value)} is no value of that type.")


def _plain(kind: pl.DataType) -> bool:
    return not (kind.is_float() or kind.is_decimal() or isinstance(kind, pl.Datetime | pl.Categorical | pl.Enum))


def _plainly(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.Datetime):
        column = column if kind.time_zone is None else column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return column.dt.cast_time_unit("us")
    if isinstance(kind, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    return column.cast(pl.Float64).fill_nan(None)


def _time(name: str, kind: pl.DataType, value: str) -> date | datetime:
    try:
        if isinstance(kind, pl.Date):
            return date.fromisoformat(value)
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        example = "2026-01-31" if isinstance(kind, pl.Date) else "2026-01-31T12:00:00Z"
        raise FilterError(f"{name!r} is {in_words(kind)}; {_shown(value)} is none. Write it like {example}.") from None


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_endless(value: float) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _is_text(value: str) -> bool:
    """Tell whether a string can be written as UTF-8: JSON can hold halves of surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    text = ascii(value)  # of whatever length and characters a caller sends
    return text if len(text) <= 60 else f"{text[:60]}…"
