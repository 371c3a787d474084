"""A day joins a snapshot by the command, and by its flow."""

from pathlib import Path

import polars as pl

from tests.flows.test_cli import run, shown
from tests.synthetic import Dataset


def test_a_day_joins_a_snapshot(prefect_server: str, dataset: Dataset, tmp_path: Path) -> None:
    events, home = pl.read_parquet(dataset.events).sort("timestamp"), ["--home", tmp_path / "home"]
    cut = events.height - 50
    events[:cut].write_parquet(tmp_path / "before.parquet")
    events[cut - 10 :].write_parquet(tmp_path / "after.parquet")
    assert "Give --events and --items" in shown("ingest", "--events", tmp_path / "after.parquet", *home, code=2)
    assert "no snapshot in" in shown(
        "ingest", "--append", "latest", "--events", tmp_path / "after.parquet", *home, code=1
    )
    first = run("ingest", "--events", tmp_path / "before.parquet", "--items", dataset.items, *home)
    joined = run("ingest", "--append", "latest", "--events", tmp_path / "after.parquet", *home)
    assert joined["appended"]["to"] == first["snapshot"]
    assert (joined["appended"]["events"], joined["appended"]["known"]) == (60, 10)
    at_once = run("ingest", "--events", dataset.events, "--items", dataset.items, *home)
    assert at_once["snapshot"] == joined["snapshot"]
    wrong = ["ingest", "--append", first["snapshot"], "--events", dataset.events, "--since", "yesterday"]
    assert "since is 'yesterday'; it takes a time such as" in shown(*wrong, *home, code=1)
    since = [
        "ingest",
        "--append",
        first["snapshot"],
        "--events",
        dataset.events,
        "--since",
        str(events["timestamp"][cut]),
    ]
    assert run(*since, *home)["snapshot"] == joined["snapshot"]
