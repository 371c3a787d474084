"""A world as raw files for the ingest: events in parts, items, users, and the truth as settings. Memory is bounded.

A part holds some users with all that they did, so the events are the same whatever the parts' size.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.artifacts import write_json
from recsys.callbacks import StageProgress
from recsys.config import to_dict
from recsys.errors import DataError
from recsys.simulation.world import FORMAT, TRUTH_FILE, World

EVENTS, ITEMS_FILE, USERS_FILE = "events", "items.parquet", "users.parquet"
_MOST_USERS = 200_000  # of a part, where users do next to nothing


@dataclass(frozen=True)
class Written:
    """What a folder holds: counts of rows, and of events by type."""

    users: int
    items: int
    events: int
    files: int
    types: dict[str, int]


def write_world(world: World, folder: Path, progress: StageProgress | None = None) -> Written:
    """Write ``events/part-*.parquet``, ``items.parquet``, ``users.parquet`` and, last, ``truth.json`` into a folder.

    Raises:
        DataError: the folder holds something already, or is none.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty. Name a new folder, or remove what is there.")
    (folder / EVENTS).mkdir(parents=True)
    config = world.config
    world.catalogue.table().write_parquet(folder / ITEMS_FILE)
    size = int(np.clip(config.rows_per_file * config.users // config.events, 1, min(config.users, _MOST_USERS)))
    starts = range(0, config.users, size)
    users = folder / ".users"
    users.mkdir()
    types: dict[str, int] = {}
    for part, start in enumerate(starts):
        rows = np.arange(start, min(start + size, config.users))
        name = f"part-{part:05}.parquet"
        world.people.table(rows).write_parquet(users / name)
        events = world.organic.events(rows)
        events.write_parquet(folder / EVENTS / name)
        for kind, count in events["event_type"].value_counts().iter_rows():
            types[kind] = types.get(kind, 0) + count
        if progress is not None:
            progress("Simulate", part + 1, len(starts))
    parts = sorted(users.glob("*.parquet"))
    pl.scan_parquet(parts, glob=False).sink_parquet(folder / USERS_FILE, maintain_order=True)
    for path in users.iterdir():
        path.unlink()
    users.rmdir()
    written = Written(config.users, config.items, sum(types.values()), len(starts), dict(sorted(types.items())))
    counts = {"users": written.users, "items": written.items, "events": written.events, "types": written.types}
    document = {"format": FORMAT, "config": to_dict(config), "counts": counts, **world.truth()}
    write_json(folder / TRUTH_FILE, document)
    return written
