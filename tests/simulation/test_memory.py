"""What people bought is remembered as a table would have it, in whatever order it is told."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.simulation.memory import Memory

ITEMS, PEOPLE, CATEGORY = 6, 4, np.array([0, 0, 1, 1, 2, 2])
orders = st.lists(st.tuples(st.integers(0, PEOPLE - 1), st.integers(0, ITEMS - 1), st.integers(0, 99)), max_size=12)


@given(st.lists(orders, max_size=4))
def test_the_last_order_of_each_item_and_category_is_known(told: list[list[tuple[int, int, int]]]) -> None:
    memory = Memory(PEOPLE, CATEGORY, 3)
    items, categories = np.full((PEOPLE, ITEMS), np.inf), np.full((PEOPLE, 3), np.inf)
    for some in told:
        rows = np.array(some, dtype=np.int64).reshape(-1, 3)
        memory.note(rows[:, 0], rows[:, 1], rows[:, 2].astype(np.float64))
        for person, item, day in some:
            items[person, item] = min(items[person, item], 100 - day)
            categories[person, CATEGORY[item]] = min(categories[person, CATEGORY[item]], 100 - day)
    everybody, everything = np.arange(PEOPLE), np.tile(np.arange(ITEMS), (PEOPLE, 1))
    now = np.full(PEOPLE, 100.0)
    np.testing.assert_array_equal(memory.since_item(everybody, everything, now), items)
    np.testing.assert_array_equal(memory.since_category(everybody, everything, now), categories[:, CATEGORY])
