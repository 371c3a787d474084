"""The files of one table, one after the other: what a column holds follows from all of them, as in one file."""

import itertools

import polars as pl

from recsys.data import columns
from recsys.data.locations import SourceError


def stacked(frames: list[pl.DataFrame], named: str, file: str) -> pl.DataFrame:
    """Return the rows of all files.

    Args:
        frames: the table of each file; they may have other columns, in another order.
        named: what messages call all of them.
        file: the column that names each row's file.

    Raises:
        SourceError: a column holds what does not go together.
    """
    stamps = {frame.schema[columns.TIMESTAMP] for frame in frames if columns.TIMESTAMP in frame.columns}
    if len(stamps) > 1:  # numbers in one file, text in another: each value says for itself what it is
        frames = [frame.with_columns(pl.col(columns.TIMESTAMP).cast(pl.String)) for frame in frames]
    frames = [_decided(frame) for frame in frames] if len(frames) > 1 else frames
    kinds: dict[str, set[pl.DataType]] = {}
    for name, kind in itertools.chain.from_iterable(frame.schema.items() for frame in frames):
        kinds.setdefault(name, set()).update([] if kind == pl.Null else [kind])
    mixed = {name for name, found in kinds.items() if pl.Boolean() in found and len(found) > 1}  # no flag is a number
    empty = {name for name, found in kinds.items() if not found}
    frames = [frame.with_columns(pl.col((mixed | empty) & {*frame.columns}).cast(pl.String)) for frame in frames]
    try:
        return pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        why = _misfit(frames, file) or error
        raise SourceError(f"The files of {named} do not fit together: {why}. Give each column one type.") from error


def _decided(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a file's table; a column in which nothing stands has the type that it has in others."""
    texts = frame.select(pl.col(pl.String)).columns if frame.height else []
    nothing = [name for name in texts if frame[name].null_count() == frame.height]
    return frame.with_columns(pl.lit(None, pl.Null).alias(name) for name in nothing)


def _misfit(frames: list[pl.DataFrame], file: str) -> str | None:
    """Say which column holds lists in one file and none in another."""
    first: dict[str, tuple[str, pl.DataType]] = {}
    for frame in frames:
        place = next(iter(frame[file]), "a file without rows")
        for name, kind in frame.schema.items():
            earlier, other = first.setdefault(name, (place, kind))
            if isinstance(kind, pl.List) != isinstance(other, pl.List):
                return f"{name} holds {other} in {earlier} and {kind} in {place}"
    return None
