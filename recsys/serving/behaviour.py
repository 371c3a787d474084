"""What the users of a snapshot did, counted as lists need it: by item, by time, by basket.

Everything follows from the histories that an opened generation holds anyway; it is counted when it is first asked for,
and kept. People are counted, not events: who does the same a hundred times moves no list.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from recsys.data import columns
from recsys.data.sequences import EventSignals, Sequences
from recsys.data.signals import Signals
from recsys.errors import UntimedError
from recsys.experts.again import BuyAgain, fit_again
from recsys.experts.audience import Segment
from recsys.serving.users import SnapshotUsers

DAY = 86_400  # seconds
LARGEST_BASKET = 100  # events, the newest: pairs grow with the square
KEPT_BASKETS = 4  # of the pauses asked for last
KEPT_COUNTS = 16  # of the windows asked for last; 8 bytes an item each


class Behaviour:
    """Counts of one snapshot. Safe to share between threads.

    What was chosen are the events that count for their items, and what was bought those that lists shall bring
    (targets), by what events mean to the generation; where all mean the same, both are all events.

    Attributes:
        users: of the snapshot.
        items: how many it has.
    """

    def __init__(self, users: SnapshotUsers, items: int, signals: Signals | None = None) -> None:
        self.users = users
        self.items = items
        self._signals = signals
        self._lock = threading.RLock()
        self._counts: OrderedDict[tuple[int, int, Segment | None], NDArray[np.int64]] = OrderedDict()
        self._baskets: OrderedDict[tuple[bool, int], Baskets] = OrderedDict()

    @property
    def timed(self) -> bool:
        """Whether it is known when events happened."""
        times = self.users.histories.times
        return times is not None and len(times) > 0

    @cached_property
    def last(self) -> int:
        """The time of the newest event, in Unix seconds: what "now" means of a snapshot.

        Raises:
            UntimedError: times are not known.
        """
        return int(self._times(self.users.histories).max())

    @cached_property
    def first_events(self) -> NDArray[np.float64]:
        """(items,) Unix seconds of each item's first event, whatever it means; infinite where it has none.

        Raises:
            UntimedError: times are not known.
        """
        found = np.full(self.items, np.inf)
        np.minimum.at(found, self.users.histories.items, self._times(self.users.histories).astype(np.float64))
        return found

    @cached_property
    def chosen(self) -> Sequences:
        """What users chose, oldest first."""
        return self.users.histories if self._meaning is None else self._only(self._meaning.weights > 0)

    @cached_property
    def bought(self) -> Sequences:
        """What users bought, oldest first."""
        return self.users.histories if self._meaning is None else self._only(self._meaning.targets)

    @cached_property
    def looked(self) -> Sequences | None:
        """What users looked at or chose without buying it, oldest first; None: where all events mean the same."""
        if self._meaning is None:
            return None
        return self._only(~self._meaning.targets & (self._meaning.weights >= 0))

    def people(
        self, since: int | None = None, until: int | None = None, among: Segment | None = None
    ) -> NDArray[np.int64]:
        """Return (items,) how many different people chose each item.

        Args:
            since: Unix seconds; events up to then are left out.
            until: Unix seconds; events after then are left out.
            among: of the snapshot's audience: others than its people are left out.

        Raises:
            UntimedError: a time is given, and times are not known.
        """
        if since is None and until is None and among is None:
            return self._everybody
        window = (0 if since is None else since, self.last if until is None else until, among)
        with self._lock:
            if window in self._counts:
                self._counts.move_to_end(window)
                return self._counts[window]
            times = self._times(self.chosen)
            within = (times > window[0]) & (times <= window[1])
            rows, items = self.chosen.rows()[within], self.chosen.items[within]
            if among is not None:
                assert self.users.audience is not None
                own = np.isin(rows, self.users.audience.members(among))
                rows, items = rows[own], items[own]
            pairs = rows * self.items + items
            found = np.bincount(np.unique(pairs) % self.items, minlength=self.items)
            self._counts[window] = found
            while len(self._counts) > KEPT_COUNTS:
                self._counts.popitem(last=False)
            return found

    @property
    def again(self) -> BuyAgain | None:
        """How likely and how soon each item is bought again; None where nobody has bought one twice."""
        with self._lock:
            return self._again

    @property
    def by_user(self) -> sparse.csr_matrix:
        """(users, items) float32, 1 where a user chose an item."""
        with self._lock:
            return self._by_user

    def together(self, item: int) -> NDArray[np.float32]:
        """Return (items,) how many people chose each item and a given one as well."""
        with self._lock:
            chosen_by = self._by_item[:, item].indices
        return np.asarray(self.by_user[chosen_by].sum(axis=0), dtype=np.float32).ravel()

    def baskets(self, days: int) -> "Baskets":
        """Return what users bought without a pause of so many days; without times all that one user bought."""
        return self._parted(days, self.bought, False)

    def looks(self, days: int) -> "Baskets | None":
        """Return likewise what they looked at without buying it; None: where all events mean the same."""
        return None if self.looked is None else self._parted(days, self.looked, True)

    def _parted(self, days: int, events: Sequences, looks: bool) -> "Baskets":
        with self._lock:
            key = looks, days
            if key not in self._baskets:
                self._baskets[key] = Baskets.of(events, self.items, days * DAY)
            self._baskets.move_to_end(key)
            while len(self._baskets) > KEPT_BASKETS:
                self._baskets.popitem(last=False)
            return self._baskets[key]

    def _times(self, events: Sequences) -> NDArray[np.int64]:
        if not self.timed or events.times is None:
            said = "The events of the snapshot have no known times, so nothing can be said of windows of time."
            raise UntimedError(said)
        return events.times

    def _only(self, events: NDArray[np.bool_]) -> Sequences:
        assert self._meaning is not None
        return self.users.histories.only(events & (self._meaning.kinds >= 0))

    @cached_property
    def _meaning(self) -> EventSignals | None:
        """What each event means; None: all the same."""
        if self._signals is None:
            return None
        users, count = self.users, len(self.users.histories.items)
        told: dict[str, pl.Series] = {columns.TIMESTAMP: pl.repeat(0, count, dtype=pl.Int64, eager=True)}
        if users.histories.times is not None:
            told[columns.TIMESTAMP] = pl.Series(users.histories.times)
        if users.types is not None:
            names = np.array([*users.type_names, None], dtype=object)  # the place -1 is that of none
            told[columns.EVENT_TYPE] = pl.Series(names[users.types], dtype=pl.String)
        if users.values is not None:
            told[columns.VALUE] = pl.Series(users.values).fill_nan(None)
        return self._signals.of_events(pl.DataFrame(told).with_columns(pl.from_epoch(columns.TIMESTAMP)))

    @cached_property
    def _again(self) -> BuyAgain | None:
        return fit_again(self.bought, self.items)

    @cached_property
    def _everybody(self) -> NDArray[np.int64]:
        with self._lock:
            return np.diff(self._by_item.indptr).astype(np.int64)

    @cached_property
    def _by_user(self) -> sparse.csr_matrix:
        return _once(self.chosen.rows(), self.chosen.items, len(self.chosen), self.items)

    @cached_property
    def _by_item(self) -> sparse.csc_matrix:
        return self._by_user.tocsc()


@dataclass(frozen=True, eq=False)
class Baskets:
    """What users chose together.

    Attributes:
        by_basket: (baskets, items) float32, 1 where a basket holds an item.
        by_item: the same, by columns.
    """

    by_basket: sparse.csr_matrix
    by_item: sparse.csc_matrix

    @classmethod
    def of(cls, histories: Sequences, items: int, pause: int) -> "Baskets":
        """Part histories where a user did nothing for longer than a pause, in seconds."""
        rows = histories.rows()
        begins = np.ones(len(rows), dtype=bool)
        begins[1:] = rows[1:] != rows[:-1]
        if histories.times is not None:
            begins[1:] |= np.diff(histories.times) > pause
        basket = np.cumsum(begins) - 1
        count = int(basket[-1]) + 1 if len(basket) else 0
        ends = np.searchsorted(basket, np.arange(count), side="right")
        kept = ends[basket] - np.arange(len(basket)) <= LARGEST_BASKET
        found = _once(basket[kept], histories.items[kept], count, items)
        return cls(found, found.tocsc())

    def __len__(self) -> int:
        return self.by_basket.shape[0]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(items,) how many baskets hold each item."""
        return np.diff(self.by_item.indptr).astype(np.int64)

    def holding(self, item: int) -> NDArray[np.float32]:
        """Return (items,) how many baskets hold each item and a given one as well."""
        return np.asarray(self.by_basket[self.by_item[:, item].indices].sum(axis=0), dtype=np.float32).ravel()


def _once(rows: NDArray[np.integer], columns: NDArray[np.integer], height: int, width: int) -> sparse.csr_matrix:
    """Return a matrix with a 1 at each pair, however often it comes."""
    found = sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(height, width))
    found.sum_duplicates()
    found.data[:] = 1
    return found
