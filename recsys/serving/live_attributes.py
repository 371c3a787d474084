"""What may be said of a user, or of a situation, while the service runs: checked against the served snapshot."""

import difflib
from collections.abc import Mapping
from typing import Any

import polars as pl

from recsys.data.attributes import MAX_CHARACTERS
from recsys.data.json_values import fits, limit
from recsys.errors import RequestError
from recsys.selection.values import in_words
from recsys.serving.live_columns import shown

MAX_ATTRIBUTES = 50  # of one user


class FieldError(RequestError):
    """What is said does not fit the served snapshot. The message names the field and what would fit.

    Attributes:
        field: which, if it is one.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


def check_attributes(values: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
    """Check a user's attributes, as JSON values, against those of a snapshot.

    Args:
        values: by name; None: not known.
        schema: types of the snapshot's attributes; empty: it has no table of users.

    Raises:
        FieldError: there are too many, or one is unknown, of another type, or too long.
    """
    if not schema:
        raise FieldError("the served snapshot knows no attributes of users; ingest a table of them first.")
    if len(values) > MAX_ATTRIBUTES:
        raise FieldError(f"a user has at most {MAX_ATTRIBUTES} attributes.")
    _check(values, schema)


def check_context(values: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
    """Check the context of a request or an event, as JSON values, against what a snapshot declares.

    Args:
        values: by name; None: not known.
        schema: types of the declared columns of events; empty: none is.

    Raises:
        FieldError: one is not declared, of another type, or too long.
    """
    if values and not schema:
        raise FieldError(
            "the served snapshot declares no context; ingest with context_columns first.", next(iter(values))
        )
    _check(values, schema)


def _check(values: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> None:
    for name, value in values.items():
        if name not in schema:
            near = difflib.get_close_matches(name[:MAX_CHARACTERS], schema, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(schema))}."
            raise FieldError(f"{shown(name)}: there is no such field; {meant}", name)
        if isinstance(value, str) and len(value) > MAX_CHARACTERS:
            raise FieldError(f"{name}: a text of at most {MAX_CHARACTERS} characters is wanted.", name)
        if value is not None and not fits(value, schema[name]):
            wanted = f"{in_words(schema[name])}{limit(schema[name], value)}"
            raise FieldError(f"{name}: {wanted} is wanted, not {shown(value)}.", name)


def fitting(values: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """Return those of some attributes that fit a snapshot's, perhaps a later one than they were checked against."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and name in schema and fits(value, schema[name])
    }
