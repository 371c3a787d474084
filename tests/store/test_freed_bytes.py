"""What a prune frees is what the disk has more of afterwards: segments that snapshots share are free with the last."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.artifacts import Hold, stored_bytes
from recsys.data.ingest import ingest
from recsys.data.segments import trie
from recsys.home import Home
from recsys.store.occupied import Link, freed, held, links_of
from recsys.store.retention import Retention, prune

ITEMS = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]})
START = datetime(2024, 1, 1, tzinfo=UTC)


def on_disk(folder: Path) -> int:
    """Return the bytes of all files, each once."""
    files = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return sum(files.values())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home of three snapshots; each shares segments with those before."""
    monkeypatch.setattr(trie, "LEAF_ROWS", 50)
    times = [START + timedelta(days=number) for number in range(400)]
    items = pl.Series(["a", "b"] * 200)
    events = pl.DataFrame(
        {"user_id": [f"u{number % 9}" for number in range(400)], "item_id": items, "timestamp": times}
    )
    home, found = Home(tmp_path / "home"), None
    for start, end in ((0, 300), (300, 350), (350, 400)):
        found = ingest(events[start:end], ITEMS, home, append=found)
    return home


def pruned(home: Home, dry_run: bool = False) -> Retention:
    return prune(home, dry_run=dry_run, now=datetime.now(UTC) + timedelta(days=10))


def test_what_is_freed_is_what_the_disk_has_more_of(home: Home) -> None:
    before, would = on_disk(home.snapshots), pruned(home, dry_run=True)
    assert [entry.kind for entry in would.goes] == ["snapshot", "snapshot"]
    assert 0 < would.freed < sum(stored_bytes(home.root / entry.place) for entry in would.goes)
    assert would.freed + would.kept == on_disk(home.root)
    assert pruned(home).freed == would.freed == before - on_disk(home.snapshots)


def test_what_one_that_is_spared_shares_is_not_free(home: Home) -> None:
    before, all_of_them = on_disk(home.snapshots), pruned(home, dry_run=True)
    hold = Hold(home.root / all_of_them.goes[0].place)
    found = pruned(home)
    assert [entry.place for entry in found.goes] == [all_of_them.goes[1].place]
    assert 0 < found.freed == before - on_disk(home.snapshots) < all_of_them.freed
    assert found.kept == on_disk(home.root)
    del hold


def test_a_file_that_has_a_name_elsewhere_is_not_free(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"123")
    (tmp_path / "in" / "b").write_bytes(b"12345")
    os.link(tmp_path / "in" / "a", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "c")
    links = [links_of(tmp_path / "in")]
    assert (freed(links), held(links)) == ([5], [8])
    assert links_of(tmp_path / "nowhere") == []


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=5), st.lists(st.integers(0, 2), min_size=5, max_size=5)
)
def test_all_that_has_no_further_name_is_free_in_the_end(places: list[list[int]], elsewhere: list[int]) -> None:
    names = [sum(place.count(file) for place in places) for file in range(5)]
    links = [[Link((0, file), 10**file, names[file] + elsewhere[file]) for file in place] for place in places]
    there = {file for place in places for file in place}
    assert sum(freed(links)) == sum(10**file for file in there if not elsewhere[file])
    assert sum(held(links)) == sum(10**file for file in there)
