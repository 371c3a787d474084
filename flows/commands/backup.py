"""`recsys backup` and `recsys restore`: a home and its database into a folder, and out of it again."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import progress
from flows.commands.snapshots import megabytes
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, shell

if TYPE_CHECKING:
    from recsys.store.backups import Backup


def backup(
    place: Annotated[Path, typer.Argument(metavar="DEST", help="Folder for backups, outside of the home.")],
    salt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Copy forgotten.salt to this file, elsewhere than DEST."),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Delete all but the newest N backups afterwards.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a backup of the home and its database, also while both are used; what is unchanged takes no room."""
    with shell(home, as_json, debug) as session:
        from recsys.store.backups import back_up

        made = back_up(session.home, place, salt, keep, progress.report)
        session.result = _told(made.path, made.backup) | {"copied": made.copied, "removed": list(made.removed)}
        session.show(
            f"{made.path}: {len(made.backup.files):,} files, {megabytes(made.backup.bytes)} MB, "
            f"{megabytes(made.copied)} of them new; {made.backup.events:,} live events."
        )
        if made.removed:
            session.show(f"Removed {', '.join(made.removed)}.")
        if salt is None and session.home.salt.exists():
            session.show(
                f"{session.home.salt} is not in it, since it must not lie beside the hashes that it protects. A "
                "restore needs it: keep a copy elsewhere (--salt FILE)."
            )


def restore(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A backup, or the folder of backups: the newest one.")
    ],
    salt: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="The copy of forgotten.salt that was kept.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare every file with its hash, and restore nothing.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Fill an empty home and an unused database from a backup; who was forgotten stays forgotten."""
    with shell(home, as_json, debug) as session:
        from recsys.store import restoring

        work = partial(restoring.check, source) if check else partial(restoring.restore, source, session.home, salt)
        done = work(progress=progress.report)
        session.result = _told(done.path, done.backup) | {
            "forgotten_since": done.forgotten_since,
            "forgotten_until": done.forgotten_until,
            "restored": None if check else str(session.home.root),
        }
        what = "is whole" if check else f"is restored into {session.home.root}"
        session.show(
            f"{done.path} {what}: {len(done.backup.files):,} files, {megabytes(done.backup.bytes)} MB, "
            f"{done.backup.events:,} live events; it serves {done.backup.served or 'nothing yet'}."
        )
        if done.forgotten_since:
            session.show(f"{done.forgotten_since:,} users were forgotten after it, as later backups know, and stay so.")
        session.show(
            f"Who asked to be forgotten after {done.forgotten_until} is in no backup: forget them once more "
            "(DELETE /v1/users/{id})."
        )


def _told(path: Path, backup: "Backup") -> dict[str, Any]:
    return {
        "backup": str(path),
        "made": backup.made,
        "served": backup.served,
        "files": len(backup.files),
        "bytes": backup.bytes,
        "events": backup.events,
        "forgotten": backup.forgotten,
    }
