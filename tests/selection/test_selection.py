"""Choosing a list from scored candidates: laws of diversity, limits and promotions."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.selection.catalogue import KEPT_MASKS, Catalogue
from recsys.selection.selection import LimitError, Limits, choose, place_promoted
from recsys.serving.fusion import fused_scores

ITEMS = 60
RANDOM = np.random.default_rng(0)
BRANDS = [None if item % 11 == 0 else "acme" if item < 40 else f"brand{item % 7}" for item in range(ITEMS)]
TAGS = [[f"t{item % 5}", f"t{item % 3}"] if item % 4 else None for item in range(ITEMS)]
CATALOGUE = Catalogue(
    pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(ITEMS)],
            "title": [f"Item {item}" for item in range(ITEMS)],
            "brand": BRANDS,
            "tags": TAGS,
            "available": [None if item % 2 else item != 4 for item in range(ITEMS)],
        }
    )
)
VECTORS = RANDOM.standard_normal((ITEMS, 4)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
SCORES = st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 7.0]), min_size=ITEMS, max_size=ITEMS).map(
    lambda values: np.array(values, dtype=np.float32)
)


def best(scores, at_a_time=None):
    """Proposes the best of what is allowed, a few at a time as a search does."""

    def propose(allowed, needed):
        rows = np.flatnonzero(allowed)
        rows = rows[np.lexsort((rows, -scores[rows]))][: max(needed, at_a_time or ITEMS)]
        return rows, scores[rows]

    return propose


def everything():
    return np.ones(ITEMS, dtype=bool)


def counted(rows, cells):
    values = [cells[row] if isinstance(cells[row], list) else [cells[row]] for row in rows if cells[row] is not None]
    return Counter(value for cell in values for value in set(cell))


@given(SCORES, st.integers(1, 70))
def test_without_wishes_the_best_are_chosen_and_ties_go_by_row(scores, k):
    rows, values = choose(best(scores), everything(), k, Limits(CATALOGUE, {}), 0.0, VECTORS)
    expected = sorted(range(ITEMS), key=lambda row: (-scores[row], row))[:k]
    assert rows.tolist() == expected
    assert values.tolist() == scores[expected].tolist()


@given(SCORES, st.integers(1, 30), st.integers(1, 3), st.integers(1, 6), st.sampled_from([0.0, 0.5]))
def test_limits_hold_and_leave_no_place_empty(scores, k, brand, tag, diversity):
    limits = Limits(CATALOGUE, {"brand": brand, "tags": tag})
    rows, _ = choose(best(scores, at_a_time=4), everything(), k, limits, diversity, VECTORS)
    assert len(set(rows.tolist())) == len(rows)
    brands, tags = counted(rows, BRANDS), counted(rows, TAGS)
    assert max(brands.values(), default=0) <= brand
    assert max(tags.values(), default=0) <= tag
    if len(rows) < k:  # then nothing is left that would fit
        for row in set(range(ITEMS)) - set(rows.tolist()):
            assert brands[BRANDS[row]] >= brand or any(tags[value] >= tag for value in TAGS[row] or ())


@given(SCORES, st.integers(1, 20))
def test_limits_choose_greedily_by_score(scores, k):
    rows, _ = choose(best(scores), everything(), k, Limits(CATALOGUE, {"brand": 2}), 0.0, VECTORS)
    expected, seen = [], Counter()
    for row in sorted(range(ITEMS), key=lambda row: (-scores[row], row)):
        if len(expected) < k and (BRANDS[row] is None or seen[BRANDS[row]] < 2):
            expected.append(row)
            seen[BRANDS[row]] += 1
    assert rows.tolist() == expected


@given(SCORES, st.integers(1, 12), st.floats(0.01, 1))
def test_diversity_is_maximal_marginal_relevance(scores, k, dial):
    rows, _ = choose(best(scores), everything(), k, Limits(CATALOGUE, {}), dial, VECTORS)
    spread = scores.max() - scores.min()
    relevance = (scores - scores.min()) / spread if spread else np.zeros(ITEMS)
    chosen = []
    while len(chosen) < k:
        gains = (1 - dial) * relevance - dial * (VECTORS @ VECTORS[chosen].T).max(axis=1) if chosen else relevance
        gains = np.where(np.isin(np.arange(ITEMS), chosen), -np.inf, gains)
        assert gains[rows[len(chosen)]] >= gains.max() - 1e-5
        chosen.append(rows[len(chosen)])
    assert scores[rows[0]] == scores.max()


@given(st.lists(st.integers(0, 99), unique=True, max_size=10), st.sets(st.integers(1, 12), max_size=4))
def test_promoted_items_stand_in_their_slots(others, slots):
    promoted = {slot: 100 + slot for slot in slots}
    placed = place_promoted(others, promoted)
    assert [row for row in placed if row < 100] == others
    if len(placed) >= max(slots, default=0):
        assert all(placed[slot - 1] == row for slot, row in promoted.items())


def test_what_cannot_be_counted_is_refused():
    for field in ("nothing", "made_of"):
        catalogue = Catalogue(CATALOGUE.items.with_columns(made_of=pl.struct("brand", "title")))
        with pytest.raises(LimitError, match=field):
            choose(best(np.ones(ITEMS)), everything(), 3, Limits(catalogue, {field: 1}), 0.0, VECTORS)


def test_what_is_not_available_is_never_allowed():
    assert np.flatnonzero(~CATALOGUE.allowed(None)).tolist() == [4]
    assert not CATALOGUE.allowed({"field": "item_id", "eq": "i4"}).any()


def test_a_filter_that_is_asked_again_gives_a_mask_of_its_own():
    condition = {"field": "brand", "eq": "acme"}
    expected = CATALOGUE.allowed(condition)
    CATALOGUE.allowed(condition)[:] = False
    for number in range(2 * KEPT_MASKS):
        CATALOGUE.allowed({"field": "item_id", "eq": f"i{number}"})
    assert (CATALOGUE.allowed(dict(condition)) == expected).all()
    assert CATALOGUE.allowed({"field": "brand", "exists": True}).sum() > expected.sum()


def test_titles_are_found_whatever_their_case_and_punctuation():
    assert CATALOGUE.titled("  ITEM: 7!") == [7]
    assert CATALOGUE.titled("Item") == []


def test_fusion_follows_the_meaning_unless_nearly_all_of_a_query_was_found():
    cosines = np.array([0.6, 0.2, 0.5, 0.5])
    assert fused_scores(cosines, np.zeros(4)) == pytest.approx(cosines)
    assert fused_scores(cosines, np.array([0, 0.5, 0, 0])).argmax() == 0
    assert fused_scores(cosines, np.array([0, 0.9, 0, 0])).argmax() == 1
    assert fused_scores(cosines, np.array([0, 1, 0, 1])).argmax() == 3
