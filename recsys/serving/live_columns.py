"""What a live item may hold: its columns checked against the catalogue, and read as a frame."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from recsys.artifacts import canonical_json
from recsys.data.columns import AVAILABLE, ITEM_ID, TITLE
from recsys.data.json_values import fits, limit, typed
from recsys.database.live_items import LiveItem
from recsys.errors import RequestError
from recsys.selection.values import in_words

MAX_BYTES = 64 * 2**10  # of all columns, as JSON in UTF-8
MAX_SHOWN = 50  # characters of what was sent, in a message


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
            if not isinstance(value, bool | None):
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
    return pl.DataFrame(
        [
            typed(name, [item.item_id if name == ITEM_ID else (item.columns or {}).get(name) for item in items], kind)
            for name, kind in schema.items()
        ]
    )


def _name(name: str) -> str:
    return name if name.isidentifier() and len(name) <= MAX_SHOWN else shown(name)


def shown(value: Any) -> str:
    """Return the beginning of what was sent, however long or deep it is."""
    return reprlib.repr(value)[:MAX_SHOWN]
