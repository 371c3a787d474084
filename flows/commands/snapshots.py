"""`recsys snapshots`: list, show, delete; and `recsys prune`, which removes what nobody needs any more."""

from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal

import typer
from rich.pretty import Pretty

from flows import progress
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, Shell, shell, table
from recsys.store.names import SNAPSHOT, meant
from recsys.store.standing import KEEP, LEAST, MIN_AGE


def snapshots(
    action: Annotated[Literal["list", "show", "delete", "forget"], typer.Argument()] = "list",
    snapshot_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="16 hexadecimal digits, or how they begin.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List, show or delete snapshots; or make all of them anew without those who are forgotten."""
    if (snapshot_id is None) != (action in ("list", "forget")):
        raise typer.BadParameter(f"{action} takes no id" if snapshot_id is not None else f"{action} takes an id")
    with shell(home, as_json, debug) as session:
        if action == "forget":
            _forget(session)
            return
        from recsys.store.snapshots import delete_snapshot, list_stored, read_stored

        chosen = "" if snapshot_id is None else meant(session.home, SNAPSHOT, snapshot_id)
        if action == "list":
            found = list_stored(session.home)[::-1]
            session.result = {"snapshots": [one.to_dict() for one in found]}
            headings = {"snapshot": "", "made": ""} | dict.fromkeys(("users", "items", "events", "MB"), "right")
            rows = [
                [
                    one.manifest.id, f"{one.made:%Y-%m-%d %H:%M:%S}",
                    *(f"{count:,}" for count in (one.manifest.counts.users, one.manifest.counts.items)),
                    f"{one.manifest.counts.events:,}", megabytes(one.bytes),
                    ", ".join([*(f"generation {user}" for user in one.generations),
                               *(f"adapter {user}" for user in one.adapters)]),
                ]
                for one in found
            ]  # fmt: skip
            session.show(table(headings | {"used by": ""}, rows))
        elif action == "show":
            session.result = read_stored(session.home, chosen).to_dict()
            session.show(Pretty(session.result))
        else:
            delete_snapshot(session.home, chosen)
            session.result = {"deleted": chosen}
            session.show(f"Deleted snapshot {chosen}.")


def _forget(session: Shell) -> None:
    from recsys.database.engine import Database
    from recsys.database.tombstones import Tombstones
    from recsys.store.forgetting import forget_in_snapshots

    database = Database.of(session.home)
    try:
        forgotten = Tombstones(database).read()
    finally:
        database.close()
    done = forget_in_snapshots(session.home, forgotten, partial(progress.report, "Forget"))
    session.result = {"renewed": [asdict(one) for one in done]}
    headings = {"snapshot": "", "without them": "", "events": "right", "users": "right"}
    rows = [[one.snapshot, one.without or "nothing is left", f"{one.events:,}", f"{one.users:,}"] for one in done]
    if rows:
        session.show(table(headings, rows))
        session.show(
            "Next: recsys train on the newest, recsys publish; then recsys prune, or recsys snapshots delete ID"
        )
    else:
        session.show("Nobody who is forgotten is in a snapshot.")


def prune(
    keep: Annotated[
        int,
        typer.Option(min=LEAST, help="Newest generations that stay, and of those served last, the current one too."),
    ] = KEEP,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would go, and change nothing.")] = False,
    min_age: Annotated[
        float, typer.Option(min=0, metavar="HOURS", help="What was made or found again within so many hours stays.")
    ] = MIN_AGE / timedelta(hours=1),
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Remove old generations and what stood on them alone; what is served, named, read or young stays."""
    with shell(home, as_json, debug) as session:
        from flows.prune import prune_home

        done = prune_home(str(session.home.root), keep, dry_run, min_age)
        session.result = {"dry_run": dry_run, **done.to_dict()}
        goes = "would go" if dry_run else "went"
        headings = {"kind": "", "name": "", "MB": "right"}
        for heading, entries in ((goes, done.goes), ("stays", done.stays)):
            rows = [[one.kind, one.name, megabytes(one.bytes), f"{heading}: {one.why}"] for one in entries]
            if rows:
                session.show(table(headings | {"why": ""}, rows))
        session.show(f"{megabytes(done.freed)} MB {goes}, {megabytes(done.kept)} MB stay.")


def megabytes(size: int) -> str:
    """Return a number of bytes in megabytes of 10⁶."""
    return f"{size / 1e6:,.1f}"
