"""What may be said of a user while the service runs: attributes checked against those of the served snapshot."""

import difflib
from collections.abc import Mapping
from typing import Any

import polars as pl

from recsys.data.attributes import MAX_CHARACTERS
from recsys.errors import RequestError
from recsys.selection.values import in_words
from recsys.serving.live_columns import fits, limit, shown

MAX_ATTRIBUTES = 50  # of one user


class UserAttributeError(RequestError):
    """Attributes do not fit the served snapshot's. The message names the attribute and what would fit.

    Attributes:
        attribute: which, if it is one.
    """

    def __init__(self, message: str, attribute: str | None = None) -> None:
        super().__init__(message)
        self.attribute = attribute


def check_attributes(values: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
    """Check a user's attributes, as JSON values, against those of a snapshot.

    Args:
        values: by name; None: not known.
        schema: types of the snapshot's attributes; empty: it has no table of users.

    Raises:
        UserAttributeError: there are too many, or one is unknown, of another type, or too long.
    """
    if not schema:
        raise UserAttributeError("the served snapshot knows no attributes of users; ingest a table of them first.")
    if len(values) > MAX_ATTRIBUTES:
        raise UserAttributeError(f"a user has at most {MAX_ATTRIBUTES} attributes.")
    for name, value in values.items():
        if name not in schema:
            near = difflib.get_close_matches(name[:MAX_CHARACTERS], schema, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(schema))}."
            raise UserAttributeError(f"{shown(name)}: there is no such attribute; {meant}", name)
        if isinstance(value, str) and len(value) > MAX_CHARACTERS:
            raise UserAttributeError(f"{name}: a text of at most {MAX_CHARACTERS} characters is wanted.", name)
        if value is not None and not fits(value, schema[name]):
            wanted = f"{in_words(schema[name])}{limit(schema[name], value)}"
            raise UserAttributeError(f"{name}: {wanted} is wanted, not {shown(value)}.", name)


def fitting(values: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """Return those of some attributes that fit a snapshot's, perhaps a later one than they were checked against."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and name in schema and fits(value, schema[name])
    }
