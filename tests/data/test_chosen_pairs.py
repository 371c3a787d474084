"""Pairs of queries and items from files, and which queries are held out."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.pairs import asked_of, read_pairs, split_asked
from recsys.data.sources import SourceError
from recsys.errors import DataError

ITEMS = ["a", "b", "c"]


def test_queries_that_differ_in_case_and_blanks_are_one(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        "query,item_id,weight\nLost  parcel,a,1\nlost parcel ,b,2\nLOST PARCEL,a,1\nrefund,c,1\nold,gone,1\n"
    )
    asked = asked_of(read_pairs(path), ITEMS)
    assert [one.text.casefold() for one in asked] == ["lost parcel", "refund"]
    assert asked[0].rows.tolist() == [0, 1]
    assert asked[0].weights.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"question": ["x"], "item_id": ["a"]}, "no column 'query'"),
        ({"query": ["x"]}, "no column 'item_id'"),
        ({"query": ["x", " "], "item_id": ["a", "a"]}, "row 2"),
        ({"query": ["x", "y"], "item_id": ["a", None]}, "row 2"),
        ({"query": ["x"], "item_id": ["a"], "weight": [0.0]}, "row 1"),
        ({"query": pl.Series([], dtype=pl.String), "item_id": pl.Series([], dtype=pl.String)}, "no pairs"),
    ],
)
def test_a_table_that_is_none_is_refused_with_the_row(tmp_path, columns, says):
    path = tmp_path / "pairs.parquet"
    pl.DataFrame(columns).write_parquet(path)
    with pytest.raises(SourceError, match=says):
        read_pairs(path)


def test_pairs_of_another_catalogue_are_told(tmp_path):
    path = tmp_path / "pairs.parquet"
    pl.DataFrame({"query": ["x", "y"], "item_id": ["z", "a"]}).write_parquet(path)
    with pytest.raises(DataError, match="1 different queries"):
        asked_of(read_pairs(path), ITEMS)


@given(st.sets(st.text("abcdef", min_size=1, max_size=4), min_size=2, max_size=30), st.integers(0, 5))
def test_a_query_is_on_one_side_and_stays_there_when_others_are_added(texts, seed):
    pairs = pl.DataFrame({"query": sorted(texts), "item_id": [ITEMS[place % 3] for place in range(len(texts))]})
    asked = asked_of(pairs.with_columns(weight=pl.lit(1.0)), ITEMS)
    learnt, held_out = split_asked(asked, 0.3, seed)
    assert learnt
    assert held_out
    assert sorted([one.text for one in learnt] + [one.text for one in held_out]) == [one.text for one in asked]
    more = pairs.vstack(pl.DataFrame({"query": [f"new {place}" for place in range(9)], "item_id": ["a"] * 9}))
    _, later = split_asked(asked_of(more.with_columns(weight=pl.lit(1.0)), ITEMS), 0.3, seed)
    if 1 < len(held_out) < len(asked) - 1:
        assert {one.text for one in held_out} <= {one.text for one in later}
    np.testing.assert_array_equal(held_out[0].weights, 1)
