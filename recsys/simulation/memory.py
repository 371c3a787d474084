"""What people have bought, and when: by it they are satisfied for a while, or due for another."""

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.people import Rows


class Memory:
    """Last orders of some people, who are counted from 0, by item and by category. Days are fractions, from the first.

    Args:
        people: how many.
        category: (items,) of each item.
        categories: how many.
    """

    def __init__(self, people: int, category: NDArray[np.int64], categories: int) -> None:
        self._category = category
        self._of_category = np.full((people, categories), -np.inf, np.float32)
        self._keys = np.empty(0, np.int64)  # person · items + item, sorted
        self._days = np.empty(0, np.float64)

    def note(self, people: Rows, items: Rows, days: NDArray[np.float64]) -> None:
        """Note orders, (n,) each."""
        np.maximum.at(self._of_category, (people, self._category[items]), days.astype(np.float32))
        keys = people * len(self._category) + items
        order = np.lexsort((days, keys))
        keys, days = keys[order], days[order]
        newest = np.append(keys[1:] != keys[:-1], True)[: len(keys)]
        keys, days = keys[newest], days[newest]
        places = np.searchsorted(self._keys, keys)
        known = places < len(self._keys)
        known[known] = self._keys[places[known]] == keys[known]
        self._days[places[known]] = np.maximum(self._days[places[known]], days[known])
        self._keys = np.insert(self._keys, places[~known], keys[~known])
        self._days = np.insert(self._days, places[~known], days[~known])

    def since_item(self, people: Rows, items: Rows, days: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return days since each item was ordered, (n, m), infinite where it never was."""
        if not len(self._keys):
            return np.full(items.shape, np.inf)
        wanted = people[:, None] * len(self._category) + items
        place = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[place] == wanted, days[:, None] - self._days[place], np.inf)

    def since_category(self, people: Rows, items: Rows, days: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return days since anything of each item's category was ordered, (n, m)."""
        return days[:, None] - self._of_category[people[:, None], self._category[items]]
