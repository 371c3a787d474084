"""The tables of a snapshot that new rows join: what stays as it is, and what is looked at again."""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from recsys.data import columns
from recsys.data.forgetting import Forgotten
from recsys.data.segments import trie
from recsys.data.segments.base import Base
from recsys.data.segments.counted import read_counted
from recsys.data.sifting import BASE
from recsys.data.snapshot import Snapshot
from recsys.data.sources import FILE, ROW
from recsys.home import Home


class EarlierEvents:
    """The events of a snapshot, which others join.

    Args:
        snapshot: whose.
        forgotten: whose events go.
    """

    def __init__(self, snapshot: Snapshot, forgotten: Forgotten) -> None:
        self._snapshot = snapshot
        self._forgotten = forgotten
        self.segments: Base | None = None
        if snapshot.segments is not None:
            counted = read_counted(Home(snapshot.path.parents[1]), snapshot.id, snapshot.manifest.content_digest)
            known = (snapshot.manifest.totals, snapshot.times_known, counted)
            self.segments = Base(snapshot.segments, *known)
        self.watermark = snapshot.newest()
        self.like = pl.DataFrame(schema=snapshot.event_schema)
        if self.segments is not None and forgotten.times:
            self.segments.touch_users(forgotten.among)

    def late(self, events: pl.DataFrame) -> int:
        """Return how many events are older than the newest of the snapshot."""
        newest = self.watermark
        return 0 if newest is None else int((events[columns.TIMESTAMP].dt.epoch("us") < newest).sum())

    def touch(self, events: pl.DataFrame) -> None:
        """Take note of events that join; see ``Base``."""
        if self.segments is not None:
            self.segments.touch(events)

    def touched(self, hashes: pl.Series, schema: pl.Schema) -> Iterator[pl.DataFrame]:
        """Yield the events that others join or take the place of, with where they stand; the others stay as they are.

        Args:
            hashes: of the ids of all events that join.
            schema: of all events together.
        """
        parts: Iterable[pl.DataFrame]
        if self.segments is None:
            parts = self._snapshot.parts()
        else:
            self.segments.touch_named(hashes)
            self.segments.touch_types(schema)
            parts = self.segments.dissolved()
        row = 1
        for part in parts:
            for start in range(0, part.height, trie.LEAF_ROWS):
                some = part[start : start + trie.LEAF_ROWS].with_row_index(ROW, row)
                row += some.height
                some = some.with_columns(pl.lit(BASE).alias(FILE), pl.col(ROW).cast(pl.UInt64))
                kept = self._forgotten.remain(some)
                self.remove(some.height - kept.height)
                yield kept

    def remove(self, rows: int) -> None:
        """Take note that some events of ``touched`` are no more."""
        if self.segments is not None:
            self.segments.removed += rows

    def rest(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield some columns of the events that stay as they are."""
        if self.segments is not None:
            there = [name for name in names if name in self.segments.files.schema]
            absent = [pl.lit(None).alias(name) for name in names if name not in there]
            for part in self.segments.untouched.frames(there or [columns.USER_ID]):
                yield part.with_columns(absent).select(names)


def with_earlier(rows: pl.DataFrame, earlier: pl.DataFrame | None) -> pl.DataFrame:
    """Return good rows of items or users, with where they stand, beside those of a snapshot."""
    if earlier is None:
        return rows
    numbered = earlier.with_row_index(ROW, 1).with_columns(pl.col(ROW).cast(pl.UInt64), pl.lit(BASE).alias(FILE))
    return pl.concat([numbered, rows], how="diagonal_relaxed")
