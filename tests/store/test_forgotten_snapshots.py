"""Kept snapshots without who is forgotten: each that held them is made anew, and no other."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from recsys.data.forgetting import Forgotten, hash_user
from recsys.data.ingest import ingest
from recsys.data.manifest import LiveMark
from recsys.data.quality import QUARANTINE_SCHEMA
from recsys.data.segments import trie
from recsys.data.snapshot import Snapshot, open_snapshot, write_snapshot
from recsys.database.engine import Database
from recsys.database.tombstones import Tombstones
from recsys.home import Home
from recsys.store.forgetting import Renewed, forget_in_snapshots

START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = pl.DataFrame({"item_id": ["a", "b"], "title": ["A thing", "Another"]})
GONE = Forgotten(b"salt", {hash_user(b"salt", "ann"): int(NOW.timestamp() * 1e6)})


def events(*users: str) -> pl.DataFrame:
    """An event a day, of one user after the other."""
    return pl.DataFrame(
        {
            "user_id": users,
            "item_id": ["a", "b"] * (len(users) // 2) + ["a"] * (len(users) % 2),
            "timestamp": [START + timedelta(days=number) for number in range(len(users))],
        }
    )


def kept(home: Home, *users: str) -> Snapshot:
    return ingest(events(*users), ITEMS, home, now=NOW)


def test_only_those_that_held_somebody_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trie, "LEAF_ROWS", 20)
    home = Home(tmp_path / "home")
    large = kept(home, *["ann"] * 5, *["bob"] * 95)
    other, alone = kept(home, "bob", "eve"), kept(home, "ann", "ann", "ann")
    done = forget_in_snapshots(home, GONE)
    without = ingest(large.events().filter(pl.col("user_id") != "ann"), ITEMS, Home(tmp_path / "once"), now=NOW)
    assert done == [Renewed(large.id, without.id, 5, 1), Renewed(alone.id, None, 3, 1)]
    assert open_snapshot(home, without.id).user_ids() == ["bob"]
    assert large.manifest.segments is not None
    assert without.manifest.segments is not None
    inodes = [
        {path.stat().st_ino for path in (home.snapshots / one / "events").iterdir()} for one in (large.id, without.id)
    ]
    assert len(inodes[0] & inodes[1]) >= len(large.manifest.segments) - 2
    assert [open_snapshot(home, one.id).id for one in (large, other, alone)] == [large.id, other.id, alone.id]
    assert forget_in_snapshots(home, GONE) == done  # as long as the old ones are there
    nobody = Forgotten(b"salt", {hash_user(b"salt", "ann"): int(START.timestamp() * 1e6) - 1})
    assert forget_in_snapshots(home, nobody)[1:] == []  # all that is of them is newer


def test_what_was_joined_from_the_service_is_still_known_as_such(tmp_path: Path) -> None:
    home, mark = Home(tmp_path), LiveMark(3, 1, 0, 17, 5, 1_700_000_000_000_000)
    table = events("ann", "bob").with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    first = write_snapshot(home, table, ITEMS, pl.DataFrame(schema=QUARANTINE_SCHEMA), live=mark)
    [done] = forget_in_snapshots(home, GONE)
    assert (done.snapshot, done.events, done.users) == (first.id, 1, 1)
    assert open_snapshot(home, str(done.without)).manifest.live == mark


def test_the_command_says_which_takes_the_place_of_which(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = kept(home, "ann", "bob", "bob")
    asked = ["snapshots", "forget", "--home", str(home.root), "--json"]
    assert json.loads(CliRunner().invoke(app, asked).stdout) == {"renewed": []}
    database = Database.of(home)
    try:
        Tombstones(database).forget("ann", ())
    finally:
        database.close()
    [done] = json.loads(CliRunner().invoke(app, asked).stdout)["renewed"]
    assert (done["snapshot"], done["events"], done["users"]) == (first.id, 1, 1)
    assert open_snapshot(home, done["without"]).user_ids() == ["bob"]
    shown = CliRunner().invoke(app, [*asked[:2], first.id, *asked[2:4]])
    assert shown.exit_code == 2
