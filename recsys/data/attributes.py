"""Which columns of a table part people, or situations, into segments: few values that many share, or numbers.

A column that does not is kept all the same; the quality report says why it is not used.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import polars as pl

from recsys.data import columns
from recsys.data.compact import compact
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


@dataclass
class Values:
    """What a column holds, taken part by part.

    Attributes:
        kind: its type.
        given: how many values there are.
        different: each of them once.
    """

    kind: pl.DataType
    given: int
    different: pl.Series

    @classmethod
    def of(cls, column: pl.Series) -> "Values":
        """Return the values of a whole column, or of its first part."""
        present = column.drop_nulls()
        return cls(column.dtype, len(present), compact(present.unique().to_frame()).to_series())

    def add(self, column: pl.Series) -> None:
        """Take another part."""
        more = Values.of(column)
        self.given += more.given
        self.different = pl.concat([self.different, more.different]).unique()


def unused(table: pl.DataFrame, names: list[str]) -> dict[str, str]:
    """Return those of some columns that make no segments, each with a sentence that says why."""
    return unused_of({name: Values.of(table[name]) for name in names})


def unused_of(held: Mapping[str, Values]) -> dict[str, str]:
    """Return ``unused`` of columns whose values were taken part by part."""
    found = {name: why for name, values in held.items() if (why := _why_not(values)) is not None}
    usable = sorted(name for name in held if name not in found)
    beyond = f"{MAX_USED} columns before it make segments, and no more do. Leave out what nobody asks for."
    return found | dict.fromkeys(usable[MAX_USED:], beyond)


def _why_not(values: Values) -> str | None:
    different, kind, kept = len(values.different), values.kind, "It is kept, and makes no segments."
    if different < 2:
        return f"it holds {'the same value everywhere' if different else 'nothing'}. {kept}"
    if kind.is_numeric() or kind == pl.Boolean:
        return None
    if kind != pl.String:
        return f"it holds {kind}; segments are made of text, numbers and flags. {kept}"
    if different > MAX_VALUES:
        return f"it has {different:,} different values; more than {MAX_VALUES:,} make no segments. {kept}"
    if different > values.given / 2:
        return f"it has {different:,} different values in {values.given:,} rows, nearly one a row. {kept}"
    longest = int(values.different.str.len_chars().max() or 0)  # type: ignore[arg-type]
    if longest > MAX_CHARACTERS:
        return f"it holds a text of {longest:,} characters; more than {MAX_CHARACTERS} name no segment. {kept}"
    return None
