"""What people asked for and what they chose: pairs of a query and an item, and which queries are held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import digest
from recsys.data.columns import ITEM_ID
from recsys.data.kept import as_texts
from recsys.data.parsing import infer_decimals, may_have_decimals, parse_numbers
from recsys.data.sources import SourceError, read_columns
from recsys.errors import DataError

QUERY, WEIGHT = "query", "weight"
SHARES = 16**8  # of a digest's first digits


@dataclass(frozen=True)
class Asked:
    """One query, and the rows of all items that were chosen after it.

    Attributes:
        text: with single blanks; queries that differ in case alone are one.
        rows: (chosen,) of the catalogue, ascending.
        weights: (chosen,) positive; how often each was chosen, or as given.
    """

    text: str
    rows: NDArray[np.int64]
    weights: NDArray[np.float64]


def read_pairs(path: Path) -> pl.DataFrame:
    """Return ``query``, ``item_id`` and ``weight`` of a table: Parquet, CSV, TSV or NDJSON; other columns are left out.

    Raises:
        SourceError: it cannot be read, lacks a column, holds no row, a query or an item is missing, or a weight is not
            a positive number.
    """
    table = read_columns(path)
    for name in (QUERY, ITEM_ID):
        if name not in table.columns:
            raise SourceError(f"{path.name} has no column {name!r}; it has {', '.join(table.columns)}.")
    if table.is_empty():
        raise SourceError(f"{path.name} holds no pairs.")
    text = as_texts(table[QUERY], path.name).str.replace_all(r"\s+", " ").str.strip_chars()
    weight = _numbers(table[WEIGHT]) if WEIGHT in table.columns else pl.repeat(1.0, table.height, eager=True)
    pairs = pl.DataFrame([text, as_texts(table[ITEM_ID], path.name, ids=True), weight.alias(WEIGHT)])
    good = (pl.col(QUERY) != "") & (pl.col(ITEM_ID) != "") & pl.col(WEIGHT).is_finite() & (pl.col(WEIGHT) > 0)
    bad = pairs.select(good.fill_null(False).not_().arg_true())[QUERY]
    if len(bad):
        raise SourceError(
            f"{path.name}, row {bad[0] + 1}: a pair needs a query, an item_id and, where there are weights, a positive "
            "one. Correct the row, or leave it out."
        )
    return pairs


def _numbers(raw: pl.Series) -> pl.Series:
    if may_have_decimals(raw):
        raw = infer_decimals(raw, None, local=True)
    return parse_numbers(raw)


def asked_of(pairs: pl.DataFrame, item_ids: Sequence[str]) -> list[Asked]:
    """Return the different queries of some pairs, by text; what the catalogue does not hold is left out.

    Raises:
        DataError: fewer than two queries are left, or all of them chose one item.
    """
    places: Mapping[str, int] = {item_id: row for row, item_id in enumerate(item_ids)}
    chosen: dict[str, dict[int, float]] = {}
    shown: dict[str, str] = {}
    for text, item_id, weight in pairs.select(QUERY, ITEM_ID, WEIGHT).iter_rows():
        if item_id in places:
            key = text.casefold()
            shown[key] = min(shown.get(key, text), text)
            own = chosen.setdefault(key, {})
            own[places[item_id]] = own.get(places[item_id], 0.0) + weight
    asked = []
    for key in sorted(chosen):
        rows = sorted(chosen[key])
        asked.append(Asked(shown[key], np.array(rows), np.array([chosen[key][row] for row in rows])))
    if len(asked) < 2 or len({row for one in asked for row in one.rows.tolist()}) < 2:
        raise DataError(
            f"{len(asked)} different queries of these pairs chose items of the catalogue, and learning takes two that "
            "chose different ones. Check that item_id is what the catalogue calls its items."
        )
    return asked


def split_asked(asked: Sequence[Asked], share: float, seed: int) -> tuple[list[Asked], list[Asked]]:
    """Return the queries to learn from and those held out, at least one each.

    Each query's lot is drawn by its own text, so that it stays on its side when others are added.
    """
    lots = [int(digest(f"{seed} {one.text.casefold()}".encode())[:8], 16) / SHARES for one in asked]
    order = sorted(range(len(asked)), key=lambda place: (lots[place], place))
    count = min(max(1, sum(lot < share for lot in lots)), len(asked) - 1)
    held_out = set(order[:count])
    learnt = [one for place, one in enumerate(asked) if place not in held_out]
    return learnt, [asked[place] for place in sorted(held_out)]
