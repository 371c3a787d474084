"""An immutable folder of validated tables, named by the hash of its content.

The hash covers the values of the good rows in one fixed order of rows and columns: neither the order of the input nor
the bytes of Parquet nor the clock have a part in it. The quarantine lies beside them and is not hashed into the id.

Whoever can write there can write a manifest that fits other tables. So what is opened by its name is hashed again,
value by value; a generation has the digest of the files themselves, which is compared in the place of that.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import (
    ID_DIGITS,
    MANIFEST,
    ArtifactError,
    Hold,
    canonical_json,
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
from recsys.data.manifest import (
    EVENTS,
    ITEMS,
    QUARANTINE,
    USERS,
    DescribedUsers,
    LiveMark,
    SnapshotCounts,
    SnapshotManifest,
    used,
)
from recsys.data.quality import TableQuality
from recsys.data.repeats import measure_repeats
from recsys.data.sequences import Sequences
from recsys.home import Home

if TYPE_CHECKING:
    from recsys.data.signals import Signals

FORMAT = 1
_SLICE = 250_000  # rows hashed at once, so that a large table is not copied whole

_FILES = {"events": EVENTS, "items": ITEMS, "users": USERS, "quarantine": QUARANTINE}

# Columns that come first, in this order; all others follow by name.
_FIRST = {
    "events": (
        columns.USER_ID,
        columns.ITEM_ID,
        columns.TIMESTAMP,
        columns.POSITION,
        columns.EVENT_ID,
        columns.EVENT_TYPE,
        columns.VALUE,
        columns.TIMESTAMP_KNOWN,
    ),
    "items": (columns.ITEM_ID, columns.TITLE),
    "users": (columns.USER_ID,),
}
CONTRACT_COLUMNS = _FIRST["events"]
# After the order within a user come the columns that part any two events which are no duplicates.
_ORDER = {
    "events": (columns.USER_ID, *columns.EVENT_ORDER, columns.ITEM_ID, columns.EVENT_TYPE),
    "items": (columns.ITEM_ID,),
    "users": (columns.USER_ID,),
}


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

    def events(self) -> pl.DataFrame:
        """Return user_id, item_id, timestamp (UTC, µs) and optional columns, sorted by user and then by time."""
        return pl.read_parquet(self.path / EVENTS, glob=False)

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
        return self.events()[columns.USER_ID].unique().sort().to_list()

    def item_ids(self) -> list[str]:
        """Return the sorted ids of items; an item's index is the place here."""
        return self.items()[columns.ITEM_ID].to_list()

    def sequences(self, tie_seed: int | None = None, signals: "Signals | None" = None) -> Sequences:
        """Return a row of item indices for every user, oldest first, with times in Unix seconds where all are known.

        Args:
            tie_seed: of the order of one user's events at equal known times; None: position and event id decide.
            signals: what events mean: those that are ignored are left out, and a row may become empty. None: all count.
        """
        sequences = _meaningful(self._sequences(self.events(), tie_seed, signals))
        return sequences if self.times_known else replace(sequences, times=None)

    def timed_sequences(self, tie_seed: int | None = None, signals: "Signals | None" = None) -> Sequences:
        """Return ``sequences`` with times, without the events whose time is made up; a row may become empty."""
        events = self.events()
        return _meaningful(self._sequences(events, tie_seed, signals).only(_known(events).to_numpy()))

    def unknown_times(self) -> int:
        """Return how many events have a made-up time."""
        return 0 if self.times_known else int((~_known(self.events())).sum())

    def tied_events(self) -> int:
        """Return how many events have the known time of another event of their user."""
        _, sizes = np.unique(_ties(self.events()), return_counts=True)
        return int(sizes[sizes > 1].sum())

    def _sequences(self, events: pl.DataFrame, tie_seed: int | None, signals: "Signals | None") -> Sequences:
        lengths = events[columns.USER_ID].rle().struct.field("len").cast(pl.Int64)
        offsets = pl.concat([pl.Series([0], dtype=pl.Int64), lengths.cum_sum()])
        codes = events[columns.ITEM_ID].cast(pl.Enum(self.item_ids())).to_physical().cast(pl.Int32).to_numpy()
        times = events[columns.TIMESTAMP].dt.epoch("s").cast(pl.Int64).to_numpy()
        meaning = None if signals is None else signals.of_events(events)
        if tie_seed is not None:
            order = np.lexsort((np.random.default_rng(tie_seed).random(len(codes)), _ties(events)))
            codes, meaning = codes[order], None if meaning is None else meaning.at(order)
        return Sequences(codes, offsets.to_numpy(), times, meaning)


def write_snapshot(
    home: Home,
    events: pl.DataFrame,
    items: pl.DataFrame,
    quarantine: pl.DataFrame,
    quality: Sequence[TableQuality] = (),
    config: IngestConfig | None = None,
    users: pl.DataFrame | None = None,
    unused: Mapping[str, str] | None = None,
    unused_context: Mapping[str, str] | None = None,
    live: LiveMark | None = None,
) -> Snapshot:
    """Write validated tables as a snapshot, whole or not at all; the same content again is found and left as it is.

    Args:
        home: where snapshots lie.
        events: good events, in any order, without duplicates, their items all in ``items``.
        items: good items, in any order, one row an id.
        quarantine: the rows set aside.
        quality: how many rows of each table were read and set aside.
        config: the settings of the ingest, where there was one.
        users: good users, in any order, one row an id; None: nothing is known of them.
        unused: attributes that make no segments, and why.
        unused_context: likewise of the columns that ``config`` declares as context.
        live: what of the tables was collected while the service ran; None: nothing.

    Raises:
        ArtifactError: a snapshot of this content exists and is damaged.
    """
    events, items = _canonical(events, "events"), _canonical(items, "items")
    users = None if users is None else _canonical(users, "users")
    tables = {"events": events, "items": items} | ({} if users is None else {"users": users})
    declared = config.context_columns if config else None
    context = None if declared is None else {name: (unused_context or {}).get(name, "") for name in sorted(declared)}
    snapshot_id = content_id(events, items, users, context)
    if (home.snapshots / snapshot_id).exists():
        mark_used(home.snapshots / snapshot_id)
        return open_snapshot(home, snapshot_id)
    with staged_folder(home.make().snapshots) as staging:
        for name, frame in (tables | {"quarantine": quarantine}).items():
            frame.write_parquet(staging / _FILES[name])
        manifest = SnapshotManifest(
            id=snapshot_id,
            format=FORMAT,
            counts=SnapshotCounts(
                events=events.height,
                items=items.height,
                quarantined=quarantine.height,
                users=events[columns.USER_ID].n_unique(),
            ),
            times_known=bool(_known(events).all()),
            schemas={name: _schema(frame) for name, frame in tables.items()},
            files=digest_folder(staging),
            quality={one.table: one for one in quality},
            config=to_dict(config) if config else {},
            made=now(),
            repeats=measure_repeats(events),
            described=None if users is None else DescribedUsers(users.height, dict(unused or {})),
            context=context,
            live=live,
        )
        write_json(staging / MANIFEST, manifest.to_dict())
        commit_folder(staging, home.snapshots / snapshot_id)
    return open_snapshot(home, snapshot_id, verify=False)


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
    path = home.snapshots / snapshot_id
    refuse_links(home.snapshots, path)
    if not path.is_dir():
        raise ArtifactError(f"There is no snapshot {snapshot_id} in {home.snapshots}. Run `recsys ingest` first.")
    repair = f"Delete the folder {path} and ingest the same files again."
    manifest = SnapshotManifest.read(path / MANIFEST, repair)
    if manifest.format != FORMAT or manifest.id != snapshot_id:
        raise ArtifactError(f"{path / MANIFEST} is not the manifest of snapshot {snapshot_id}. {repair}")
    snapshot = Snapshot(path, manifest, Hold(path))
    if verify:
        verify_folder(path, manifest.files | {MANIFEST: digest_file(path / MANIFEST)}, repair)
        if not _is_meant(snapshot, content_digest):
            raise ArtifactError(f"{path} holds other events or items than when it was written. {repair}")
    return snapshot


def list_snapshots(home: Home) -> list[Snapshot]:
    """Return all snapshots, unverified, the oldest first; a folder that is none of ours is left out."""
    found = read_each(home.snapshots, MANIFEST, lambda name: open_snapshot(home, name, verify=False))
    return sorted(found, key=lambda one: (made_at(one.manifest.made, one.path / MANIFEST), one.id))


def _is_meant(snapshot: Snapshot, content_digest: str | None) -> bool:
    """Tell whether a snapshot, whose files are those of its manifest, is the one of its id or of a digest."""
    if content_digest is not None:
        return snapshot.manifest.content_digest == content_digest
    try:
        events = snapshot.events()
        known = bool(_known(events).all())
        found = content_id(events, snapshot.items(), snapshot.users(), snapshot.manifest.context)
        return known == snapshot.times_known and found == snapshot.id
    except (OSError, pl.exceptions.PolarsError):  # no tables at all
        return False


def content_id(
    events: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame | None = None,
    context: Mapping[str, str] | None = None,
) -> str:
    """Return the id of the tables: 16 digits of a SHA-256 over schemas and values, in the order given.

    ``context`` is as in the manifest: what is declared is a part of what a snapshot says.
    """
    tables = [events, items] if users is None else [events, items, users]
    shapes = [part for table in tables for part in (_schema(table), table.height)]
    sha = hashlib.sha256(canonical_json([FORMAT, *shapes, *([] if context is None else [used(context)])]))
    for table in tables:
        for name in table.columns:
            for part in range(0, table.height, _SLICE):
                _feed(sha, table[name].slice(part, _SLICE))
    return sha.hexdigest()[:ID_DIGITS]


def _feed(sha: Any, values: pl.Series) -> None:
    """Hash the values of a column, not how a version of polars lays them out in memory."""
    sha.update(values.is_null().cast(pl.UInt8).to_numpy().tobytes())
    if isinstance(values.dtype, pl.Array):
        values = values.arr.to_list()
    if isinstance(values.dtype, pl.List):
        lengths = values.list.len().fill_null(0)
        sha.update(lengths.cast(pl.UInt64).to_numpy().tobytes())
        inner = values.filter(lengths > 0).explode()
        _feed(sha, inner)
    elif values.dtype == pl.String:
        present = values.fill_null("")
        sha.update(present.str.len_bytes().cast(pl.UInt64).to_numpy().tobytes())
        sha.update(present.str.join("").item().encode())
    else:
        physical = values.to_physical()
        kind = pl.Float64 if physical.dtype.is_float() else pl.UInt64 if physical.dtype == pl.UInt64 else pl.Int64
        sha.update(physical.cast(kind).fill_null(0).to_numpy().tobytes())


def _meaningful(sequences: Sequences) -> Sequences:
    """Return sequences without the events that no kind speaks for."""
    return sequences if sequences.signals is None else sequences.only(sequences.signals.kinds >= 0)


def _known(events: pl.DataFrame) -> pl.Series:
    """Return whether each event's time is real; where nothing is said, it is."""
    if columns.TIMESTAMP_KNOWN not in events.columns:
        return pl.repeat(True, events.height, eager=True)
    return events[columns.TIMESTAMP_KNOWN].fill_null(True)


def _ties(events: pl.DataFrame) -> NDArray[np.int64]:
    """Return an ascending number for each event, the same for one user's events at equal known times."""
    known = _known(events)
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in (columns.USER_ID, columns.TIMESTAMP))
    tied = events.select(same.fill_null(False)).to_series() & known & known.shift(fill_value=False)
    return np.cumsum(~tied.to_numpy())


def _schema(frame: pl.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.schema.items()}


def _canonical(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    first = [name for name in _FIRST[table] if name in frame.columns]
    rest = sorted(name for name in frame.columns if name not in first)
    order = [name for name in _ORDER[table] if name in frame.columns]
    return frame.select(*first, *rest).sort(order, nulls_last=True)
