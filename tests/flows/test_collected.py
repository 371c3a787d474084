"""What a service has collected joins what an ingest reads, by command and by flow, and goes to files of its own."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from synthetic import Dataset
from typer.testing import CliRunner

from flows.cli import app
from flows.ingest import ingest_tables
from flows.pipeline import pipeline
from recsys.data.snapshot import open_snapshot
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.home import Home


def run(*arguments: Any) -> dict[str, Any]:
    """Run a command with --json in this process and return the one object on stdout."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


@pytest.fixture
def collected(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    database = Database.of(home)
    EventStore(database).add(
        [Event("u000", "i000", datetime(2024, 6, 1, tzinfo=UTC), f"e{number}") for number in (1, 2)]
    )
    database.close()
    return home


def test_a_command_joins_it_where_it_is_told_to(prefect_server: str, collected: Home, dataset: Dataset) -> None:
    files = "--events", dataset.events, "--items", dataset.items, "--home", collected.root
    plain, joined = run("ingest", *files), run("ingest", *files, "--live")
    assert "live" not in plain
    assert joined["counts"]["events"] == plain["counts"]["events"] + 2
    assert {name: joined["live"][name] for name in ("events", "items", "batch")} == {
        "events": 2,
        "items": 0,
        "batch": 1,
    }
    shown = CliRunner().invoke(app, [*map(str, ("ingest", *files, "--live"))])
    assert "Collected by the service: 2 events, 0 items, 0 users." in shown.output
    assert run("ingest", *files, "--no-live")["snapshot"] == plain["snapshot"]


def test_the_flow_joins_the_same_and_the_pipeline_by_itself(
    prefect_server: str, collected: Home, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dataset.events, dataset.items, str(collected.root)
    snapshot = open_snapshot(collected, ingest_tables(*given, live=True))
    assert snapshot.manifest.live is not None
    assert ingest_tables(*given) != snapshot.id
    trained: list[str] = []

    def stop(snapshot_id: str, *_: Any, **__: Any) -> None:
        trained.append(snapshot_id)
        raise KeyError("far enough")

    monkeypatch.setattr("flows.pipeline.train_generation", stop)
    for live, expected in ((True, True), (False, False)):
        with pytest.raises(KeyError, match="far enough"):
            pipeline(*given) if live else pipeline(*given, live=False)
        assert (trained[-1] == snapshot.id) == expected


def test_events_go_to_files_one_after_the_other(collected: Home, tmp_path: Path) -> None:
    first = run("export-events", tmp_path / "first.parquet", "--home", collected.root)
    assert (first["events"], first["batch"]) == (2, 1)
    database = Database.of(collected)
    EventStore(database).add([Event("u001", "i000", datetime(2024, 6, 2, tzinfo=UTC), "e3")])
    database.close()
    second = run("export-events", tmp_path / "second.parquet", "--since", 1, "--home", collected.root)
    assert (second["events"], second["batch"]) == (1, 2)
    ids = [pl.read_parquet(tmp_path / f"{name}.parquet")["event_id"].to_list() for name in ("first", "second")]
    assert ids == [["e1", "e2"], ["e3"]]
    shown = CliRunner().invoke(app, ["export-events", str(tmp_path / "all.parquet"), "--home", str(collected.root)])
    assert "recsys export-events --since 2 FILE" in shown.output
