"""An immutable folder of validated tables, named by the hash of its content.

The hash covers the values of the good rows in one fixed order of rows and columns: neither the order of the input nor
the bytes of Parquet nor the clock have a part in it. The quarantine lies beside them and is not hashed into the id.
Many events lie in segments (see ``recsys.data.segments``), and the hash is one over theirs.

Whoever can write there can write a manifest that fits other tables. So what is opened by its name is hashed again,
value by value; a generation has the digest of the files themselves, which is compared in the place of that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys.artifacts import (
    MANIFEST,
    ArtifactError,
    Hold,
    check_id,
    commit_folder,
    digest_file,
    digest_folder,
    made_at,
    mark_used,
    now,
    read_each,
    refuse_links,
    staged_folder,
    verify_folder,
    write_json,
)
from recsys.config import IngestConfig, to_dict
from recsys.data import columns
from recsys.data.content import canonical, schema_of
from recsys.data.identity import FORMAT, SEGMENTED, content_id, merkle_id, whole_id
from recsys.data.manifest import (
    EVENTS,
    ITEMS,
    QUARANTINE,
    SEGMENTS,
    USERS,
    Appended,
    DescribedUsers,
    LiveMark,
    SnapshotCounts,
    SnapshotManifest,
)
from recsys.data.quality import TableQuality
from recsys.data.segments.building import Building, EventTable
from recsys.data.segments.coding import CodedEvents, as_sequences, coded_events, meaningful, real_times, ties
from recsys.data.segments.counted import keep_counted
from recsys.data.segments.leaf import SUFFIX, Segment, leaf_hash
from recsys.data.segments.reading import SegmentFiles
from recsys.data.segments.room import Room
from recsys.data.sequences import Sequences
from recsys.data.set_aside import SetAside
from recsys.data.signal_kinds import distinct_kinds
from recsys.home import Home
from recsys.remote.folders import fetch, push
from recsys.remote.listing import SNAPSHOTS

if TYPE_CHECKING:
    from recsys.data.signals import Signals

LATEST = "latest"

_FILES = {"events": EVENTS, "items": ITEMS, "users": USERS, "quarantine": QUARANTINE}


@dataclass(frozen=True)
class Snapshot:
    """The tables of a snapshot, read when asked for.

    Attributes:
        path: its folder.
        manifest: what it is.
        hold: keeps it from being pruned while this is in use.
    """

    path: Path
    manifest: SnapshotManifest
    hold: Hold | None = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def times_known(self) -> bool:
        """Whether every event's time is real; where one is made up, no split by time makes sense."""
        return self.manifest.times_known

    @property
    def segments(self) -> SegmentFiles | None:
        """The files of the events, where they are many; None: one file holds them all."""
        if self.manifest.segments is None:
            return None
        digests = {Path(name).name: digest for name, digest in self.manifest.segment_files.items()}
        return SegmentFiles(self.path / SEGMENTS, self.manifest.segments, digests)

    def events(self, *names: str) -> pl.DataFrame:
        """Return user_id, item_id, timestamp (UTC, µs) and optional columns, sorted by user and then by time.

        Args:
            names: of the columns that are wanted, all of which are there; none: all.
        """
        chosen = list(names) or None
        if self.segments is not None:
            return self.segments.whole(chosen)
        return pl.read_parquet(self.path / EVENTS, glob=False, columns=chosen)

    def parts(self, *names: str) -> Iterator[pl.DataFrame]:
        """Yield all events in parts that fit into memory, in each sorted as ``events``; see there."""
        if self.segments is None:
            yield self.events(*names)
        else:
            yield from self.segments.frames(names or None)

    def scan(self) -> pl.LazyFrame:
        """Return all events, to be asked for what takes no order."""
        return pl.scan_parquet(self.path / EVENTS, glob=False) if self.segments is None else self.segments.scan()

    def kinds(self) -> pl.DataFrame:
        """Return a few events of each type, as many as tell what values there are; see ``signals.suggested``."""
        there = self.event_schema
        names = [name for name in (columns.EVENT_TYPE, columns.VALUE, columns.TIMESTAMP) if name in there]
        return distinct_kinds(pl.concat(distinct_kinds(part) for part in self.parts(*names)))

    def newest(self) -> int | None:
        """Return the time of the newest event, microseconds since 1970; None: there is none."""
        if self.manifest.watermark is not None:
            return self.manifest.watermark
        found: int | None = self.scan().select(pl.col(columns.TIMESTAMP).dt.epoch("us").max()).collect().item()
        return found

    @property
    def event_schema(self) -> pl.Schema:
        """The types of the events' columns, in their order."""
        return self.scan().collect_schema() if self.segments is None else self.segments.schema

    def items(self) -> pl.DataFrame:
        """Return item_id, title and further columns by name, sorted by item_id."""
        return pl.read_parquet(self.path / ITEMS, glob=False)

    def users(self) -> pl.DataFrame | None:
        """Return user_id and attributes by name, sorted by user_id, a row a described user; None where there are none.

        Users without events are among them, and others with events are not.
        """
        if self.manifest.described is None:
            return None
        return pl.read_parquet(self.path / USERS, glob=False)

    def quarantine(self) -> pl.DataFrame:
        """Return the rows set aside: table, file, row, column, reason, content (the row as JSON)."""
        return pl.read_parquet(self.path / QUARANTINE, glob=False)

    def user_ids(self) -> list[str]:
        """Return the sorted ids of users; a user's index is the place here."""
        users = [part[columns.USER_ID].unique() for part in self.parts(columns.USER_ID)]
        return pl.concat(users).unique().sort().to_list()

    def item_ids(self) -> list[str]:
        """Return the sorted ids of items; an item's index is the place here."""
        return self.items()[columns.ITEM_ID].to_list()

    def sequences(self, tie_seed: int | None = None, signals: "Signals | None" = None) -> Sequences:
        """Return a row of item indices for every user, oldest first, with times in Unix seconds where all are known.

        Args:
            tie_seed: of the order of one user's events at equal known times; None: position and event id decide.
            signals: what events mean: those that are ignored are left out, and a row may become empty. None: all count.
        """
        sequences = meaningful(as_sequences(self._coded(signals is not None), tie_seed, signals))
        return sequences if self.times_known else replace(sequences, times=None)

    def timed_sequences(self, tie_seed: int | None = None, signals: "Signals | None" = None) -> Sequences:
        """Return ``sequences`` with times, without the events whose time is made up; a row may become empty."""
        coded = self._coded(signals is not None)
        return meaningful(as_sequences(coded, tie_seed, signals).only(real_times(coded.further).to_numpy()))

    def unknown_times(self) -> int:
        """Return how many events have a made-up time."""
        if self.times_known:
            return 0
        return sum(int((~real_times(part)).sum()) for part in self.parts(columns.TIMESTAMP_KNOWN))

    def tied_events(self) -> int:
        """Return how many events have the known time of another event of their user."""
        _, sizes = np.unique(ties(self._coded()), return_counts=True)
        return int(sizes[sizes > 1].sum())

    def _coded(self, meant: bool = False) -> CodedEvents:
        """Return the events as codes; ``meant``: with what says what they mean."""
        there = self.event_schema
        further = [columns.TIMESTAMP_KNOWN, *((columns.EVENT_TYPE, columns.VALUE) if meant else ())]
        names = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, *(name for name in further if name in there))
        return coded_events(self.parts(*names), self.items()[columns.ITEM_ID])


def write_snapshot(
    home: Home,
    events: pl.DataFrame | EventTable,
    items: pl.DataFrame,
    quarantine: pl.DataFrame | SetAside,
    quality: Sequence[TableQuality] = (),
    config: IngestConfig | None = None,
    users: pl.DataFrame | None = None,
    unused: Mapping[str, str] | None = None,
    unused_context: Mapping[str, str] | None = None,
    live: LiveMark | None = None,
    appended: Appended | None = None,
) -> Snapshot:
    """Write validated tables as a snapshot, whole or not at all; the same content again is found and left as it is.

    Args:
        home: where snapshots lie.
        events: good events, in any order, without duplicates, their items all in ``items``; or what was built of them.
        items: good items, in any order, one row an id.
        quarantine: the rows set aside.
        quality: how many rows of each table were read and set aside.
        config: the settings of the ingest, where there was one.
        users: good users, in any order, one row an id; None: nothing is known of them.
        unused: attributes that make no segments, and why.
        unused_context: likewise of the columns that ``config`` declares as context.
        live: what of the tables was collected while the service ran; None: nothing.
        appended: what joined which snapshot; None: there was none before.

    Raises:
        ArtifactError: a snapshot of this content exists and is damaged.
    """
    if isinstance(events, pl.DataFrame):
        with Room.of(home) as room:
            more = (quality, config, users, unused, unused_context, live, appended)
            return write_snapshot(home, Building(room).build([events]), items, quarantine, *more)
    set_aside = SetAside.of(quarantine) if isinstance(quarantine, pl.DataFrame) else quarantine
    items, users = canonical(items, "items"), None if users is None else canonical(users, "users")
    tables = {"items": items} | ({} if users is None else {"users": users})
    declared = config.context_columns if config else None
    context = None if declared is None else {name: (unused_context or {}).get(name, "") for name in sorted(declared)}
    if events.frame is None:
        snapshot_id = merkle_id(events.schema, events.segments, items, users, context)
    else:
        tables = {"events": events.frame} | tables
        snapshot_id = content_id(events.frame, items, users, context)
    if (home.snapshots / snapshot_id).exists():
        mark_used(home.snapshots / snapshot_id)
        found = open_snapshot(home, snapshot_id)
        push(home, SNAPSHOTS, snapshot_id)
        return found
    with staged_folder(home.make().snapshots) as staging:
        for name, frame in tables.items():
            frame.write_parquet(staging / _FILES[name])
        set_aside.write(staging / QUARANTINE)
        if events.folder is not None:
            events.folder.rename(staging / SEGMENTS)
        manifest = SnapshotManifest(
            id=snapshot_id,
            format=FORMAT if events.frame is not None else SEGMENTED,
            counts=SnapshotCounts(
                events=events.rows, items=items.height, quarantined=set_aside.rows, users=events.users
            ),
            times_known=events.times_known,
            schemas={"events": events.schema} | {name: schema_of(frame) for name, frame in tables.items()},
            files=_digests(staging, home, events, appended),
            quality={one.table: one for one in quality},
            config=to_dict(config) if config else {},
            made=now(),
            repeats=events.repeats,
            described=None if users is None else DescribedUsers(users.height, dict(unused or {})),
            context=context,
            live=live,
            segments=None if events.frame is not None else events.segments,
            watermark=_newest(events.newest, None if appended is None else appended.watermark),
            appended=appended,
            totals=events.totals,
        )
        write_json(staging / MANIFEST, manifest.to_dict())
        commit_folder(staging, home.snapshots / snapshot_id)
    push(home, SNAPSHOTS, snapshot_id)
    made = open_snapshot(home, snapshot_id, verify=False)
    if events.counted is not None:
        keep_counted(home, snapshot_id, made.manifest.content_digest, events.counted)
    return made


def open_snapshot(home: Home, snapshot_id: str, verify: bool = True, content_digest: str | None = None) -> Snapshot:
    """Open a snapshot.

    Args:
        home: where snapshots lie.
        snapshot_id: 16 hexadecimal digits.
        verify: compare every file with its digest first, and the tables with the id; takes a read of all files.
        content_digest: of the snapshot that is meant, see ``SnapshotManifest``; None: its id is all that is known.

    Raises:
        ArtifactError: there is no such snapshot, or it is not what it was: a file is missing, changed, a link or one
            too many, or the tables are not those of the id or of the digest.
    """
    check_id(snapshot_id, "snapshot")
    fetch(home, SNAPSHOTS, snapshot_id)
    snapshot = _found(home, snapshot_id)
    if verify:
        path, repair = snapshot.path, _repair(snapshot.path)
        verify_folder(path, snapshot.manifest.files | {MANIFEST: digest_file(path / MANIFEST)}, repair)
        if not _is_meant(snapshot, content_digest):
            raise ArtifactError(f"{path} holds other events or items than when it was written. {repair}")
    return snapshot


def _found(home: Home, snapshot_id: str) -> Snapshot:
    """Return a snapshot by its manifest; of one on an object store the tables may not be here yet.

    Raises:
        ArtifactError: there is none, or the manifest is another's.
    """
    path = home.snapshots / snapshot_id
    refuse_links(home.snapshots, path)
    if not path.is_dir():
        raise ArtifactError(f"There is no snapshot {snapshot_id} in {home.snapshots}. Run `recsys ingest` first.")
    repair = _repair(path)
    manifest = SnapshotManifest.read(path / MANIFEST, repair)
    if manifest.format != (FORMAT if manifest.segments is None else SEGMENTED) or manifest.id != snapshot_id:
        raise ArtifactError(f"{path / MANIFEST} is not the manifest of snapshot {snapshot_id}. {repair}")
    return Snapshot(path, manifest, Hold(path))


def _repair(path: Path) -> str:
    return f"Delete the folder {path} and ingest the same files again."


def joined_snapshot(home: Home, name: str) -> Snapshot:
    """Open the snapshot that new rows join: one of an id, or the one that was made last, which ``latest`` stands for.

    Segments are compared with their digests when something joins them; whoever opens what results reads all.

    Raises:
        ArtifactError: there is none, or a table is not what it was.
    """
    if name == LATEST:
        there = list_snapshots(home)
        if not there:
            raise ArtifactError(
                f"There is no snapshot in {home.snapshots} to append to. Run `recsys ingest` without it first."
            )
        name = there[-1].id
    found = open_snapshot(home, name, verify=False)
    if found.segments is None:
        return open_snapshot(home, name)
    leaves = {_segment_file(one.node) for one in found.manifest.segments or ()}
    for table, known in found.manifest.files.items():
        if table not in leaves and digest_file(found.path / table) != known:
            raise ArtifactError(f"{found.path / table} has changed since it was written. Ingest the same files again.")
    return found


def list_snapshots(home: Home) -> list[Snapshot]:
    """Return all snapshots, unverified, the oldest first; a folder that is none of ours is left out.

    Of a home on an object store these are manifests: ``open_snapshot`` brings the tables.
    """
    found = read_each(home.snapshots, MANIFEST, lambda name: _found(home, name))
    return sorted(found, key=lambda one: (made_at(one.manifest.made, one.path / MANIFEST), one.id))


def brought(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot of a list with its tables here, unverified.

    Raises:
        StoreError: the object store of its home does not answer.
    """
    fetch(Home(snapshot.path.parents[1]), SNAPSHOTS, snapshot.id)
    return snapshot


def _is_meant(snapshot: Snapshot, content_digest: str | None) -> bool:
    """Tell whether a snapshot, whose files are those of its manifest, is the one of its id or of a digest."""
    if content_digest is not None:
        return snapshot.manifest.content_digest == content_digest
    try:
        items, users, context = snapshot.items(), snapshot.users(), snapshot.manifest.context
        if snapshot.segments is None:
            events = snapshot.events()
            known, found = bool(real_times(events).all()), whole_id(events, items, users, context)
        else:
            known, segments = True, []
            for leaf, named in snapshot.segments.leaves():
                known &= bool(real_times(leaf).all())
                segments.append(Segment(named.node, leaf.height, leaf_hash(leaf)))
            schema = {name: str(dtype) for name, dtype in snapshot.event_schema.items()}
            found = merkle_id(schema, segments, items, users, context)
        return known == snapshot.times_known and found == snapshot.id
    except (OSError, pl.exceptions.PolarsError):  # no tables at all
        return False


def _digests(staging: Path, home: Home, events: EventTable, appended: Appended | None) -> dict[str, str]:
    """Return the SHA-256 of every file; of those that another snapshot has as well, what its manifest says."""
    known = {}
    if appended is not None and events.shared:
        path = home.snapshots / appended.to / MANIFEST
        before = SnapshotManifest.read(path).files
        known = {_segment_file(node): before[_segment_file(name)] for node, name in events.shared.items()}
    return digest_folder(staging, known)


def _newest(*times: int | None) -> int | None:
    return max((time for time in times if time is not None), default=None)


def _segment_file(node: str) -> str:
    return f"{SEGMENTS}/{node}{SUFFIX}"
