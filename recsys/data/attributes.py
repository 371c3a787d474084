"""Which columns of a table part people, or situations, into segments: few values that many share, or numbers.

A column that does not is kept all the same; the quality report says why it is not used.
"""

from collections.abc import Collection, Sequence
from difflib import get_close_matches

import polars as pl

from recsys.data import columns
from recsys.data.locations import SourceError

MAX_VALUES = 1_000  # different ones of a text
MAX_USED = 50  # columns of one table, in the order of their names
MAX_CHARACTERS = 256  # of a value


def attribute_names(users: pl.DataFrame) -> list[str]:
    """Return the columns of a table of users that say something about them."""
    return [name for name in users.columns if name not in (columns.USER_ID, columns.UPDATED_AT)]


def check_context(events: pl.DataFrame, names: Sequence[str], known: Collection[str]) -> None:
    """Check that some columns of a table of events can be the context of a request.

    Args:
        events: the table.
        names: of the columns.
        known: columns of the contract, which say something else.

    Raises:
        SourceError: one is absent, of the contract, or holds no texts, numbers or flags.
    """
    own = [name for name in events.columns if name not in known]
    for name in names:
        if name in known:
            raise SourceError(f"context_columns names {name!r}, which is a column of every event. Leave it out.")
        if name not in own:
            near = get_close_matches(name, own, 1)
            meant = f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(own) or 'no others'}."
            raise SourceError(f"context_columns names {name!r}, and the events have no such column.{meant}")
        kind = events.schema[name]
        if not (kind.is_numeric() or kind in (pl.String, pl.Boolean)):
            raise SourceError(f"context_columns names {name!r}, which holds {kind}. Give texts, numbers or flags.")


def unused(table: pl.DataFrame, names: list[str]) -> dict[str, str]:
    """Return those of some columns that make no segments, each with a sentence that says why."""
    found = {name: why for name in names if (why := _why_not(table[name])) is not None}
    usable = sorted(name for name in names if name not in found)
    beyond = f"{MAX_USED} columns before it make segments, and no more do. Leave out what nobody asks for."
    return found | dict.fromkeys(usable[MAX_USED:], beyond)


def _why_not(values: pl.Series) -> str | None:
    given, kept = values.drop_nulls(), "It is kept, and makes no segments."
    different = given.n_unique()
    if different < 2:
        return f"it holds {'the same value everywhere' if different else 'nothing'}. {kept}"
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return None
    if values.dtype != pl.String:
        return f"it holds {values.dtype}; segments are made of text, numbers and flags. {kept}"
    if different > MAX_VALUES:
        return f"it has {different:,} different values; more than {MAX_VALUES:,} make no segments. {kept}"
    if different > len(given) / 2:
        return f"it has {different:,} different values in {len(given):,} rows, nearly one a row. {kept}"
    longest = int(given.str.len_chars().max() or 0)  # type: ignore[arg-type]
    if longest > MAX_CHARACTERS:
        return f"it holds a text of {longest:,} characters; more than {MAX_CHARACTERS} name no segment. {kept}"
    return None
