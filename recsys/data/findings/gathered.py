"""All findings about a snapshot beside the one before: the gravest first."""

from functools import reduce

from recsys.data.distributions import previous
from recsys.data.findings.drift import Profile
from recsys.data.findings.finding import Finding
from recsys.data.findings.look import Look
from recsys.data.snapshot import Snapshot, list_snapshots
from recsys.home import Home


def look_at(snapshot: Snapshot) -> Look:
    """Look at all events of a snapshot."""
    look = Look()
    for part in snapshot.parts():
        look.update(part)
    return look


def snapshot_findings(home: Home, snapshot: Snapshot, look: Look | None = None) -> tuple[Finding, ...]:
    """Return what is found about a snapshot, beside the one that was made before it.

    ``look``: of ``look_at``, where somebody has looked.
    """
    before = previous(list_snapshots(home), snapshot)
    return (look or look_at(snapshot)).findings(snapshot.items(), snapshot.users(), profiles(before))


def profiles(snapshot: Snapshot | None) -> dict[str, Profile]:
    """Return the profiles of a snapshot's tables; none where there is no snapshot."""
    if snapshot is None:
        return {}
    users = snapshot.users()
    tables = {"items": snapshot.items()} | ({} if users is None else {"users": users})
    events = reduce(Profile.with_more, map(Profile.of, snapshot.parts()))
    return {"events": events} | {name: Profile.of(table) for name, table in tables.items()}
