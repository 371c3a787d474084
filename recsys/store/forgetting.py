"""Every kept snapshot without those who have been forgotten since it was written.

A snapshot never changes, and its id says what is in it: so another one takes its place, which shares all segments that
hold nobody who is forgotten, and keeps no quarantine. The old one is left to whoever stands on it, and goes with
``recsys prune`` afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from recsys.callbacks import Progress
from recsys.data import columns
from recsys.data.forgetting import Forgotten
from recsys.data.ingest import ingest
from recsys.data.snapshot import Snapshot, brought, joined_snapshot, list_snapshots
from recsys.home import Home


@dataclass(frozen=True)
class Renewed:
    """A snapshot that held somebody who is forgotten.

    Attributes:
        snapshot: its id.
        without: id of the one without them; None: nobody else is in it, so that there is none. Delete it.
        events: that went.
        users: of whom no event is left.
    """

    snapshot: str
    without: str | None
    events: int
    users: int


def forget_in_snapshots(home: Home, forgotten: Forgotten, progress: Progress | None = None) -> list[Renewed]:
    """Make another one of every snapshot that holds what is forgotten; the oldest first.

    Args:
        home: where snapshots lie.
        forgotten: who, and up to when.
        progress: called with snapshots done and all.

    Raises:
        ArtifactError: a snapshot is not what it was; what was made before it stays.
    """
    found = list_snapshots(home)
    renewed: list[Renewed] = []
    for number, one in enumerate(found, start=1):
        renewed += _renewed(home, brought(one), forgotten)
        if progress is not None:
            progress(number, len(found))
    return renewed


def _renewed(home: Home, snapshot: Snapshot, forgotten: Forgotten) -> Iterator[Renewed]:
    described, counts = snapshot.users(), snapshot.manifest.counts
    people = {*snapshot.user_ids(), *([] if described is None else described[columns.USER_ID])}
    if not forgotten.among(list(people)):
        return
    timed = [name for name in (columns.TIMESTAMP, columns.TIMESTAMP_KNOWN) if name in snapshot.event_schema]
    if not any(forgotten.remain(part).height for part in snapshot.parts(columns.USER_ID, *timed)):
        yield Renewed(snapshot.id, None, counts.events, counts.users)
        return
    made = ingest(None, None, home, forgotten=forgotten, append=joined_snapshot(home, snapshot.id))
    if made.id != snapshot.id:  # else all that is of them is newer
        left = made.manifest.counts
        yield Renewed(snapshot.id, made.id, counts.events - left.events, counts.users - left.users)
