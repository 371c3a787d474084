"""The rows that an ingest sets aside, while it goes on: in memory as long as they are few, on disk beyond that."""

from pathlib import Path

import polars as pl

from recsys.data.quality import QUARANTINE_SCHEMA
from recsys.data.segments.room import Room

_ORDER = {"events": 0, "items": 1, "users": 2}
MOST_HELD = 200_000  # rows in memory, and in order


class SetAside:
    """Takes quarantined rows by table.

    Args:
        room: where they are written, if they must be; None: all stay in memory.
    """

    def __init__(self, room: Room | None = None) -> None:
        self._room = room
        self._held: list[pl.DataFrame] = []
        self._files: list[Path] = []
        self._first: list[pl.DataFrame] = []
        self.rows = 0

    @classmethod
    def of(cls, quarantine: pl.DataFrame) -> "SetAside":
        """Return what holds some rows as they are."""
        made = cls()
        made.add(quarantine)
        return made

    def add(self, quarantine: pl.DataFrame) -> None:
        """Take rows in ``QUARANTINE_SCHEMA``."""
        if quarantine.is_empty():
            return
        self.rows += quarantine.height
        self._held.append(quarantine)
        if self._room is not None and sum(part.height for part in self._held) > MOST_HELD:
            self._flush(self._room)

    def _flush(self, room: Room) -> None:
        path = room.folder("quarantine") / f"{len(self._files):06}.parquet"
        self._table().write_parquet(path)
        if not self._files:
            self._first = [self._table()]
        self._files.append(path)
        self._held = []

    def _table(self) -> pl.DataFrame:
        rows = pl.concat([pl.DataFrame(schema=QUARANTINE_SCHEMA), *self._held])
        table = pl.col("table").replace_strict(_ORDER, default=len(_ORDER), return_dtype=pl.UInt8)
        return rows.sort(table, "file", "row", maintain_order=True)

    @property
    def table(self) -> pl.DataFrame:
        """The rows; where they are many, the first that came."""
        return self._first[0] if self._first else self._table()

    def write(self, path: Path) -> None:
        """Write all rows to a file."""
        if not self._files:
            self._table().write_parquet(path)
            return
        rest = self._table()
        parts = pl.concat([pl.scan_parquet(self._files, glob=False), rest.lazy()])
        parts.sink_parquet(path, maintain_order=True)
