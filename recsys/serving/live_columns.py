"""What a live item may hold: its columns checked against the catalogue, and read as a frame."""

import re
import reprlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import polars as pl

from recsys.artifacts import canonical_json
from recsys.data.columns import AVAILABLE, ITEM_ID, TITLE
from recsys.data.parsing import parse_timestamps
from recsys.database.live_items import LiveItem
from recsys.errors import RequestError
from recsys.selection.values import in_words

MAX_BYTES = 64 * 2**10  # of all columns, as JSON in UTF-8
MAX_TEXT = 20_000  # characters of one value
MAX_MEMBERS = 1_000  # of one list
MAX_FLOAT, MAX_FLOAT_32 = 1e300, 3e38
MAX_SHOWN = 50  # characters of what was sent, in a message
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: JSON can spell it, UTF-8 cannot


class ItemError(RequestError):
    """A live item does not fit the catalogue's columns. The message names the column and what would fit.

    Attributes:
        column: which, if it is one.
    """

    def __init__(self, message: str, column: str | None = None) -> None:
        super().__init__(message)
        self.column = column


def check_columns(columns: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
    """Check a live item's columns, as JSON values, against the catalogue's.

    Raises:
        ItemError: a column is unknown or does not fit its type, or the title is missing.
    """
    title = columns.get(TITLE)
    if not isinstance(title, str) or not title.strip():
        raise ItemError("title: an item needs one.", TITLE)
    for name, value in columns.items():
        if name == AVAILABLE:
            if not isinstance(value, bool):
                raise ItemError("available: true or false.", AVAILABLE)
        elif name == ITEM_ID or name not in schema:
            known = ", ".join(sorted(({*schema} | {AVAILABLE}) - {ITEM_ID}))
            raise ItemError(f"{_name(name)}: there is no such column; there are {known}.", name)
        elif value is not None and not fits(value, schema[name]):
            wanted = f"{in_words(schema[name])}{limit(schema[name], value)}"
            raise ItemError(f"{name}: {wanted} is wanted, not {shown(value)}.", name)


def check_size(columns: Mapping[str, Any]) -> None:
    """Check that a live item's columns, checked one by one before, are not too much together.

    Raises:
        ItemError: they are longer than ``MAX_BYTES``.
    """
    size = len(canonical_json(dict(columns)))
    if size > MAX_BYTES:
        limit = f"{MAX_BYTES // 2**10} KiB as JSON, the title among them"
        raise ItemError(f"The columns of an item have at most {limit}; these have {size:,} bytes. Nothing was stored.")


def live_frame(items: Sequence[LiveItem], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return rows of the catalogue's schema; columns that do not fit it (any more) are null."""
    data = {}
    for name, kind in schema.items():
        values = [item.item_id if name == ITEM_ID else (item.columns or {}).get(name) for item in items]
        if isinstance(kind, pl.Datetime):  # all at once: to parse one takes milliseconds
            texts = [value if isinstance(value, str) else None for value in values]
            data[name] = parse_timestamps(pl.Series(name, texts, dtype=pl.String)).cast(kind)
        else:
            fitting = [value if value is not None and fits(value, kind) else None for value in values]
            data[name] = pl.Series(name, fitting, dtype=kind)
    return pl.DataFrame(data)


def fits(value: Any, kind: pl.DataType) -> bool:
    """Tell whether a JSON value is one that a column of a type holds."""
    if isinstance(kind, pl.List):
        members = isinstance(value, list) and len(value) <= MAX_MEMBERS
        if members and isinstance(kind.inner, pl.Datetime):
            return _are_times(value)
        return members and all(fits(member, kind.inner) for member in value)  # type: ignore[arg-type]
    if kind == pl.String:
        return isinstance(value, str) and len(value) <= MAX_TEXT and not SURROGATE.search(value)
    if kind == pl.Boolean:
        return isinstance(value, bool)
    if isinstance(kind, pl.Datetime):
        return _are_times([value])
    if not kind.is_numeric() or isinstance(value, bool):
        return False
    if kind.is_integer():
        least, most = _range(str(kind))
        return isinstance(value, int) and least <= value <= most
    return isinstance(value, int | float) and abs(value) <= (MAX_FLOAT_32 if kind == pl.Float32 else MAX_FLOAT)


def _are_times(values: Sequence[Any]) -> bool:
    if not all(isinstance(value, str) for value in values):
        return False
    return bool(parse_timestamps(pl.Series(values, dtype=pl.String)).is_not_null().all())


@cache
def _range(kind: str) -> tuple[int, int]:
    """Return the least and the largest whole number of a type, of those that fit into 64 bits with a sign."""
    bits = int(kind.lstrip("UInt"))
    unsigned = kind.startswith("U")
    return (0 if unsigned else -(2 ** min(bits - 1, 63))), 2 ** min(bits if unsigned else bits - 1, 63) - 1


def limit(kind: pl.DataType, value: Any) -> str:
    """Return what bounds the values of a type, as it follows the type in a sentence."""
    if isinstance(kind, pl.List):
        return f" of at most {MAX_MEMBERS:,} members"
    if kind.is_integer() and isinstance(value, int):
        return " from {:,} to {:,}".format(*_range(str(kind)))
    if isinstance(kind, pl.Datetime):
        return " such as 2026-01-31T12:00:00Z"
    return f" of at most {MAX_TEXT:,} characters" if kind == pl.String else ""


def _name(name: str) -> str:
    return name if name.isidentifier() and len(name) <= MAX_SHOWN else shown(name)


def shown(value: Any) -> str:
    """Return the beginning of what was sent, however long or deep it is."""
    return reprlib.repr(value)[:MAX_SHOWN]
