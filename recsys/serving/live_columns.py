"""What a live item may hold: its columns checked against the catalogue, and read as a frame."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from recsys.data.columns import AVAILABLE, ITEM_ID, TITLE
from recsys.data.parsing import parse_timestamps
from recsys.database.live_items import LiveItem
from recsys.errors import RequestError

MAX_TEXT = 20_000  # characters of one value
MAX_MEMBERS = 1_000  # of one list


class ItemError(RequestError):
    """A live item does not fit the catalogue's columns. The message names the column and what would fit."""


def check_columns(columns: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
    """Check a live item's columns, as JSON values, against the catalogue's.

    Raises:
        ItemError: a column is unknown or does not fit its type, or the title is missing.
    """
    title = columns.get(TITLE)
    if not isinstance(title, str) or not title.strip():
        raise ItemError("title: an item needs one.")
    for name, value in columns.items():
        if name == AVAILABLE:
            if not isinstance(value, bool):
                raise ItemError("available: true or false.")
        elif name == ITEM_ID or name not in schema:
            known = ", ".join(sorted(({*schema} | {AVAILABLE}) - {ITEM_ID}))
            raise ItemError(f"{name}: there is no such column; there are {known}.")
        elif value is not None and not _fits(value, schema[name]):
            raise ItemError(f"{name}: {schema[name]} is wanted, not {str(value)[:50]!r}.")


def live_frame(items: Sequence[LiveItem], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return rows of the catalogue's schema; columns that do not fit it (any more) are null."""
    data = {}
    for name, kind in schema.items():
        values = [item.item_id if name == ITEM_ID else (item.columns or {}).get(name) for item in items]
        fitting = [value if value is not None and _fits(value, kind) else None for value in values]
        if isinstance(kind, pl.Datetime):
            data[name] = parse_timestamps(pl.Series(name, fitting, dtype=pl.String)).cast(kind)
        else:
            data[name] = pl.Series(name, fitting, dtype=kind)
    return pl.DataFrame(data)


def _fits(value: Any, kind: pl.DataType) -> bool:
    if isinstance(kind, pl.List):
        members = isinstance(value, list) and len(value) <= MAX_MEMBERS
        return members and all(_fits(member, kind.inner) for member in value)  # type: ignore[arg-type]
    if kind == pl.String:
        return isinstance(value, str) and len(value) <= MAX_TEXT
    if kind == pl.Boolean:
        return isinstance(value, bool)
    if isinstance(kind, pl.Datetime):
        return isinstance(value, str) and parse_timestamps(pl.Series([value])).is_not_null().all()
    if not kind.is_numeric() or isinstance(value, bool):
        return False
    if kind.is_integer():
        inside = isinstance(value, int) and -(2**63) <= value < 2**63
        return inside and bool(pl.Series([value], dtype=pl.Int64).cast(kind, strict=False).is_not_null().all())
    return isinstance(value, int | float) and abs(value) <= 1e300
