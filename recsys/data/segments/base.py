"""The segments that another snapshot has, while events join them: which stay as they are, and which are made anew."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.data.segments import trie
from recsys.data.segments.counted import NAMES, Counted
from recsys.data.segments.keys import in_order
from recsys.data.segments.leaf import Segment
from recsys.data.segments.reading import SegmentFiles
from recsys.data.segments.totals import Totals
from recsys.data.segments.trie import TIME_BITS, USER_BITS, Node, node_named


@dataclass(frozen=True)
class _Kept:
    """A segment of the base: its node, and the steps and hashes of users that lead into it, from the least."""

    segment: Segment
    node: Node

    @property
    def first(self) -> int:
        """The least path into it."""
        return self.node.prefix << (trie.BITS - self.node.bits)

    @property
    def last(self) -> int:
        """The greatest path into it."""
        return self.first | ((1 << (trie.BITS - self.node.bits)) - 1)


class Base:
    """Segments from the oldest. Each is left as it is until something touches it.

    Args:
        files: of the segments.
        totals: counts of all events in them; None: nobody knows.
        times_known: whether every event's time is real.
        counted: the keys of all events in them; None: nobody knows.
    """

    def __init__(
        self,
        files: SegmentFiles,
        totals: Totals | None = None,
        times_known: bool = False,
        counted: Counted | None = None,
    ) -> None:
        self.files = files
        self.totals = totals
        self.times_known = times_known
        self.counted = counted
        self.taken: Counter[str | None] = Counter()  # events that were given out, by type
        self.removed = 0  # events that were given out and are not among those that come back
        self._all = [_Kept(one, node_named(one.node)) for one in files.segments]
        self._touched = np.zeros(len(self._all), dtype=bool)
        self._last_steps = np.array([one.last >> USER_BITS for one in self._all], dtype=np.int64)

    @property
    def untouched(self) -> SegmentFiles:
        """The segments that stay as they are."""
        return self.files.of([one for _, one in self.kept])

    @property
    def kept(self) -> list[tuple[int, Segment]]:
        """Segments that nothing has touched, each with a path into it, from the oldest."""
        return [(one.first, one.segment) for one, gone in zip(self._all, self._touched, strict=True) if not gone]

    def touch(self, events: pl.DataFrame) -> None:
        """Take note of events that join: the segments where they belong are made anew."""
        steps = trie.steps(events[columns.TIMESTAMP])
        distinct = in_order(steps)
        places = np.searchsorted(self._last_steps, distinct)
        for step, place in zip(distinct.tolist(), places.tolist(), strict=True):
            hashes: NDArray[np.uint64] | None = None
            while place < len(self._all) and (self._all[place].first >> USER_BITS) <= step:
                one = self._all[place]
                if one.node.bits <= TIME_BITS:
                    self._touched[place] = True
                elif not self._touched[place]:
                    if hashes is None:
                        hashes = trie.users_hashed(events[columns.USER_ID].filter(pl.Series(steps == step)))
                    shift = np.uint64(trie.BITS - one.node.bits)
                    prefix = np.uint64(one.node.prefix & ((1 << (one.node.bits - TIME_BITS)) - 1))
                    self._touched[place] = bool(np.any(hashes >> shift == prefix))
                place += 1

    def touch_named(self, hashes: pl.Series) -> None:
        """Take note of ids of events that join, by their hashes: a segment that has one is made anew."""
        if columns.EVENT_ID not in self.files.schema or hashes.is_empty():
            return
        if self.counted is not None and not self.counted.holds(NAMES, in_order(hashes.to_numpy())).any():
            return
        for place, scan in enumerate(self.files.scans(columns.EVENT_ID)):
            if not self._touched[place]:
                found = scan.select(pl.col(columns.EVENT_ID).drop_nulls().hash().is_in(hashes.implode()).any())
                self._touched[place] = bool(found.collect().item())

    def touch_users(self, among: Callable[[list[str]], set[str]]) -> None:
        """Take note of users: a segment that holds one of them is made anew.

        Args:
            among: returns which of some users are meant.
        """
        meant: set[str] = set()
        seen: set[str] = set()
        for place, scan in enumerate(self.files.scans(columns.USER_ID)):
            users = set(scan.select(pl.col(columns.USER_ID).unique()).collect().to_series().to_list())
            meant |= among(list(users - seen))
            seen |= users
            self._touched[place] |= not meant.isdisjoint(users)

    def touch_types(self, schema: pl.Schema) -> None:
        """Take note of the types that columns will have: a segment where one has another is made anew."""
        for place, (segment, gone) in enumerate(zip(self.files.segments, self._touched, strict=True)):
            if not gone:
                there = pl.scan_parquet(self.files.path(segment), glob=False).collect_schema()
                self._touched[place] = any(schema[name] != kind for name, kind in there.items())

    def dissolved(self) -> Iterator[pl.DataFrame]:
        """Yield the events of the segments that are made anew."""
        touched = [one.segment for one, gone in zip(self._all, self._touched, strict=True) if gone]
        for part in self.files.of(touched).verified().frames():
            self.take(part)
            yield part

    def take(self, events: pl.DataFrame) -> None:
        """Take note of events that are given out, all of a segment's."""
        if columns.EVENT_TYPE in events.columns:
            self.taken.update(dict(events[columns.EVENT_TYPE].value_counts().iter_rows()))
        else:
            self.taken[None] += events.height

    def among(self, units: Iterable[pl.DataFrame]) -> Iterator[tuple[int, "pl.DataFrame | Segment"]]:
        """Yield events and the segments that stay, from the oldest, each with a path into it.

        Args:
            units: events of nodes, from the oldest, none of them in a segment that stays; one may lie around such.
                What touches segments is asked for before the first of them comes.
        """
        coming = iter(units)
        first = next(coming, None)
        kept, done = self.kept, 0
        marks = [path for path, _ in kept]
        for unit in () if first is None else chain([first], coming):
            places = _places(unit, marks)
            for place in in_order(places).tolist():
                yield from kept[done:place]
                done = max(done, place)
                own = unit.filter(pl.Series(places == place))
                before, behind = (marks[at] if 0 <= at < len(marks) else None for at in (place - 1, place))
                yield from _parted(own, before, behind)
        yield from kept[done:]


def _parted(events: pl.DataFrame, before: int | None, behind: int | None) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield events in nodes that lie between two segments, from the oldest, each with a path into it.

    A node holds all that parts from one of the segments at the same bit.
    """
    steps = trie.steps(events[columns.TIMESTAMP])
    near = _shared(before, steps, events)
    far = _shared(behind, steps, events)
    groups = np.where(near >= far, -near, trie.BITS + far)
    for group in in_order(groups).tolist():
        own = events.filter(pl.Series(groups == group))
        yield trie.path_of(own), own


def _shared(path: int | None, steps: NDArray[np.int64], events: pl.DataFrame) -> NDArray[np.int64]:
    """Return how many bits the path of each event has in common with another one; -1 where there is no other."""
    if path is None:
        return np.full(len(steps), -1, dtype=np.int64)
    apart = steps ^ (path >> USER_BITS)
    found = TIME_BITS - _bit_length(apart)
    same = apart == 0
    if same.any():
        hashes = trie.users_hashed(events[columns.USER_ID].filter(pl.Series(same)))
        rest = hashes ^ np.uint64(path & ((1 << USER_BITS) - 1))
        high, low = (rest >> np.uint64(32)).astype(np.int64), (rest & np.uint64(0xFFFFFFFF)).astype(np.int64)
        found[same] = trie.BITS - np.where(high > 0, 32 + _bit_length(high), _bit_length(low))
    return found


def _bit_length(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bits of numbers below 2^53."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)


def _places(events: pl.DataFrame, marks: Sequence[int]) -> NDArray[np.int64]:
    """Return for each event how many of some ascending paths lie before its own."""
    steps = trie.steps(events[columns.TIMESTAMP])
    of_marks = np.array([path >> USER_BITS for path in marks], dtype=np.int64)
    places = np.searchsorted(of_marks, steps, side="left").astype(np.int64)
    for step in np.intersect1d(steps, of_marks).tolist():
        own = steps == step
        hashes = trie.users_hashed(events[columns.USER_ID].filter(pl.Series(own)))
        here = np.array([path & ((1 << USER_BITS) - 1) for path in marks if path >> USER_BITS == step], dtype=np.uint64)
        places[own] += np.searchsorted(here, hashes, side="right")
    return places
