"""`recsys adapters` and `recsys experiments`: what there is, in order, beside one another, and merged."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from rivals import renamed, rival
from test_cli import run, shown

import recsys
from recsys.home import Home


@pytest.fixture
def copied(home: Home, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(home.root, tmp_path / "home")))


def test_the_command_says_what_both_held_out_or_why_nothing_is(copied: Home) -> None:
    place = ("--home", copied.root)
    own, other = rival(copied, pl.lit(0.25))
    told = run("adapters", "compare", own, other, "--users", "2", *place)
    assert told["measured"]["slices"][0]["second"] == 0.25
    assert len({row["user_id"] for row in told["examples"]}) == 2
    output = shown("adapters", "compare", own, other, *place)
    assert "NDCG@10 on what both held out" in output
    assert "held out:" in output
    strange = renamed(copied, other, seed=7)
    told = run("adapters", "compare", own, strange, *place)
    assert (told["measured"], told["examples"]) == (None, [])
    assert f"No generation was made with adapter {strange}" in told["reason"]


def test_adapters_are_sorted_and_chosen(copied: Home) -> None:
    place = ("--home", copied.root)
    own, other = rival(copied, pl.lit(0.25))
    run("adapters", "alias", own, "champion", *place)
    run("adapters", "tag", other, "small", *place)
    run("adapters", "note", other, "Ask [Ann].", *place)
    listed = {
        sort: [card["id"] for card in run("adapters", "--sort", sort, *place)["adapters"]]
        for sort in ("id", "made", "figure", "name", "task")
    }
    assert listed["made"] == [other, own]  # the newest first
    assert listed["name"] == [other, own]  # "#small" before "champion"
    assert listed["id"] == listed["figure"] == sorted([own, other])  # equal figures
    assert [card["id"] for card in run("adapters", "--tag", "small", *place)["adapters"]] == [other]
    assert run("adapters", "--task", "search", *place)["adapters"] == []
    output = shown("adapters", *place)
    assert "Ask [Ann]." in output
    assert "Usage:" in shown("adapters", "merge", own, *place, code=2)
    assert "it takes numbers" in shown("adapters", "merge", own, other, "--weights", "a,b", *place, code=1)
    merged = run("adapters", "merge", "champion", other, "--weights", ".75,.25", *place)
    assert merged["training"]["merged"]["parents"] == [own, other]
    assert "champion" in shown("adapters", "--task", "merged", *place)


def test_experiments_are_written_for_other_programs(copied: Home, tmp_path: Path) -> None:
    tried = recsys.experiments(home=copied)
    told = run("experiments", "--csv", tmp_path / "e.csv", "--parquet", tmp_path / "e.parquet", "--home", copied.root)
    assert pl.read_parquet(tmp_path / "e.parquet").equals(tried)
    assert pl.read_csv(tmp_path / "e.csv")["experiment"].to_list() == tried["experiment"].to_list()
    assert [row["experiment"] for row in told["experiments"]] == tried["experiment"].to_list()
