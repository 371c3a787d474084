"""The home as a place: whose it is, who may enter, how much room is left, and what crashes have left in it."""

import os
import shutil
from collections.abc import Iterator

from recsys.artifacts import STAGING_PREFIX, is_held, stored_bytes
from recsys.health.findings import Seen, failed, fine, some, warning
from recsys.home import Home
from recsys.store.adapters import list_adapters
from recsys.store.generations import newest_last
from recsys.store.retention import plan
from recsys.store.standing import Rule

MEGABYTE = 10**6
FIRST_RUN = 10**9  # bytes that a first run may take, with the models that it downloads and the checkpoints
LEAST_FILES = 10_000  # that can still be made: an index alone is hundreds
SHARE, WORTHWHILE = 0.2, 100 * MEGABYTE  # of a home that prune would free, and bytes


def look_at_place(home: Home) -> Iterator[Seen]:
    """See whether the home is there, is this user's, and is closed to others."""
    root = home.root
    if not os.path.lexists(root):
        yield warning(f"{root} does not exist.", "`recsys ingest` makes it. Is RECSYS_HOME, or --home, what you meant?")
        return
    if not root.is_dir():
        yield failed(f"{root} is no folder.", "Name another, by --home or RECSYS_HOME.")
        return
    status, user = root.stat(), os.geteuid()
    wrong = 0
    if status.st_uid != user:
        wrong += 1
        yield warning(
            f"{root} belongs to user {status.st_uid}, and this is user {user}.",
            f"Run as that user, or chown -R {user} the home.",
        )
    if not os.access(root, os.W_OK | os.X_OK):
        wrong += 1
        yield warning(f"{root} cannot be written to: it answers, and nothing new can be made.", "Mount it writable.")
    rooms = (home.snapshots, home.adapters, home.encoders, home.generations, home.lance, home.runs, home.cache)
    for room in rooms:
        if os.path.lexists(room) and (room.is_symlink() or not room.is_dir()):
            wrong += 1
            yield failed(f"{room} is no folder.", "Move it away; what was in the folder comes from a backup.")
        elif room.is_dir() and os.access(root, os.W_OK) and not os.access(room, os.W_OK | os.X_OK):
            wrong += 1
            yield failed(
                f"{room} cannot be written to, and the home can.", f"Give it back: chown, or chmod u+rwx {room}."
            )
    for path in home.open_to_all():
        wrong += 1
        yield warning(
            f"Every user of this machine may enter or read {path}.",
            f"chmod {'700' if path == root else '600'} {path}",
        )
    if not wrong:
        yield fine(f"{root}, of user {status.st_uid}, mode {status.st_mode & 0o777:o}")


def look_at_disk(home: Home) -> Iterator[Seen]:
    """See whether the next run has room: it takes about what the newest of everything takes, until prune."""
    there = next(place for place in (home.root, *home.root.parents) if place.is_dir())
    free, needed = shutil.disk_usage(there).free, _next_run(home)
    said = f"{free / MEGABYTE:,.0f} MB are free; the next training and ingest need about {needed / MEGABYTE:,.0f} MB."
    files = os.statvfs(there)
    if free < needed:
        yield failed(said, "Make room: `recsys prune --dry-run` tells what of the home can go.")
    elif free < 2 * needed:
        yield warning(said, "`recsys prune --dry-run` tells what of the home can go.")
    else:
        yield fine(said)
    if files.f_files and files.f_favail < LEAST_FILES:
        yield failed(
            f"The disk of {there} takes {files.f_favail:,} files more, whatever is free.",
            "Remove small files, or make the file system anew with more inodes.",
        )


def _next_run(home: Home) -> int:
    made = newest_last(home)
    newest = [] if not made else [home.generations / made[-1].id, home.snapshots / made[-1].snapshot]
    if made:
        newest += [home.adapters / made[-1].adapter, *home.lance.glob(f"{made[-1].index.table}*")]
    elif cards := list_adapters(home):
        newest = [home.adapters / cards[-1].id]
    return FIRST_RUN + stored_bytes(*newest)


def look_at_leftovers(home: Home) -> Iterator[Seen]:
    """See what writers that have ended have left, and how many are at work."""
    staged = sorted(home.root.rglob(f"{STAGING_PREFIX}*")) if home.root.is_dir() else []
    outermost = [path for path in staged if not any(part.startswith(STAGING_PREFIX) for part in path.parts[:-1])]
    left = [path for path in outermost if not is_held(path)]
    if left:
        yield warning(
            f"Ended processes have left {len(left)}, {stored_bytes(*left) / MEGABYTE:,.1f} MB: {some(map(str, left))}.",
            "`recsys prune` removes it, as the next publication does.",
        )
    else:
        working = len(outermost)
        yield fine(f"nothing is left behind{f'; {working} are being written' if working else ''}")


def look_at_pruning(home: Home) -> Iterator[Seen]:
    """See whether a prune is worth its while."""
    if not home.root.is_dir():
        yield fine("there is nothing")
        return
    found = plan(home, Rule())
    said = f"`recsys prune` would free {found.freed / MEGABYTE:,.1f} of {(found.freed + found.kept) / MEGABYTE:,.1f} MB"
    if found.freed > max(WORTHWHILE, SHARE * (found.freed + found.kept)):
        yield warning(f"{said}.", "Run it, or schedule its flow; --dry-run tells what would go.")
    else:
        yield fine(said)
