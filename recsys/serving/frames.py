"""Ranked answers, to frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from recsys.data.columns import ITEM_ID, RANK, SCORE


def ranked(
    key: str, answers: Mapping[str, Sequence[Any]], items: pl.DataFrame, fields: Sequence[str], **more: pl.Series
) -> pl.DataFrame:
    """Return ranked items as a frame: the key, rank from 1, item_id, score, then the fields, then what is more.

    Args:
        key: what the first column is called.
        answers: items with ``item_id``, ``score`` and ``fields``, best first, by what was asked.
        items: the catalogue, which says of what types the fields are.
        fields: columns of it. One whose name is taken is called ``item_<name>``.
        more: further columns, a value a row.
    """
    rows = [(asked, rank, item) for asked, found in answers.items() for rank, item in enumerate(found, 1)]
    columns = {
        key: pl.Series([asked for asked, _, _ in rows], dtype=pl.String),
        RANK: pl.Series([rank for _, rank, _ in rows], dtype=pl.Int32),
        ITEM_ID: pl.Series([item.item_id for _, _, item in rows], dtype=pl.String),
        SCORE: pl.Series([item.score for _, _, item in rows], dtype=pl.Float64),
    }
    taken = {*columns, *more}
    for name in dict.fromkeys(fields):
        if name != ITEM_ID:
            values = pl.Series([item.fields[name] for _, _, item in rows], dtype=items.schema[name])
            columns[f"item_{name}" if name in taken else name] = values
    return pl.DataFrame(columns | more)
