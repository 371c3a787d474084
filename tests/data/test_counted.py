"""Counts of a snapshot that others join: the keys in the cache save a look at all events, and change nothing."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_segments import ANYTHING, ITEMS, NOW, made, small, some_events

from recsys.data.ingest import ingest
from recsys.data.segments import counted, keys
from recsys.data.segments.counted import MEANING, PAIRS, TYPED, USERS, Counted, Written, read_counted
from recsys.data.segments.keys import Keys
from recsys.data.segments.reading import SegmentFiles
from recsys.data.segments.room import Room
from recsys.data.snapshot import Snapshot
from recsys.home import Home
from recsys.store.snapshots import delete_snapshot

EVENTS = some_events(600).drop("event_id").sort("timestamp")
DAYS = [EVENTS[:400], *(EVENTS[start : start + 25] for start in range(400, EVENTS.height, 25))]


def kept(home: Home, snapshot: Snapshot) -> Counted | None:
    return read_counted(home, snapshot.id, snapshot.manifest.content_digest)


def joined(home: Home, before: Snapshot, events: pl.DataFrame) -> Snapshot:
    return ingest(events, None, home, ANYTHING, NOW, append=before)


@pytest.fixture
def at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """All events in one ingest."""
    small(monkeypatch)
    return made(EVENTS, tmp_path / "once")


def test_many_days_are_counted_as_all_are_at_once_and_nothing_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: Snapshot
) -> None:
    monkeypatch.setattr(counted, "_MOST_MERGED", 1_000)
    read: list[str] = []
    scans = SegmentFiles.scans

    def noted(self: SegmentFiles, *names: str) -> Any:
        read.extend(one.node for one in self.segments)
        return scans(self, *names)

    home = Home(tmp_path / "home")
    found = ingest(DAYS[0], ITEMS, home, ANYTHING, NOW)
    monkeypatch.setattr(SegmentFiles, "scans", noted)
    for day in DAYS[1:]:
        assert found.manifest.segments is not None
        read.clear()
        found = joined(home, found, day)
        assert len(read) <= 4 < len(found.manifest.segments or ())
    assert found.id == at_once.id
    assert found.manifest.totals == at_once.manifest.totals
    assert found.manifest.repeats == at_once.manifest.repeats
    of_days, of_all = kept(home, found), kept(Home(tmp_path / "once"), at_once)
    assert of_days is not None
    assert of_all is not None
    assert set(of_days.types) == {"buy", "view"}
    for name in (USERS, TYPED, PAIRS):
        files = [np.fromfile(one, np.uint64) for one in of_days.files(name)]
        assert all((np.diff(one) > 0).all() for one in files)
        together = np.concatenate(files)
        assert len(np.unique(together)) == len(together) == sum(len(np.fromfile(one)) for one in of_all.files(name))
    assert 1 < len(of_days.files(PAIRS)) < 6
    assert of_days.files(PAIRS)[0].stat().st_nlink > 1


def _remove(place: Path) -> None:
    shutil.rmtree(place)


def _damage(place: Path) -> None:
    path = next(place.glob("pairs-*"))
    path.write_bytes(b"\0" * path.stat().st_size)


def _hash_otherwise(place: Path) -> None:
    meaning = place / MEANING
    meaning.write_text(meaning.read_text().replace('"hashed by": [', '"hashed by": [\n 1,'))


@pytest.mark.parametrize("harm", [_remove, _damage, _hash_otherwise])
def test_keys_that_are_not_what_they_were_are_counted_again(tmp_path: Path, at_once: Snapshot, harm: Any) -> None:
    home = Home(tmp_path / "home")
    first = ingest(EVENTS[:400], ITEMS, home, ANYTHING, NOW)
    harm(home.cache / "counted" / first.id)
    assert kept(home, first) is None
    found = joined(home, first, EVENTS[400:])
    assert found.manifest.totals == at_once.manifest.totals
    assert kept(home, found) is not None


def test_a_full_disk_costs_the_keys_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: Snapshot, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(counted, "commit_folder", full)
    home = Home(tmp_path / "home")
    found = made(EVENTS, home.root)
    assert found.id == at_once.id
    assert f"What was counted of snapshot {found.id} is not kept" in caplog.text
    assert [path.name for path in home.snapshots.iterdir()] == [found.id]


def test_they_go_with_their_snapshot(tmp_path: Path, at_once: Snapshot) -> None:
    home = Home(tmp_path / "once")
    assert kept(home, at_once) is not None
    object.__setattr__(at_once, "hold", None)  # as at the end of whoever read it
    delete_snapshot(home, at_once.id)
    assert not list((home.cache / "counted").iterdir())


def test_ids_of_events_are_looked_up_before_segments_are_asked_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    events = EVENTS.with_columns(event_id=pl.format("e{}", pl.int_range(pl.len())))
    home = Home(tmp_path / "home")
    first = ingest(events[:500], ITEMS, home, ANYTHING, NOW)
    asked: list[str] = []
    scans = SegmentFiles.scans

    def noted(self: SegmentFiles, *names: str) -> Any:
        asked.extend(names if names == ("event_id",) else ())
        return scans(self, *names)

    monkeypatch.setattr(SegmentFiles, "scans", noted)
    found = joined(home, first, events[500:])
    assert not asked
    assert found.id == made(events, tmp_path / "once").id
    again = events[10:20].with_columns(timestamp=events["timestamp"][550], value=pl.lit(9.5))
    known = joined(home, found, again)
    assert asked
    assert known.id == found.id  # of one id the earliest event stays
    assert known.manifest.totals == found.manifest.totals


NUMBERS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 50), max_size=30)


@given(parts=st.lists(NUMBERS, max_size=5), most=st.sampled_from([0, 100, 1 << 20]))
def test_numbers_come_back_in_order_each_once(parts: list[list[int]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch, Room.elsewhere() as room:
        patch.setattr(keys, "MOST_HELD", most)
        taken = Keys(room, "numbers")
        for part in parts:
            taken.add(np.array(part, dtype=np.uint64))
        assert [one for part in taken.distinct() for one in part.tolist()] == sorted(
            {n for part in parts for n in part}
        )


@given(levels=st.lists(st.sets(st.integers(0, 60)), min_size=1, max_size=5), asked=st.sets(st.integers(0, 60)))
def test_what_is_there_is_found_in_whatever_file(
    tmp_path_factory: pytest.TempPathFactory, levels: list[set[int]], asked: set[int]
) -> None:
    room, there, before = tmp_path_factory.mktemp("levels"), None, set[int]()
    for number, level in enumerate(levels):
        folder = room / str(number)
        folder.mkdir()
        with Written(folder, PAIRS, there) as written:
            written.add(np.array(sorted(level - before), dtype=np.uint64) << np.uint64(11))
        before |= level
        there = Counted(folder, (), {path.name: "" for path in folder.iterdir()})
    assert there is not None
    looked_up = np.array(sorted(asked), dtype=np.uint64) << np.uint64(11)
    assert there.holds(PAIRS, looked_up).tolist() == [one in before for one in sorted(asked)]
    either = [bool({one, one ^ 1} & before) for one in sorted(asked)]
    assert there.holds(PAIRS, looked_up, of_any_type=True).tolist() == either
