"""Dials: boosts and an objective over a small catalogue, and how few items may stand out by them."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.ranking.raised import bands, best_of_all
from recsys.selection.catalogue import Catalogue
from recsys.selection.dials import (
    BOOSTED,
    BOOSTS,
    BURIED,
    FAVOURED,
    MOST,
    OBJECTIVE,
    Boost,
    Dials,
    Objective,
    ObjectiveError,
    levels,
)
from recsys.selection.filter_words import LONGEST, words_of
from recsys.selection.filters import FilterError
from recsys.selection.scales import robust

GENRES = [["Comedy"], ["Comedy", "Drama"], ["Drama"], [], None, ["Comedy"]]
CATALOGUE = Catalogue(
    pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(6)],
            "title": [f"T{number}" for number in range(6)],
            "genres": GENRES,
            "margin": [1.0, 2.0, None, 4.0, float("nan"), 100.0],
            "stock": [3, 3, 3, 3, 3, 9],
        }
    )
)
COMEDY, DRAMA = ({"field": "genres", "contains": name} for name in ("Comedy", "Drama"))
STRENGTHS = st.floats(-3, 3, width=32)
SUMS = st.lists(st.sampled_from([-1.5, -0.5, 0.0, 0.25, 1.0, 3.0]), min_size=1, max_size=40)


def test_several_boosts_add_up_to_a_bound_and_say_why() -> None:
    dials = Dials.of(CATALOGUE, [Boost(COMEDY, 2.5), Boost(DRAMA, -1.0), Boost({"field": "stock", "eq": 3}, 1.0)], None)
    assert dials is not None
    assert dials.parts[BOOSTS].tolist() == [MOST, 2.5, 0.0, 1.0, 1.0, 2.5]
    assert dials.reasons(0) == [(BOOSTED, "genres contains Comedy"), (BOOSTED, "stock is 3")]
    assert dials.reasons(2) == []  # one moves it up as far as the other down
    buried = Dials.of(CATALOGUE, [Boost(DRAMA, -1.0)], None)
    assert buried is not None
    assert buried.reasons(1) == [(BURIED, "genres contains Drama")]
    assert buried.reasons(0) == []


def test_dials_at_nothing_are_none_and_are_checked_all_the_same() -> None:
    assert Dials.of(CATALOGUE, [], None) is None
    nothing = [Boost(COMEDY, 0.0), Boost({"field": "title", "eq": "no such title"}, 3.0)]
    assert Dials.of(CATALOGUE, nothing, Objective("margin", 0.0)) is None
    with pytest.raises(FilterError, match="no item field 'colour'") as refused:
        Dials.of(CATALOGUE, [Boost(COMEDY, 1.0), Boost({"all": [{"field": "colour", "eq": "red"}]}, 0.0)], None)
    assert (*refused.value.option, *refused.value.place) == ("boosts", 1, "filter", "all", 0, "field")
    for field, said in (("colour", "no item field"), ("title", "a text; an objective takes a number")):
        with pytest.raises(ObjectiveError, match=said):
            Dials.of(CATALOGUE, [], Objective(field, 0.0))


def test_an_objective_is_measured_from_the_median_and_bounded() -> None:
    dials = Dials.of(CATALOGUE, [], Objective("margin", 0.5))
    assert dials is not None
    found = dials.parts[OBJECTIVE]
    assert found[2] == found[4] == 0.0  # without a number: the median, 3
    assert found[0] < found[1] < 0 < found[3] < found[5] == np.float32(0.5 * MOST)
    assert [dials.reasons(row) for row in (0, 2, 5)] == [[], [], [(FAVOURED, "margin")]]
    equal = Dials.of(CATALOGUE, [], Objective("stock", 1.0))  # more than half are equal: the standard deviation
    assert equal is not None
    assert equal.parts[OBJECTIVE][0] == 0.0 < equal.parts[OBJECTIVE][5]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_standardised_numbers_keep_the_order_within_bounds(values: list[float]) -> None:
    given_ = np.array(values)
    found = robust(given_)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 3
    known = np.isfinite(given_)
    assert not found[~known].any()
    assert (np.diff(found[known][np.argsort(given_[known], kind="stable")]) >= 0).all()


@given(st.lists(STRENGTHS, max_size=6), STRENGTHS, st.floats(0, 3, width=32))
def test_more_strength_never_moves_a_match_down(others: list[float], strength: float, more: float) -> None:
    def summed(own: float) -> np.ndarray:
        dials = Dials.of(CATALOGUE, [*(Boost(DRAMA, one) for one in others), Boost(COMEDY, own)], None)
        return np.zeros(len(CATALOGUE), np.float32) if dials is None else dials.total

    before, after = summed(strength), summed(min(3.0, strength + more))
    matching = CATALOGUE.matching(COMEDY)
    assert (after[matching] >= before[matching]).all()
    assert (after[~matching] == before[~matching]).all()
    assert np.abs(after).max() <= MOST


@given(SUMS, st.integers(1, 12))
def test_levels_are_shared_and_keep_the_order(sums: list[float], least: int) -> None:
    values = np.array(sums, dtype=np.float32)
    found = levels(values, least)
    _, counts = np.unique(found, return_counts=True)
    assert (counts >= min(least, len(values))).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    if least == 1:
        assert (found == values).all()


def test_few_items_do_not_stand_out_where_dials_are_levelled() -> None:
    offered = np.array([True, True, True, True, True, False])
    only = Dials.of(CATALOGUE, [Boost({"field": "title", "eq": "T0"}, 3.0), Boost(COMEDY, 1.0)], None)
    assert only is not None
    level = only.levelled(offered, 2)
    assert level.total.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert only.levelled(offered, 10).total[offered].tolist() == [0.0] * 5
    both = Dials.of(CATALOGUE, [Boost(COMEDY, 1.0)], Objective("margin", 1.0))
    assert both is not None
    assert len(np.unique(both.levelled(offered, 2).total[offered])) == 2


@given(
    st.lists(st.tuples(st.floats(-5, 5, width=32), st.floats(-3, 3, width=32), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 10),
)
def test_the_best_with_dials_are_among_the_candidates(items: list[tuple[float, float, bool]], count: int) -> None:
    scores = np.array([one[0] for one in items], np.float32)
    raised = np.array([one[1] for one in items], np.float32)
    allowed = np.array([one[2] for one in items])
    known = allowed & ((scores != 0) | (raised > 0))
    expected = [row for row in np.lexsort((np.arange(len(items)), -(scores + raised))) if known[row]][:count]
    assert best_of_all(scores, raised, count, allowed).tolist() == expected
    found = bands(raised, allowed)
    assert np.sum(found, axis=0, dtype=int).tolist() == allowed.astype(int).tolist() if found else not allowed.any()


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (COMEDY, "genres contains Comedy"),
        ({"field": "year", "gte": 1990, "lt": 2000}, "year at least 1990 and year below 2000"),
        ({"all": [COMEDY, {"any": [DRAMA, {"field": "available", "eq": True}]}]},
         "genres contains Comedy and (genres contains Drama or available is true)"),
        ({"not": {"field": "margin", "exists": False}}, "not margin is missing"),
        ({"not": {"any": [COMEDY, DRAMA]}}, "not (genres contains Comedy or genres contains Drama)"),
        ({"field": "title", "in": ["A", "B"]}, "title is one of A, B"),
    ],
)  # fmt: skip
def test_a_condition_is_read_as_a_sentence(condition: dict, said: str) -> None:
    assert words_of(condition) == said


def test_a_long_condition_is_cut() -> None:
    assert len(words_of({"field": "title", "in": ["a title"] * 50})) == LONGEST
