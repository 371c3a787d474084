"""Events read from segments: one after the other, or as one table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from recsys.artifacts import ArtifactError, digest_file
from recsys.data import columns
from recsys.data.segments.coding import order_by_user
from recsys.data.segments.leaf import SUFFIX, Segment

SCHEMA = f"columns{SUFFIX}"  # a table without rows that has all columns: a segment lacks those it has no value of


@dataclass(frozen=True)
class SegmentFiles:
    """The files of segments.

    Attributes:
        folder: where they lie.
        segments: from the oldest.
        digests: the SHA-256 of each file by its name; of those that are not here nobody knows it.
    """

    folder: Path
    segments: Sequence[Segment]
    digests: Mapping[str, str] = field(default_factory=dict)

    def of(self, segments: Sequence[Segment]) -> "SegmentFiles":
        """Return some of the segments."""
        return replace(self, segments=segments)

    def verified(self) -> "SegmentFiles":
        """Compare each file with its digest: what is read of them is to become a part of something else.

        Raises:
            ArtifactError: a file is not what it was.
        """
        for path in map(self.path, self.segments):
            if digest_file(path) != self.digests.get(path.name):
                raise ArtifactError(f"{path} has changed since it was written. Ingest the same files again.")
        return self

    @property
    def schema(self) -> pl.Schema:
        """The types of all columns, in their order."""
        return pl.scan_parquet(self.folder / SCHEMA, glob=False).collect_schema()

    def path(self, segment: Segment) -> Path:
        """Return where a segment lies."""
        return self.folder / f"{segment.node}{SUFFIX}"

    def leaves(self) -> Iterator[tuple[pl.DataFrame, Segment]]:
        """Yield each segment as it is stored, without the columns that it has no value of."""
        for segment in self.segments:
            yield pl.read_parquet(self.path(segment), glob=False), segment

    def scans(self, *names: str) -> Iterator[pl.LazyFrame]:
        """Yield some columns of each segment, its events in their order, to be read when they are asked for."""
        schema = self.schema
        for segment in self.segments:
            scan = pl.scan_parquet(self.path(segment), glob=False)
            there = scan.collect_schema()
            absent = [pl.lit(None, schema[one]).alias(one) for one in names if one not in there]
            yield scan.with_columns(absent).select(names)

    def frames(self, names: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Yield the events of each segment in their order, with some columns, or with all."""
        for scan in self.scans(*(self.schema if names is None else names)):
            yield scan.collect()

    def scan(self) -> pl.LazyFrame:
        """Return all events in no order."""
        paths = [self.folder / SCHEMA, *map(self.path, self.segments)]
        return pl.scan_parquet(paths, glob=False, missing_columns="insert", schema=self.schema)

    def whole(self, names: Sequence[str] | None = None) -> pl.DataFrame:
        """Return all events by user and then in their order, with some columns, or with all."""
        wanted = None if names is None else list(dict.fromkeys([*names, columns.USER_ID]))
        frames = list(self.frames(wanted))
        table = pl.concat(frames)[order_by_user([frame[columns.USER_ID] for frame in frames])]
        return table if names is None else table.select(names)
