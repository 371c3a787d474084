"""All findings about tables, or about a snapshot beside the one before: the gravest first."""

from collections.abc import Mapping

import polars as pl

from recsys.data.distributions import previous
from recsys.data.findings.drift import Profile, drift_findings
from recsys.data.findings.events import event_findings
from recsys.data.findings.finding import ERROR, Finding
from recsys.data.findings.texts import text_findings
from recsys.data.snapshot import Snapshot, list_snapshots
from recsys.home import Home


def findings(
    events: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame | None = None,
    before: Mapping[str, Profile] | None = None,
) -> tuple[Finding, ...]:
    """Return what is found about good tables.

    Args:
        events: as a snapshot has them, in any order.
        items: likewise.
        users: likewise; None: nothing is known of them.
        before: profiles of the last snapshot's tables; None: there is none.
    """
    tables = {"events": events, "items": items} | ({} if users is None else {"users": users})
    now = {name: Profile.of(table) for name, table in tables.items()}
    found = [*drift_findings(before or {}, now), *event_findings([events], items), *text_findings(items)]
    return tuple(sorted(found, key=lambda one: one.severity != ERROR))


def snapshot_findings(home: Home, snapshot: Snapshot) -> tuple[Finding, ...]:
    """Return what is found about a snapshot, beside the one that was made before it."""
    before = previous(list_snapshots(home), snapshot)
    return findings(snapshot.events(), snapshot.items(), snapshot.users(), profiles(before))


def profiles(snapshot: Snapshot | None) -> dict[str, Profile]:
    """Return the profiles of a snapshot's tables; none where there is no snapshot."""
    if snapshot is None:
        return {}
    users = snapshot.users()
    tables = {"events": snapshot.events(), "items": snapshot.items()} | ({} if users is None else {"users": users})
    return {name: Profile.of(table) for name, table in tables.items()}
