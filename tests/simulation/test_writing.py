"""Raw files of a world: the same in parts of any size, in bounded memory, good enough for the ingest."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from recsys.data.ingest import ingest
from recsys.errors import DataError
from recsys.home import Home
from recsys.simulation.config import PeopleConfig, SimulationConfig
from recsys.simulation.world import World
from recsys.simulation.writing import write_world

# everybody comes as often, so that few visits follow one another
TINY = SimulationConfig(users=120, items=60, events=3_000, seed=11, people=PeopleConfig(activity_spread=0.2))


def everything(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "events" / "*.parquet")


def test_parts_of_any_size_hold_the_same_events(tmp_path: Path) -> None:
    whole = write_world(World(TINY), tmp_path / "whole")
    parted = write_world(World(replace(TINY, rows_per_file=300)), tmp_path / "parted")
    assert whole.files == 1 < 5 < parted.files
    assert everything(tmp_path / "whole").equals(everything(tmp_path / "parted"))
    for name in ("items.parquet", "users.parquet"):
        assert pl.read_parquet(tmp_path / "whole" / name).equals(pl.read_parquet(tmp_path / "parted" / name))
    assert replace(whole, files=0) == replace(parted, files=0)


def test_the_same_settings_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_world(World(TINY), tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert [str(path) for path in files] == [
        "events/part-00000.parquet",
        "items.parquet",
        "truth.json",
        "users.parquet",
    ]
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
    write_world(World(replace(TINY, seed=12)), tmp_path / "other")
    assert not everything(tmp_path / "other").equals(everything(tmp_path / "one"))


def test_parts_stay_as_large_as_they_may_be_however_much_is_written(tmp_path: Path) -> None:
    """What is held in memory at a time is one part: `recsys simulate` says the peak, which the page tells."""
    for times in (1, 4):
        config = replace(TINY, users=100 * times, events=1_000 * times, rows_per_file=300)
        write_world(World(config), tmp_path / str(times))
        heights = [
            pl.scan_parquet(path).select(pl.len()).collect().item() for path in (tmp_path / str(times)).glob("events/*")
        ]
        assert len(heights) == -(-100 * times // 30)  # 30 users each, and the rest
        assert max(heights) < 2.5 * 300


def test_what_is_written_is_good_enough_for_the_ingest(tmp_path: Path) -> None:
    written = write_world(World(TINY), tmp_path / "shop")
    shop = tmp_path / "shop"
    snapshot = ingest(str(shop / "events"), str(shop / "items.parquet"), Home(tmp_path / "home").make())
    counts = snapshot.manifest.counts
    assert (counts.events, counts.items, counts.quarantined) == (written.events, 60, 0)
    users = pl.read_parquet(shop / "users.parquet")
    assert users.columns == ["user_id", "age_group", "country", "preferred_device", "occupation", "joined"]
    assert users["user_id"].to_list() == World(TINY).users()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"is not empty\. Name a new folder"):
        write_world(World(TINY), tmp_path)
    with pytest.raises(DataError, match="is not empty"):
        write_world(World(TINY), tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_writes_a_world_and_says_what_comes_next(tmp_path: Path) -> None:
    settings, shop = tmp_path / "settings.json", tmp_path / "my shop"
    settings.write_text('{"users": 50, "items": 40, "events": 10, "catalogue": {"categories": 5}}')
    command = ["simulate", "--config", str(settings), "--home", str(tmp_path / "home"), "--out", str(shop)]
    done = CliRunner().invoke(app, [*command, "--events", "500", "--days", "30", "--seed", "3"])
    assert done.exit_code == 0, done.output
    assert f"recsys ingest --events '{shop}'/events --items '{shop}'/items.parquet" in " ".join(done.stdout.split())
    assert World.opened(shop).config.catalogue.categories == 5
    assert (World.opened(shop).config.events, World.opened(shop).config.seed) == (500, 3)
    refused = CliRunner().invoke(app, [*command, "--json"])
    assert refused.exit_code == 1
    assert "is not empty" in json.loads(refused.stdout)["error"]
    wrong = CliRunner().invoke(app, [*command, "--json", "--days", "0"])
    assert json.loads(wrong.stdout)["error"] == "days is 0; it takes a whole number, at least 1 and at most 3,660."


def test_the_command_says_where_people_do_too_little(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"users": 5, "items": 40, "events": 50, "behaviour": {"look_base": -20}}')
    command = ["simulate", "--config", str(settings), "--home", str(tmp_path / "home"), "--out", str(tmp_path / "shop")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "50 events were asked for: people do too little at a visit" in " ".join(done.stdout.split())
    assert World.opened(tmp_path / "shop").config.behaviour.look_base == -20
