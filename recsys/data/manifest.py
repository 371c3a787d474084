"""What lies in JSON beside a snapshot's tables: the one place that knows its fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recsys.artifacts import canonical_json, digest
from recsys.data.quality import TableQuality
from recsys.data.repeats import Repeats
from recsys.data.segments.leaf import Segment
from recsys.data.segments.totals import Totals
from recsys.record import Record

EVENTS, ITEMS, USERS, QUARANTINE = "events.parquet", "items.parquet", "users.parquet", "quarantine.parquet"
SEGMENTS = "events"  # the folder that is there in the place of ``EVENTS`` where events are many
_LATER = ("repeats", "described", "context", "live", "segments", "watermark", "appended", "totals")


@dataclass(frozen=True)
class SnapshotCounts:
    """How much a snapshot holds: events, items and users with events, and the rows that were set aside."""

    events: int
    items: int
    quarantined: int
    users: int


@dataclass(frozen=True)
class DescribedUsers:
    """The table of users.

    Attributes:
        rows: how many it holds, with events or without.
        unused: attributes that make no segments, and why.
    """

    rows: int
    unused: dict[str, str]


@dataclass(frozen=True)
class LiveMark:
    """How far the tables hold what the database has collected while the service ran.

    Attributes:
        events: live events among the rows, beside those that the files hold as well.
        items: items that are as they were changed while the service ran.
        users: likewise users that are as they were described.
        batch: up to which all events have left the database.
        version: of the newest change of an item.
        time: of that change, microseconds since 1970.
    """

    events: int
    items: int
    users: int
    batch: int
    version: int
    time: int


@dataclass(frozen=True)
class Appended:
    """What joined an earlier snapshot.

    Attributes:
        to: id of that snapshot.
        watermark: the newest time that it had seen, microseconds since 1970; None: it had no events.
        events: good ones among the rows that were read.
        known: those that it had already, or that took the place of what it had.
        late: those that are older than its newest.
        passed_over: those before the time from which on events were wanted.
        items: it had not, or had otherwise.
        segments: that both share.
    """

    to: str
    watermark: int | None
    events: int
    known: int
    late: int
    passed_over: int
    items: int
    segments: int

    @property
    def sentence(self) -> str:
        """What joined, as people read it."""
        late = f", {self.late:,} of them older than its newest" if self.late else ""
        passed = f" {self.passed_over:,} were passed over, being older than was asked for." if self.passed_over else ""
        return (
            f"To snapshot {self.to} came {self.events:,} events{late}; {self.known:,} it had already. "
            f"{self.items:,} items are new or changed.{passed}"
        )


@dataclass(frozen=True, kw_only=True)
class SnapshotManifest(Record):
    """What a snapshot is.

    Attributes:
        id: the hash of the values of events, items and, where there are any, described users.
        format: of the tables; another number makes another id of the same values.
        counts: how much it holds.
        times_known: whether every event's time is real.
        schemas: for each table the types of its columns, by name.
        files: the SHA-256 of each table's file.
        quality: what was read and set aside, by table; empty where the tables came from elsewhere than an ingest.
        config: the settings of the ingest, as they were written.
        made: when it was written; None: not said.
        repeats: how often users came back to an item; None: never, or nobody has looked.
        described: the table of users; None: there is none.
        context: columns of events that a request may give; of one that makes no segments, why, else nothing. None: no
            column is declared as such.
        live: what of it was collected while the service ran; None: nothing.
        watermark: the newest time of an event that was seen, microseconds since 1970; None: not said.
        appended: what joined an earlier snapshot; None: there was none.
        totals: counts by which others that join are counted; None: not said, or events are few.
        segments: of the events, from the oldest, each a file in ``SEGMENTS``; None: one file holds them all.
    """

    id: str
    format: int
    counts: SnapshotCounts
    times_known: bool
    schemas: dict[str, dict[str, str]]
    files: dict[str, str]
    quality: dict[str, TableQuality] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    made: str | None = None
    repeats: Repeats | None = None
    described: DescribedUsers | None = None
    context: dict[str, str] | None = None
    live: LiveMark | None = None
    segments: list[Segment] | None = None
    watermark: int | None = None
    appended: Appended | None = None
    totals: Totals | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; of what came later nothing is said where there is none of it."""
        return {name: value for name, value in super().to_dict().items() if value is not None or name not in _LATER}

    def summary(self) -> dict[str, Any]:
        """Return everything but the digests of files, and the number of segments in the place of them."""
        values = super().summary()
        values.pop("totals", None)
        segments = values.pop("segments", None)
        return values if segments is None else values | {"segments": len(segments)}

    @property
    def content_digest(self) -> str:
        """The SHA-256 over what is read of the snapshot: the files of its tables, and what their times are."""
        read: dict[str, Any] = {
            "events": self.files.get(EVENTS) if self.segments is None else self.segment_files,
            "items": self.files.get(ITEMS),
            "times_known": self.times_known,
        }
        if self.described is not None:
            read["users"] = self.files.get(USERS)
        if self.context is not None:
            read["context"] = used(self.context)
        return digest(canonical_json(read))

    @property
    def segment_files(self) -> dict[str, str]:
        """The SHA-256 of each file in ``SEGMENTS``, by its path in the snapshot; empty: there are none."""
        return {name: found for name, found in self.files.items() if name.startswith(f"{SEGMENTS}/")}


def used(context: Mapping[str, str]) -> dict[str, bool]:
    """Return whether each column of a manifest's context makes segments."""
    return {name: not why for name, why in context.items()}
