"""The snapshots of a home with who stands on each, and deleting one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recsys.artifacts import MANIFEST, ArtifactError, check_id, refuse_links, stored_bytes, unheld
from recsys.data.manifest import SnapshotManifest
from recsys.data.mapped_sequences import discard_sequences
from recsys.data.segments.counted import discard_counted
from recsys.home import Home
from recsys.remote.claims import deleting
from recsys.remote.folders import discard_stored
from recsys.remote.listing import SNAPSHOTS
from recsys.store.adapters import list_adapters
from recsys.store.generations import list_generations
from recsys.store.standing import list_manifests, snapshot_made, stored_ids


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot as a list shows it.

    Attributes:
        manifest: what it is.
        made: when it was written (UTC).
        bytes: on disk.
        generations: ids of those that stand on it.
        adapters: ids of those that learnt from it.
    """

    manifest: SnapshotManifest
    made: datetime
    bytes: int
    generations: tuple[str, ...]
    adapters: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the digests of files as JSON values."""
        return self.manifest.summary() | {
            "made": self.made.isoformat(timespec="microseconds"),
            "bytes": self.bytes,
            "generations": list(self.generations),
            "adapters": list(self.adapters),
        }


def list_stored(home: Home) -> list[StoredSnapshot]:
    """Return all snapshots, the oldest first; one that cannot be read is left out."""
    generations, adapters = list_generations(home), list_adapters(home)
    return [
        StoredSnapshot(
            manifest,
            snapshot_made(home, manifest),
            stored_bytes(home.snapshots / manifest.id),
            tuple(one.id for one in generations if one.snapshot == manifest.id),
            tuple(one.id for one in adapters if one.snapshot == manifest.id),
        )
        for manifest in list_manifests(home)
    ]


def read_stored(home: Home, snapshot_id: str) -> StoredSnapshot:
    """Return one snapshot.

    Raises:
        ArtifactError: there is none of that id, or it cannot be read.
    """
    check_id(snapshot_id, "snapshot")
    for one in list_stored(home):
        if one.manifest.id == snapshot_id:
            return one
    if (home.snapshots / snapshot_id).is_dir():
        SnapshotManifest.read(home.snapshots / snapshot_id / MANIFEST, "Delete it, and ingest the same files again.")
    raise ArtifactError(f"There is no snapshot {snapshot_id!r}. `recsys snapshots` lists those that exist.")


def delete_snapshot(home: Home, snapshot_id: str) -> None:
    """Delete a snapshot that nothing stands on, whole or damaged: it is there, and then it is not.

    Raises:
        ArtifactError: there is none, a generation or an adapter stands on it, or a process reads it.
    """
    check_id(snapshot_id, "snapshot")
    folder = home.snapshots / snapshot_id
    refuse_links(home.snapshots, folder)
    try:
        with deleting(home), unheld(folder):
            refuse_users(home, snapshot_id)
            discard_stored(home, SNAPSHOTS, snapshot_id)
            discard_sequences(home, snapshot_id)
            discard_counted(home, snapshot_id)
    except FileNotFoundError:
        raise ArtifactError(
            f"There is no snapshot {snapshot_id!r}. `recsys snapshots` lists those that exist."
        ) from None
    except BlockingIOError:
        raise ArtifactError(f"A process reads snapshot {snapshot_id}, such as a training. Wait for its end.") from None


def refuse_users(home: Home, snapshot_id: str) -> None:
    """Check that nothing stands on a snapshot.

    Raises:
        ArtifactError: a generation does, or may, or an adapter.
    """
    generations = list_generations(home)
    for one in generations:
        if one.snapshot == snapshot_id:
            raise ArtifactError(
                f"Generation {one.id} stands on snapshot {snapshot_id}. Delete the generation first: "
                f"recsys generations delete {one.id}"
            )
    unreadable = sorted(stored_ids(home.generations, MANIFEST) - {one.id for one in generations})
    if unreadable:
        raise ArtifactError(
            f"Generation {unreadable[0]} cannot be read, and may stand on snapshot {snapshot_id}. "
            f"Remove {home.generations / unreadable[0]} first."
        )
    for card in list_adapters(home):
        if card.snapshot == snapshot_id:
            raise ArtifactError(
                f"Adapter {card.id} learnt from snapshot {snapshot_id}, which a training that goes on from it reads. "
                f"Delete the adapter first: recsys adapters delete {card.id}"
            )
