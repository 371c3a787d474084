"""What a home has to look at: raw files, live events and items, and what answers brought."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deliveries import Files
from synthetic import Dataset

from infra.benchmarks.shifts import GERMAN
from recsys.artifacts import ArtifactError
from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.impressions import Impression, ImpressionStore
from recsys.database.live_items import ItemStore
from recsys.database.tombstones import Tombstones
from recsys.home import Home
from recsys.monitoring.checks import ALARM, OK, Check
from recsys.monitoring.monitor import Report, monitor
from recsys.monitoring.reading import read, subject, with_vectors
from recsys.store.generations import current_id

CONFIG = MonitorConfig()


def report(files: Files, events: pl.DataFrame | None = None, items: pl.DataFrame | None = None) -> Report:
    """Look at raw tables, or without them at what is live."""
    events_at, items_at = (None if table is None else files.write(table) for table in (events, items))
    until = datetime.fromisoformat(files.until)
    return monitor(read(files.home, subject(files.home), CONFIG, events_at, items_at, until), CONFIG)


def check(found: Report, name: str) -> Check:
    return next(one for one in found.checks if one.name == name)


def test_raw_files_are_looked_at_as_the_next_ingest_would_read_them(files: Files) -> None:
    found = report(files, files.events, files.items)
    assert found.level == OK, found.findings
    assert {"columns of events", "bad rows of items", "volume", "popularity"} <= {one.name for one in found.checks}
    bad = files.events.with_columns(
        pl.when(pl.int_range(pl.len()) % 20 == 0).then(None).otherwise(columns.USER_ID).alias(columns.USER_ID)
    )
    broken = report(files, bad.drop("device"), files.items.with_columns(pl.col("price").cast(pl.String)))
    assert check(broken, "columns of events").sentence.startswith("device is gone.")
    assert "price is String, it was Float64" in check(broken, "columns of items").sentence
    assert check(broken, "bad rows of events").level == ALARM
    assert not broken.training_helps


def test_a_file_of_other_days_ends_with_its_last_one_and_is_late(files: Files) -> None:
    until = datetime.fromisoformat(files.until)
    path = files.write(files.events)
    watched = read(files.home, subject(files.home), CONFIG, path, until=until + timedelta(days=9))
    assert watched.until == until
    found = monitor(watched, CONFIG)
    assert check(found, "volume").level == OK
    assert check(found, "newest event").level == ALARM


def test_live_events_are_looked_at_where_no_file_is_named(files: Files) -> None:
    until = datetime.fromisoformat(files.until)
    newer = files.events.filter(pl.col(columns.TIMESTAMP) >= until - timedelta(days=7))
    names = ("user_id", "item_id", "timestamp", "event_id", "event_type", "value", "position")
    database = Database.of(files.home)
    EventStore(database).add(Event(**row) for row in newer.select(names).iter_rows(named=True))
    found = report(files)
    said = {one.name: one.sentence for one in found.findings}
    assert set(said) == {"event lag"}, said  # they came in long after their time
    assert check(found, "volume").figure == newer.filter(pl.col(columns.TIMESTAMP) >= until - timedelta(days=1)).height
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM events WHERE rowid % 4 > 0")
    database.close()
    lost = report(files)
    assert check(lost, "volume").level == ALARM
    assert "missing" not in " ".join(one.sentence for one in lost.findings)  # of columns that no live event can have


def test_items_that_were_put_live_are_read(files: Files) -> None:
    database, words = Database.of(files.home), GERMAN.split()
    store = ItemStore(database)
    for number in range(8):
        title = " ".join(words[number : number + 3])
        store.put(f"live-{number}", {"title": title, "description": " ".join(words[number + 5 : number + 15])})
    database.close()
    assert check(report(files), "language of texts").level == ALARM


def test_nothing_to_compare_with_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="Run `recsys ingest` first"):
        subject(Home(tmp_path))


@pytest.fixture
def served(home: Home, tmp_path: Path) -> Home:
    """A home of one's own with a served generation."""
    return Home(Path(shutil.copytree(home.root, tmp_path / "home")))


@pytest.mark.parametrize(("clicks", "level"), [(90, OK), (40, ALARM)])
def test_a_generation_that_brings_less_than_others_is_an_alarm(served: Home, clicks: int, level: str) -> None:
    noon, generation = datetime(2024, 7, 1, 12, tzinfo=UTC), str(current_id(served))
    database = Database.of(served)
    events, impressions = EventStore(database), ImpressionStore(database, Tombstones(database))
    for name, count in ((generation, clicks), ("f" * 16, 100)):
        items = [{"item_id": "i001", "score": 0.5, "propensity": 1.0}]
        answers = [Impression(f"{name} {i}", noon, f"u{i}", name, "a", items=items) for i in range(500)]  # type: ignore[arg-type]
        impressions.add(answers)
        events.add(Event(f"u{i}", "i001", noon, rec_id=f"{name} {i}") for i in range(count))
    database.close()
    watched = subject(served)
    assert watched.generation is not None
    seen = read(served, watched, CONFIG, until=noon + timedelta(days=1))
    found = monitor(with_vectors(served, watched.generation, seen, CONFIG), CONFIG)
    rate = check(found, "click rate")
    assert (rate.level, rate.figure, rate.expected) == (level, clicks / 500, 0.2)
    assert rate.interval is not None
    assert rate.interval[0] < clicks / 500 < rate.interval[1]
    assert "embeddings of what is chosen" in {one.name for one in found.checks}


def test_new_texts_are_encoded_where_that_is_asked_for(served: Home, dataset: Dataset, tmp_path: Path) -> None:
    items, words = pl.read_parquet(dataset.items), GERMAN.split()
    new = pl.DataFrame(
        {"item_id": [f"n{number}" for number in range(12)], "title": [f"{words[n]} {words[n + 9]}" for n in range(12)]}
    )
    path = tmp_path / "items.parquet"
    pl.concat([items, new], how="diagonal").write_parquet(path)
    config = MonitorConfig(embeddings=True)
    watched = subject(served)
    assert watched.generation is not None
    seen = read(served, watched, config, items=str(path), until=datetime(2024, 7, 1, tzinfo=UTC))
    found = monitor(with_vectors(served, watched.generation, seen, config), config)
    told = check(found, "embeddings of new texts")
    assert told.level == ALARM, told
    assert "12 new or changed texts" in told.sentence
