"""How new an item is, what it earns by that, and where new items stand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.ranking.exploration import MOST_SHOWN, PERFECT, SHOWN, bonus, novelty, places

SHARES = st.floats(0, 1, width=32, allow_subnormal=False)
COUNTS = st.integers(0, 3_000)


def new(events: float, shown: int, brought: int) -> float:
    return float(novelty(np.array([events], np.float32), np.array([shown]), np.array([brought]))[0])


@given(st.floats(0, 20, width=32), COUNTS, COUNTS)
def test_what_is_seen_more_is_less_new_and_what_brings_more_may_be_seen_more(
    events: float, shown: int, brought: int
) -> None:
    found = new(events, shown, brought)
    assert 0 <= found <= 1
    assert new(events + 1, shown, brought) <= found
    assert new(events, shown + 1, brought) <= found
    assert new(events, shown, brought + 1) >= found
    assert new(events, MOST_SHOWN, brought) == 0


def test_an_item_that_nobody_has_seen_is_new_until_it_was_shown_enough() -> None:
    assert [new(0, shown, 0) for shown in (0, SHOWN // 2, SHOWN)] == [1.0, 0.5, 0.0]
    assert [new(events, 0, 0) for events in (2.5, 5, 500)] == [0.5, 0.0, 0.0]
    assert new(0, SHOWN, 5) == 0.5  # a list in twenty has brought something


@given(SHARES, SHARES, st.floats(-10, 10, width=32), SHARES)
def test_a_bonus_is_bounded_and_grows_with_all_that_speaks_for_it(
    strength: float, new: float, fit: float, more: float
) -> None:
    def of(strength: float, new: float, fit: float) -> float:
        return float(bonus(strength, np.array([new], np.float32), np.array([fit], np.float32))[0])

    found = of(strength, new, fit)
    assert 0 <= found <= strength * 1.0001
    assert found == 0 or (fit > 0 and new > 0)
    assert of(strength + more, new, fit) >= found
    assert of(strength, min(1.0, new + more), fit) >= found
    assert of(strength, new, fit + more) >= found
    assert of(strength, 1.0, PERFECT + more) == pytest.approx(strength)


@given(st.integers(0, 10), st.integers(1, 200))
def test_places_are_spread_over_the_page(slots: int, k: int) -> None:
    found = places(slots, k)
    assert len(set(found)) == len(found) == min(slots, k)
    assert found == sorted(found)
    assert all(1 <= place <= k for place in found)
    gaps = np.diff(found)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
    assert (places(1, 10), places(2, 10), places(3, 10)) == ([5], [3, 8], [2, 5, 9])
