"""A day joins a snapshot by the command, and by its flow."""

from pathlib import Path

import polars as pl
from synthetic import Dataset
from test_cli import run, shown


def test_a_day_joins_a_snapshot(prefect_server: str, dataset: Dataset, tmp_path: Path) -> None:
    events, home = pl.read_parquet(dataset.events).sort("timestamp"), ["--home", tmp_path / "home"]
    events = events[:-1]  # a snapshot of its own on the server that tests share
    events.write_parquet(whole := tmp_path / "events.parquet")
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
    at_once = run("ingest", "--events", whole, "--items", dataset.items, *home)
    assert at_once["snapshot"] == joined["snapshot"]
    wrong = ["ingest", "--append", first["snapshot"], "--events", whole, "--since", "yesterday"]
    assert "since is 'yesterday'; it takes a time such as" in shown(*wrong, *home, code=1)
    since = [
        "ingest",
        "--append",
        first["snapshot"],
        "--events",
        whole,
        "--since",
        str(events["timestamp"][cut]),
    ]
    assert run(*since, *home)["snapshot"] == joined["snapshot"]
