"""Write what this release leaves on disk, for later ones to open; what lies there is never written again.

``PYTHONPATH=.:tests:services/python-client python tests/golden/write.py VERSION``, once a release, from its own code.
Everything is tiny, no weights are anybody's, and the database is SQL, since SQLite's files are not text.
"""

import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from small_home import IDS, make_adapter, make_generation, make_snapshot

from recsys.artifacts import write_json
from recsys.config import ModelConfig
from recsys.data.ingest import ingest
from recsys.data.segments import trie
from recsys.database.comparisons import Comparison, ShadowStore
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.exposures import ExposureStore
from recsys.database.impressions import Impression, ImpressionStore, Options
from recsys.database.live_items import ItemStore
from recsys.database.tombstones import Tombstones
from recsys.database.user_attributes import AttributeStore
from recsys.home import Home
from recsys.store.generations import promote
from recsys.store.names import ADAPTER, set_alias
from services.edge.keys import create_key

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GONE = "gone"
NOT_KEPT = ("events.db*", "*.lock", "report-*", "*.npy")  # made anew, or binary and kept as text


def write(folder: Path, release: str) -> None:
    """Write a home, its database as SQL, and what is in both."""
    home = Home(folder / "home").make()
    told = _artifacts(home) | _database(home)
    with closing(sqlite3.connect(home.events_database)) as database:
        (folder / "events.sql").write_text("\n".join(database.iterdump()) + "\n")
    for pattern in NOT_KEPT:
        for path in home.root.rglob(pattern):
            path.unlink()
    write_json(folder / "expected.json", {"release": release, **told})


def _artifacts(home: Home) -> dict[str, object]:
    whole = make_snapshot(home, 1)
    trie.LEAF_ROWS = 8  # so that few events need segments, which are of format 2
    moments = [NOON + timedelta(hours=number) for number in range(24)]
    events = {"user_id": [f"u{number % 5}" for number in range(24)], "item_id": IDS[:12] * 2, "timestamp": moments}
    items = pl.DataFrame({"item_id": IDS, "title": IDS})
    segmented = ingest(pl.DataFrame(events), items, home, now=NOON + timedelta(days=9)).id
    adapter = make_adapter(home, 1, whole)
    settings = {name: value for name, value in asdict(ModelConfig()).items() if name != "seed"}  # the call's own word
    generation = make_generation(home, 1, whole, adapter, **settings)
    promote(home, generation)
    set_alias(home, ADAPTER, adapter, "champion")
    create_key(home, "shop", ["recommend"])
    return {
        "snapshots": {whole: 1, segmented: 24},
        "adapter": adapter,
        "generation": generation,
    }


def _database(home: Home) -> dict[str, object]:
    database = Database.of(home)
    try:
        events, tombstones = EventStore(database), Tombstones(database)
        for user in ("ann", "bob", GONE):
            said = ("view", 2.5, 3, "answer", {"device": "phone"})
            events.add([Event(user, IDS[0], NOON, f"of {user}", *said)], "key")
        events.add([Event("ann", IDS[1], NOON + timedelta(hours=1))])
        impressions = ImpressionStore(database, tombstones)
        shown = {"item_id": IDS[0], "score": 0.5, "propensity": 1.0}
        impressions.add([Impression("answer", NOON, "ann", "g", "a", options=Options({"k": 1}), items=[shown])])
        store = ItemStore(database)
        store.put("new", {"title": "A new one"}, "key")
        store.put(IDS[2], None)
        AttributeStore(database).put("ann", {"age": 30})
        ExposureStore(database).show({"new": 4})
        ShadowStore(database).add([Comparison("answer", "g", "h", NOON, 1, 0.5, 1.0, 2.0, 0.0, 0.0, [0])])
        tombstones.forget(GONE, [events.forget, impressions.forget])
        with database.engine.connect() as connection:
            rows = {
                name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
                for (name,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").all()
            }
    finally:
        database.close()
    return {"rows": rows}


if __name__ == "__main__":
    (version,) = sys.argv[1:]
    target = Path(__file__).with_name(version)
    if target.exists():
        sys.exit(f"{target} is there, and stays as it is.")
    with tempfile.TemporaryDirectory() as staging:
        write(Path(staging) / version, version)
        shutil.move(Path(staging) / version, target)
    print(target)
