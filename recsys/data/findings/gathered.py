"""All findings about a snapshot beside the one before, or about tables: the gravest first."""

from collections.abc import Mapping

import polars as pl

from recsys.data.distributions import previous
from recsys.data.findings.drift import Profile
from recsys.data.findings.finding import Finding
from recsys.data.findings.look import Look
from recsys.data.snapshot import Snapshot, list_snapshots
from recsys.home import Home


def findings(
    events: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame | None = None,
    before: Mapping[str, Profile] | None = None,
) -> tuple[Finding, ...]:
    """Return what is found about good tables; see ``Look.findings``."""
    look = Look()
    look.update(events)
    return look.findings(items, users, before)


def snapshot_findings(home: Home, snapshot: Snapshot) -> tuple[Finding, ...]:
    """Return what is found about a snapshot, beside the one that was made before it."""
    before, look = previous(list_snapshots(home), snapshot), Look()
    for part in snapshot.parts():
        look.update(part)
    return look.findings(snapshot.items(), snapshot.users(), profiles(before))


def profiles(snapshot: Snapshot | None) -> dict[str, Profile]:
    """Return the profiles of a snapshot's tables; none where there is no snapshot."""
    if snapshot is None:
        return {}
    users = snapshot.users()
    tables = {"events": snapshot.events(), "items": snapshot.items()} | ({} if users is None else {"users": users})
    return {name: Profile.of(table) for name, table in tables.items()}
