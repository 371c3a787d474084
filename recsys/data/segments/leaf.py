"""One segment: a file of events in their order, and the hash of what they say."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.artifacts import canonical_json
from recsys.data.content import arranged, feed_table, schema_of

SUFFIX = ".parquet"
_ROW_GROUP = 1 << 16  # rows that a reader of one user's events decodes at least


@dataclass(frozen=True)
class Segment:
    """A leaf as a manifest names it.

    Attributes:
        node: its name, and that of its file.
        rows: events in it.
        hash: SHA-256 over their values, columns without any left out: a column that other segments have is no change.
    """

    node: str
    rows: int
    hash: str


def leaf_hash(events: pl.DataFrame) -> str:
    """Return the SHA-256 over the values of some events in their order."""
    sha = hashlib.sha256(canonical_json([schema_of(events), events.height]))
    feed_table(sha, events)
    return sha.hexdigest()


def as_leaf(events: pl.DataFrame) -> pl.DataFrame:
    """Return events in their order as a segment holds them: columns in order, those without a value left out."""
    return arranged(
        events.select(name for name in events.columns if events[name].null_count() < events.height), "events"
    )


def write_leaf(events: pl.DataFrame, path: Path) -> None:
    """Write the events of a segment."""
    events.write_parquet(path, row_group_size=_ROW_GROUP, compression_level=1)


def share(path: Path, other: Path) -> None:
    """Let a file have another name as well; where the file system has no links, copy it."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
