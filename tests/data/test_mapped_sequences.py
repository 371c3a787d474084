"""Sequences mapped from files: what the snapshot's tables say, for whoever reads, and gone with the snapshot."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from synthetic import write_dataset

from recsys.config import SignalConfig
from recsys.data import mapped_sequences as mapped
from recsys.data.ingest import ingest
from recsys.data.mapped_sequences import mapped_sequences, read_mapped, write_mapped
from recsys.data.sequences import Sequences
from recsys.data.signals import Signals
from recsys.data.snapshot import Snapshot
from recsys.home import Home
from recsys.store.snapshots import delete_snapshot

SIGNALS = Signals((SignalConfig("positive", "view", weight=0.5), SignalConfig("ignored", "ad")))


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """Events of three types, and as many of them as are mapped."""
    monkeypatch.setattr(mapped, "MAPPED_FROM", 100)
    events, items = write_dataset(tmp_path / "data", users=20, items=30)
    kinds = pl.Series(["view", "purchase", "ad"])
    table = pl.read_parquet(events)
    table.with_columns(event_type=kinds.gather(pl.select(pl.int_range(table.height) % 3).to_series())).write_parquet(
        events
    )
    return ingest(events, items, Home(tmp_path / "home"))


def same(one: Sequences, other: Sequences) -> bool:
    columns = [
        *zip((one.items, one.offsets, one.times), (other.items, other.offsets, other.times), strict=True),
        *([] if other.signals is None else [(getattr(one.signals, name), getattr(other.signals, name)) for name in
          ("kinds", "weights", "roles", "taking", "names")]),
    ]  # fmt: skip
    kinds = [type(found) is type(wanted) and getattr(found, "dtype", 0) == getattr(wanted, "dtype", 0)
             for found, wanted in columns]  # fmt: skip
    return all(kinds) and all(np.array_equal(found, wanted) for found, wanted in columns)


@pytest.mark.parametrize("signals", [None, SIGNALS])
@pytest.mark.parametrize("tie_seed", [None, 3])
def test_mapped_ones_are_those_of_the_tables(snapshot, signals, tie_seed, monkeypatch):
    wanted = snapshot.sequences(tie_seed, signals)
    first = mapped_sequences(snapshot, tie_seed, signals)
    monkeypatch.setattr(Snapshot, "events", None)  # from here on nobody reads the tables
    again = mapped_sequences(snapshot, tie_seed, signals)
    for found in (first, again):
        assert same(found, wanted)
        assert isinstance(found.items.base, np.memmap)
        assert not found.items.flags.writeable
    assert same(again.last(2), wanted.last(2))


def test_few_events_are_read_from_the_tables(snapshot, monkeypatch):
    monkeypatch.setattr(mapped, "MAPPED_FROM", 10**6)
    assert not isinstance(mapped_sequences(snapshot).items.base, np.memmap)
    assert not (snapshot.path.parents[1] / "cache" / "sequences").exists()


def test_what_is_damaged_is_made_anew(snapshot):
    wanted = snapshot.sequences()
    mapped_sequences(snapshot)
    [folder] = (snapshot.path.parents[1] / "cache" / "sequences" / snapshot.id).glob("*/*")
    flipped = bytearray((folder / "items.npy").read_bytes())
    flipped[-4] ^= 1  # another item, and as many as before
    broken = [("items.npy", bytes(flipped)), ("items.npy", b"cut")]
    broken += [("meaning.json", b"[]"), ("meaning.json", b'{"events": 3}')]
    for name, content in broken:
        (folder / name).write_bytes(content)
        assert read_mapped(folder) is None
        assert same(mapped_sequences(snapshot), wanted)
        assert read_mapped(folder) is not None


def test_they_go_with_their_snapshot_and_what_it_held_before_goes_too(snapshot):
    home = Home(snapshot.path.parents[1])
    found = mapped_sequences(snapshot)
    wanted = found.items.copy()
    stale = home.cache / "sequences" / snapshot.id / "0123456789abcdef" / "other"
    write_mapped(Sequences.from_lists([[1]]), _made(stale))
    mapped_sequences(snapshot, tie_seed=1)
    assert not stale.parent.exists()
    object.__setattr__(snapshot, "hold", None)  # as at the end of whoever read it
    delete_snapshot(home, snapshot.id)
    assert not list((home.cache / "sequences").iterdir())
    np.testing.assert_array_equal(found.items, wanted)  # who reads goes on


def test_a_home_that_may_only_be_read_gives_them_too(snapshot, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(mapped, "write_mapped", refused)
    assert same(mapped_sequences(snapshot), snapshot.sequences())


def _made(place: Path) -> Path:
    place.parent.mkdir(parents=True)
    return place
