"""From nodes of events, the oldest first, to the table of a snapshot: one file, or segments that others can share."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recsys.data import columns
from recsys.data.content import arranged, canonical, schema_of
from recsys.data.repeats import Repeats, measure_repeats
from recsys.data.segments import trie
from recsys.data.segments.base import Base
from recsys.data.segments.counted import Counted
from recsys.data.segments.leaf import SUFFIX, Segment, as_leaf, leaf_hash, share, write_leaf
from recsys.data.segments.reading import SCHEMA
from recsys.data.segments.room import Room
from recsys.data.segments.settling import Settling
from recsys.data.segments.tally import TALLIED, Tally
from recsys.data.segments.totals import Totals


@dataclass(frozen=True)
class EventTable:
    """All events of a snapshot that is being made.

    Attributes:
        rows: how many.
        users: who did something.
        times_known: whether every event's time is real.
        schema: types by column, as a manifest has them.
        repeats: how often users came back.
        frame: the events in their order, where there are few enough for one file; None: they are in segments.
        segments: from the oldest.
        folder: where the files of the segments lie, and ``SCHEMA``; None: nowhere.
        newest: time of the newest event that was looked at, microseconds since 1970; None: none was.
        totals: counts by which others that join are counted; None: events are few.
        counted: keys by which others that join are counted, with the digests of files that are shared; None: none are.
        shared: by node those files of it that another snapshot has as well, under the name that they have there.
    """

    rows: int
    users: int
    times_known: bool
    schema: dict[str, str]
    repeats: Repeats | None
    frame: pl.DataFrame | None = None
    segments: list[Segment] = field(default_factory=list)
    folder: Path | None = None
    shared: dict[str, str] = field(default_factory=dict)
    newest: int | None = None
    totals: Totals | None = None
    counted: Counted | None = None

    @classmethod
    def of(cls, events: pl.DataFrame) -> "EventTable":
        """Return the table of some events in their order, few enough for one file."""
        if events.is_empty():
            return cls(0, 0, True, schema_of(events), None, frame=events)
        known = columns.TIMESTAMP_KNOWN not in events.columns or events[columns.TIMESTAMP_KNOWN].fill_null(True).all()
        users = events[columns.USER_ID].n_unique()
        return cls(
            events.height,
            users,
            bool(known),
            schema_of(events),
            measure_repeats(events),
            events,
            newest=newest_of(events),
        )


class Building:
    """Takes events node by node.

    Args:
        room: where files are written, if any must be.
        keep: write segments; else all is counted and nothing kept.
        base: segments that stay as they are where no events join them; None: there are none.
        like: a table without rows whose columns and types all events shall have; None: theirs.
    """

    def __init__(
        self, room: Room, keep: bool = True, base: Base | None = None, like: pl.DataFrame | None = None
    ) -> None:
        self._room = room
        self._keep = keep
        self._base = base
        self._tally = Tally(room, () if base is None or base.counted is None else base.counted.types)
        self._settling = Settling(self)
        self._leaves: list[tuple[int, str, Segment]] = []
        self._newest: int | None = None
        self._shared: list[Segment] = []
        self._columns = pl.DataFrame() if like is None else like.clear()

    def build(self, units: Iterable[pl.DataFrame]) -> EventTable:
        """Return the table of events.

        Args:
            units: all events of a node each, in any order, without duplicates; the nodes from the oldest.
        """
        if self._base is None:
            for unit in units:
                self._add(unit, None)
            return self._end()
        for path, part in self._base.among(units):
            if isinstance(part, Segment):
                self._settling.add_stored(path, part)
            else:
                self._add(part, path)
        return self._end()

    def _add(self, events: pl.DataFrame, path: int | None) -> None:
        self._columns = pl.concat([self._columns, events.clear()], how="diagonal_relaxed")
        if events.is_empty():
            return
        events = pl.concat([self._columns, events], how="diagonal_relaxed")
        if events.height <= trie.LEAF_ROWS:
            events = canonical(events, "events")
        self._settling.add(trie.path_of(events) if path is None else path, events)

    def _end(self) -> EventTable:
        """Return the table of all events."""
        whole = self._settling.end()
        if whole is not None:
            return EventTable.of(canonical(pl.concat([self._columns, whole], how="diagonal_relaxed"), "events"))
        if not self._leaves:
            return EventTable.of(self._columns)
        totals, keys = self._counts()
        ordered = sorted(self._leaves, key=lambda one: one[0])
        folder, shared = self._room.folder("leaves"), {}
        segments = []
        for node, (_, name, leaf) in zip(trie.nodes_of([path for path, *_ in ordered]), ordered, strict=True):
            segments.append(Segment(node.name, leaf.rows, leaf.hash))
            if self._keep:
                (folder / name).rename(folder / f"{node.name}{SUFFIX}")
            if leaf.node:
                shared[node.name] = leaf.node
        kept = arranged(self._columns, "events")
        kept.write_parquet(folder / SCHEMA)
        counted = (totals.all.rows, totals.all.users, self._tally.times_known, schema_of(kept), totals.repeats)
        if not self._keep:
            return EventTable(*counted, None, segments, None, shared, self._newest, totals)
        return EventTable(*counted, None, segments, folder, shared, self._newest, totals, keys)

    def _counts(self) -> tuple[Totals, Counted | None]:
        """Return the counts and keys of all events; segments that are shared are read if theirs are not known."""
        base, folder = self._base, self._room.folder("counted") if self._keep else None
        known = None if base is None or not base.times_known or base.removed or not self._shared else base.counted
        if base is not None and base.totals is not None and known is not None:
            self._tally.leave(base.taken)
            totals = self._tally.totals(folder, base.totals, known)
        else:
            known = None
            if base is not None:
                names = [name for name in TALLIED if name in base.files.schema]
                for part in base.files.of(self._shared).frames(names):
                    self._tally.add(part)
            totals = self._tally.totals(folder)
        shared = {} if known is None else known.digests
        return totals, None if folder is None else Counted(folder, self._tally.types, shared)

    def write(self, path: int, events: pl.DataFrame, ordered: bool = True) -> None:
        """See ``settling.Keeper``."""
        events = events if ordered else canonical(events, "events")
        leaf = as_leaf(events)
        name = self._take(path, Segment("", leaf.height, leaf_hash(leaf) if self._keep else ""))
        if self._keep:
            write_leaf(leaf, self._room.folder("leaves") / name)
        self._tally.add(events)
        newest = newest_of(events)
        self._newest = newest if self._newest is None else max(self._newest, newest or self._newest)

    def keep(self, path: int, segment: Segment) -> None:
        """See ``settling.Keeper``."""
        name = self._take(path, segment)
        if self._keep and self._base is not None:
            share(self._base.files.path(segment), self._room.folder("leaves") / name)
        self._shared.append(segment)

    def load(self, segment: Segment) -> pl.DataFrame:
        """See ``settling.Keeper``."""
        if self._base is None:
            raise LookupError(f"There is no segment {segment.node}.")
        events = next(self._base.files.of([segment]).verified().frames())
        self._base.take(events)
        return events

    def _take(self, path: int, segment: Segment) -> str:
        name = f"leaf-{len(self._leaves):06}"
        self._leaves.append((path, name, segment))
        return name


def newest_of(events: pl.DataFrame) -> int | None:
    """Return the newest time of some events, microseconds since 1970."""
    found: int | None = events[columns.TIMESTAMP].dt.epoch("us").max()  # type: ignore[assignment]
    return found


def segments_of(events: pl.DataFrame) -> list[Segment] | None:
    """Return the segments of events in their order; None where one file holds them all."""
    if events.height <= trie.LEAF_ROWS:
        return None
    leaves = [(path, as_leaf(events[rows])) for path, rows in trie.cuts(events)]
    nodes = trie.nodes_of([path for path, _ in leaves])
    return [Segment(node.name, leaf.height, leaf_hash(leaf)) for node, (_, leaf) in zip(nodes, leaves, strict=True)]
