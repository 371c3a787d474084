"""New rows join a snapshot: what results is what all rows give at once; whatever is killed, the old one is whole."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from test_segments import ANYTHING, ITEMS, NOW, made, small, some_events

from recsys.artifacts import ArtifactError, remove_staging
from recsys.config import IngestConfig
from recsys.data.forgetting import Forgotten, hash_user
from recsys.data.ingest import ingest, validate
from recsys.data.quality import QualityError
from recsys.data.snapshot import Snapshot, joined_snapshot, list_snapshots, open_snapshot
from recsys.errors import DataError
from recsys.home import Home


def appended(home: Home, first: Any, *others: Any, items: Any = None, **more: Any) -> Snapshot:
    """Return a snapshot that was made in several runs."""
    found = ingest(first, ITEMS, home, ANYTHING, NOW)
    for other in others:
        found = ingest(other, items, home, ANYTHING, NOW, append=open_snapshot(home, found.id), **more)
    return found


@pytest.mark.parametrize(("leaf", "rows"), [(100_000, 300), (40, 400), (5, 90)])
def test_events_that_join_a_snapshot_give_what_all_give_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaf: int, rows: int
) -> None:
    small(monkeypatch, leaf)
    events = some_events(rows)
    at_once = made(events, tmp_path / "once")
    cuts = {
        "by time": [events.sort("timestamp")[: rows // 2], events.sort("timestamp")[rows // 2 :]],
        "late first": [events.sort("timestamp")[rows // 2 :], events.sort("timestamp")[: rows // 2]],
        "mixed": [events[2::3], events[1::3], events[::3]],
        "few first": [events[:20], events[20:]],
        "again": [events, events[::4]],
    }
    for name, (first, *others) in cuts.items():
        home = Home(tmp_path / name)
        found = appended(home, first, *others)
        assert found.id == at_once.id, name
        assert found.events().equals(at_once.events())
        assert found.manifest.counts.users == at_once.manifest.counts.users
        assert found.manifest.repeats == at_once.manifest.repeats
        assert found.manifest.watermark == at_once.manifest.watermark
        assert open_snapshot(home, found.id).id == found.id


def test_segments_that_nothing_joins_are_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    events, home = some_events().drop("event_id").sort("timestamp"), Home(tmp_path)
    first = ingest(events[:900], ITEMS, home, ANYTHING, NOW)
    later = ingest(events[900:], None, home, ANYTHING, NOW, append=first)
    assert first.manifest.segments is not None
    assert later.manifest.segments is not None
    assert later.manifest.appended is not None
    inodes = [{path.stat().st_ino for path in (one.path / "events").iterdir()} for one in (first, later)]
    shared = later.manifest.appended.segments
    assert shared == len(inodes[0] & inodes[1]) >= len(first.manifest.segments) - 2
    assert later.manifest.appended.late == 0
    late = ingest(
        events[600:610].with_columns(value=pl.lit(9.5), user_id=pl.lit("u99")), None, home, ANYTHING, NOW, append=later
    )
    assert late.manifest.appended is not None
    assert late.manifest.appended.late == late.manifest.appended.events > 0
    assert late.manifest.appended.segments >= len(later.manifest.segments) - 10
    assert late.manifest.watermark == later.manifest.watermark
    assert open_snapshot(home, first.id).id == first.id


def plain_events(rows: int = 400) -> pl.DataFrame:
    """Events without ids, one a day."""
    return pl.DataFrame(
        {
            "user_id": [f"u{number % 17}" for number in range(rows)],
            "item_id": [f"i{number % 9}" for number in range(rows)],
            "timestamp": [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(rows)],
        }
    )


def test_a_column_that_only_new_events_have_touches_no_old_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    events, home = plain_events(), Home(tmp_path / "home")
    for name, column in (("text", pl.lit("x")), ("whole", pl.lit(1)), ("float", pl.lit(0.5))):
        later = events[300:].with_columns(shelf=column)
        both = tmp_path / name
        both.mkdir()
        events[:300].write_parquet(both / "a.parquet")
        later.write_parquet(both / "b.parquet")
        found = appended(home, events[:300], later)
        assert found.id == made(str(both), tmp_path / f"{name} at once").id
        assert found.manifest.appended is not None
        assert found.manifest.appended.segments > 2
        assert found.events()["shelf"].null_count() == 300


def test_a_type_that_new_events_widen_is_that_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    events = plain_events().with_columns(shelf=pl.int_range(pl.len()))
    later = events[300:].with_columns(pl.col("shelf") + 0.5)
    (tmp_path / "both").mkdir()
    events[:300].write_parquet(tmp_path / "both" / "a.parquet")
    later.write_parquet(tmp_path / "both" / "b.parquet")
    found = appended(Home(tmp_path / "home"), events[:300], later)
    assert found.id == made(str(tmp_path / "both"), tmp_path / "once").id
    assert found.event_schema["shelf"] == pl.Float64


def test_the_newest_description_of_an_item_stays(tmp_path: Path) -> None:
    home, dated = Home(tmp_path), ITEMS.with_columns(updated_at=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)))
    first = ingest(plain_events(), dated, home, ANYTHING, NOW)
    day = timedelta(days=1)
    change = {
        "item_id": ["i1", "i2", "new", "i3"],
        "title": ["Older", "Newer", "New", "Thing 3"],
        "available": [True, True, True, False],
        "updated_at": [datetime(2024, 1, 1, tzinfo=UTC) + day * days for days in (-1, 1, 1, 1)],
    }
    events = pl.DataFrame({"user_id": ["u1"], "item_id": ["new"], "timestamp": [NOW]})
    found = ingest(events, pl.DataFrame(change), home, IngestConfig(), NOW, append=first)
    titles = dict(found.items().select("item_id", "title").rows())
    assert (titles["i1"], titles["i2"], titles["new"]) == ("Thing 1", "Newer", "New")
    assert found.items().filter(pl.col("available").eq(False))["item_id"].to_list() == [
        "i3"
    ]  # it has events, and stays
    assert found.manifest.counts.events == first.manifest.counts.events + 1
    assert found.manifest.quality["items"].duplicates == 0
    again = ingest(None, pl.DataFrame(change), home, IngestConfig(), NOW, append=found)
    assert again.id == found.id


def test_events_before_a_time_are_passed_over(tmp_path: Path) -> None:
    events, home = plain_events(), Home(tmp_path)
    first = ingest(events[:300], ITEMS, home, ANYTHING, NOW)
    since = events["timestamp"][350]
    found = ingest(events, None, home, IngestConfig(), NOW, append=first, since=since)
    assert found.manifest.appended is not None
    assert (found.manifest.appended.events, found.manifest.appended.passed_over) == (50, 350)
    assert found.events()["timestamp"].is_in(events["timestamp"][300:350].implode()).sum() == 0
    assert "350 were passed over" in found.manifest.appended.sentence
    assert ingest(events, ITEMS, Home(tmp_path / "new"), now=NOW, since=since).manifest.counts.events == 50


def test_rows_that_come_again_are_known_and_no_duplicates(tmp_path: Path) -> None:
    events, home = plain_events(), Home(tmp_path)
    first = ingest(events, ITEMS, home, now=NOW)
    again = ingest(events, ITEMS, home, now=NOW, append=first)
    assert again.id == first.id
    more = pl.concat([events, events[:1].with_columns(user_id=pl.lit("another"))])
    found = ingest(more, None, home, now=NOW, append=first)
    assert found.manifest.appended is not None
    assert (found.manifest.appended.events, found.manifest.appended.known) == (401, 400)
    assert found.manifest.quality["events"].quarantined == 0


def test_duplicates_have_a_limit_of_their_own(tmp_path: Path) -> None:
    events = plain_events()
    twice, thrice = pl.concat([events, events]), pl.concat([events, events, events])
    found = made(twice, tmp_path / "a", IngestConfig())
    assert found.id == made(events, tmp_path / "b", IngestConfig()).id
    quality = found.manifest.quality["events"]
    assert (quality.quarantined, quality.duplicates, quality.bad, quality.share) == (400, 400, 0, 0.0)
    with pytest.raises(QualityError, match=r"events: 800 of 1,200 rows are duplicates \(66\.67%\); at most 50\.00%"):
        made(thrice, tmp_path / "a", IngestConfig())
    assert made(thrice, tmp_path / "a", IngestConfig(max_duplicate_share=0.7)).id == found.id
    refusal = validate(twice, ITEMS, IngestConfig(max_duplicate_share=0.1), NOW).refusal()
    assert refusal is not None
    assert "raise max_duplicate_share. Nothing was written." in refusal
    bad = pl.concat([events, events[:40].with_columns(item_id=pl.lit("nowhere"))])
    with pytest.raises(QualityError, match=r"40 of 440 rows are bad .*(?s:.*)raise max_quarantined_share"):
        made(bad, tmp_path / "a", IngestConfig(max_duplicate_share=1.0))


@pytest.mark.parametrize("leaf", [1 << 18, 40])
def test_who_is_forgotten_goes_from_the_segments_that_hold_them_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaf: int
) -> None:
    small(monkeypatch, leaf)
    events, home = plain_events(), Home(tmp_path / "home")
    events = events.with_columns(user_id=pl.when(pl.int_range(pl.len()) < 20).then("user_id").otherwise(pl.lit("u16")))
    events = events.with_columns(user_id=pl.format("{}-{}", "user_id", pl.int_range(pl.len()) // 40))
    first = ingest(events, ITEMS, home, now=NOW)
    forgotten = Forgotten(b"salt", {hash_user(b"salt", "u3-0"): int(NOW.timestamp() * 1e6)})
    found = ingest(None, None, home, now=NOW, append=first, forgotten=forgotten)
    rest = events.filter(pl.col("user_id") != "u3-0")
    assert found.id == made(rest, tmp_path / "rest", IngestConfig()).id
    assert "u3-0" not in found.user_ids()
    assert found.manifest.appended is not None
    if first.manifest.segments is not None:
        assert found.manifest.appended.segments == len(first.manifest.segments) - 1


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(DataError, match="Events and items are needed"):
        ingest(None, ITEMS, home, now=NOW)
    with pytest.raises(ArtifactError, match=r"no snapshot in .* to append to"):
        joined_snapshot(home, "latest")
    with pytest.raises(ArtifactError, match="no snapshot 0123456789abcdef"):
        joined_snapshot(home, "0123456789abcdef")
    first = ingest(plain_events(), ITEMS, home, now=NOW)
    assert joined_snapshot(home, "latest").id == first.id


@pytest.mark.parametrize("where", ["newest segment", "items.parquet", "columns.parquet"])
def test_what_has_changed_on_the_disk_becomes_a_part_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    small(monkeypatch)
    events, home = plain_events(), Home(tmp_path)
    first = ingest(events[:300], ITEMS, home, now=NOW)
    leaves = sorted((first.path / "events").glob("*-*.parquet"))
    damaged = leaves[-1] if where == "newest segment" else next(first.path.rglob(where))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{damaged.name} has changed since it was written"):
        ingest(events[300:], None, home, now=NOW, append=joined_snapshot(home, "latest"))
    assert [path.name for path in home.snapshots.iterdir()] == [first.id]


def test_a_small_snapshot_that_has_changed_is_joined_by_nothing(tmp_path: Path) -> None:
    events, home = plain_events(), Home(tmp_path)
    first = ingest(events[:300], ITEMS, home, now=NOW)
    (first.path / "events.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="has changed"):
        joined_snapshot(home, first.id)


def test_two_at_once_make_one_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    events, home = plain_events(), Home(tmp_path)
    first = ingest(events[:300], ITEMS, home, now=NOW)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(ingest, events[200:], None, home, now=NOW, append=first) for _ in range(2)]
        ids = {run.result().id for run in runs}
    assert len(ids) == 1
    assert sorted(path.name for path in home.snapshots.iterdir()) == sorted([first.id, *ids])


KILLED = """
import os, signal, sys
from pathlib import Path
import polars as pl
import pytest
from recsys.data.snapshot import joined_snapshot
from recsys.data.ingest import ingest
from recsys.home import Home
place, where, tests = sys.argv[1:]
sys.path.insert(0, tests)
from test_appending import NOW, plain_events
from test_segments import small
patch = pytest.MonkeyPatch()
small(patch)
patch.setattr("recsys.data.segments.spill.MOST_HELD", 1)
patch.setattr(where, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
home = Home(Path(place))
ingest(plain_events()[300:], None, home, now=NOW, append=joined_snapshot(home, "latest"))
"""
STAGES = {
    "spilling": "recsys.data.segments.spill.Spill.take",
    "sharing": "recsys.data.segments.building.share",
    "naming": "recsys.data.segments.trie.nodes_of",
    "the manifest": "recsys.data.snapshot.write_json",
    "the last step": "recsys.data.snapshot.commit_folder",
}


def test_whatever_is_killed_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    events, home = plain_events(), Home(tmp_path / "home")
    first = ingest(events[:300], ITEMS, home, now=NOW)
    for stage, where in STAGES.items():
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(home.root), where, str(Path(__file__).parent)], check=False
        )
        assert killed.returncode == -9, stage
        assert [one.id for one in list_snapshots(home)] == [first.id], stage
        assert open_snapshot(home, first.id).id == first.id, stage
        assert remove_staging(home.snapshots) > 0, stage
    assert [path.name for path in home.snapshots.iterdir()] == [first.id]
    found = ingest(events[300:], None, home, now=NOW, append=first)
    assert found.id == made(events, tmp_path / "once", IngestConfig()).id
