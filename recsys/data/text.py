"""An item as the text that BERT reads: ``Toy Story | year: 1995 | genres: Animation, Comedy``.

The title comes first, then named fields, each with its name, so that a value without context ("OPI") still says what
it is. Absent values are left out. Which fields are read follows from the catalogue, or the configuration names them.
"""

import polars as pl

from recsys.config import TextConfig
from recsys.data import columns
from recsys.errors import SettingError

_NEVER = (columns.ITEM_ID, columns.TITLE, columns.AVAILABLE, columns.UPDATED_AT)
_UNIQUE_SHARE = 0.9  # values that are nearly all different and hold no blank are codes, not words


def item_texts(items: pl.DataFrame, config: TextConfig) -> list[str]:
    """Return one text for each row of a catalogue, in its order.

    Raises:
        SettingError: ``config.fields`` names a column that the catalogue does not have.
    """
    fields = chosen_fields(items, config)
    named = [pl.lit(f"{_label(name)}: ") + _shown(items, name) for name in fields]  # null where the value is
    text = pl.concat_str([_shown(items, columns.TITLE), *named], separator=columns.SEPARATOR, ignore_nulls=True)
    return items.select(text.alias("text")).to_series().to_list()


def chosen_fields(items: pl.DataFrame, config: TextConfig) -> tuple[str, ...]:
    """Return the columns that are read after the title, in reading order.

    By default: columns of strings, of lists of strings and of whole numbers that look like years, unless they are ids,
    links or codes, or mostly longer than ``config.max_field_characters``. The shortest come first: what is cut off at
    ``max_tokens`` is then the end of the longest.

    Raises:
        SettingError: ``config.fields`` names a column that the catalogue does not have.
    """
    if config.fields is not None:
        missing = [name for name in config.fields if name not in items.columns]
        if missing:
            raise SettingError(f"items have no column {missing[0]!r} to read; they have {', '.join(items.columns)}.")
        return tuple(name for name in config.fields if name != columns.TITLE)
    lengths = {name: _readable_length(items, name) for name in items.columns if name not in _NEVER}
    readable = [(length, name) for name, length in lengths.items() if 0 < length <= config.max_field_characters]
    return tuple(name for _, name in sorted(readable))


def _readable_length(items: pl.DataFrame, name: str) -> float:
    """Return the median length of a column's values in characters, or 0 if it is not to be read."""
    values = items[name]
    if values.dtype.is_integer():
        return 4.0 if values.drop_nulls().len() and values.drop_nulls().is_between(1800, 2100).all() else 0.0
    if values.dtype not in (pl.String, pl.List(pl.String)):
        return 0.0
    shown = items.select(_shown(items, name)).to_series().drop_nulls()
    if shown.is_empty():
        return 0.0
    links, spaced, length = (
        shown.to_frame("value")
        .select(
            pl.col("value").str.contains(r"^(https?://|www\.)").mean().alias("links"),
            pl.col("value").str.contains(" ").mean().alias("spaced"),
            pl.col("value").str.len_chars().median().alias("length"),
        )
        .row(0)
    )
    # A catalogue of a few items cannot show that its values would repeat.
    is_code = len(shown) >= 20 and shown.n_unique() > _UNIQUE_SHARE * len(shown) and spaced < 1 - _UNIQUE_SHARE
    return 0.0 if is_code or links > 0.5 else float(length)


def _shown(items: pl.DataFrame, name: str) -> pl.Expr:
    """Return a column as text on one line, null where there is nothing to show."""
    value = pl.col(name)
    if isinstance(items.schema[name], pl.List):
        value = value.cast(pl.List(pl.String)).list.drop_nulls().list.join(", ")
    line = value.cast(pl.String).str.replace_all(r"[\s\p{Cc}]+", " ").str.strip_chars()
    return pl.when(line != "").then(line)


def _label(name: str) -> str:
    return name.replace("_", " ")
