"""The stages without Prefect: the same ids as with it, figures as frames, and a gate that refuses."""

import shutil
from dataclasses import replace
from datetime import datetime
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from rivals import renamed
from synthetic import SMALL, Dataset

import recsys
from recsys.artifacts import ArtifactError, read_json, staged_folder
from recsys.callbacks import note_loss
from recsys.errors import RefusedError
from recsys.evaluation.report import METRICS_FILE, OURS
from recsys.home import Home
from recsys.interactive import names
from recsys.interactive.display import Display, reporting
from recsys.publishing.binding import HELD_OUT
from recsys.store.generations import commit_generation, current_id, read_generation


@pytest.fixture
def copied(trained: Home, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(trained.root, tmp_path / "home")))


def test_the_pipeline_makes_the_same_generation(trained: Home, home: Home) -> None:
    assert current_id(trained) == current_id(home)


def test_stages_are_reported_and_what_is_done_is_found(trained: Home) -> None:
    told: list[tuple[str, int, int]] = []
    training = recsys.train(config=SMALL, home=trained, progress=lambda *stage: told.append(stage))
    assert training.reused
    assert training.generation == current_id(trained)
    assert told == [("Verify the recorded generation", 0, 1), ("Verify the recorded generation", 1, 1)]


def test_figures_are_those_of_the_metrics_document(trained: Home) -> None:
    figures = recsys.evaluate(home=trained)
    assert figures["protocol"].unique(maintain_order=True).to_list() == list(SMALL.evaluation.protocols)
    document = read_json(read_generation(trained, str(current_id(trained)))[0] / METRICS_FILE)
    for protocol, part in document["protocols"].items():
        shown = figures.filter(protocol=protocol)
        assert set(shown["system"]) == set(part["systems"])
        assert shown["ndcg@10"].is_sorted(descending=True)
        for row in shown.iter_rows(named=True):
            total = part["systems"][row["system"]]["total"]
            assert row["targets"] == total["count"]
            assert [row[name] for name in ("ndcg@10", "recall@10", "mrr@20")] == [
                total[name] for name in ("ndcg@10", "recall@10", "mrr@20")
            ]
            assert [row["ndcg@10_low"], row["ndcg@10_high"]] == total["ndcg@10_interval"]
        ours, popular = (shown.row(by_predicate=pl.col("system") == name, named=True) for name in (OURS, "popularity"))
        assert ours["gain"] is None
        assert popular["gain"] == pytest.approx(ours["ndcg@10"] / popular["ndcg@10"] - 1)
    head = recsys.evaluate(protocol="temporal", slice="head_items", home=trained)
    assert 0 < head["targets"][0] < figures.filter(protocol="temporal")["targets"][0]
    assert head["ndcg@10_low"].null_count() == len(head)
    with pytest.raises(ValueError, match=r"no slice 'hot_items'; there are .*cold_items"):
        recsys.evaluate(slice="hot_items", home=trained)
    with pytest.raises(ValueError, match=r"was not measured by cold-items\. Name systems"):
        recsys.evaluate(protocol="cold-items", home=trained)


def test_systems_are_trained_for_another_protocol(trained: Home) -> None:
    told: set[str] = set()
    figures = recsys.evaluate(
        protocol="cold-items",
        systems=["recsys", "popularity"],
        home=trained,
        progress=lambda *stage: told.add(stage[0]),
    )
    assert set(figures["system"]) == {"recsys", "popularity"}
    assert set(figures["protocol"]) == {"cold-items"}
    assert "cold-items · Train towers" in told
    with pytest.raises(ValueError, match="no system 'magic'"):
        recsys.evaluate(systems=["magic"], home=trained, progress=False)


def test_a_worse_generation_is_refused_unless_forced(copied: Home) -> None:
    served = str(current_id(copied))
    folder, manifest = read_generation(copied, served)
    with staged_folder(copied.generations) as staging:
        for name in manifest.files:
            shutil.copy(folder / name, staging / name)
        pl.read_parquet(folder / HELD_OUT).with_columns(pl.lit(0.0).alias(OURS)).write_parquet(staging / HELD_OUT)
        worse = commit_generation(copied, staging, replace(manifest, notes={}))
    with pytest.raises(RefusedError, match=f"refused generation {worse}"):
        recsys.publish(home=copied)  # the newest that is not served
    assert current_id(copied) == served
    assert not recsys.publish(worse, force=True, reason="a test", home=copied).passed
    assert current_id(copied) == worse
    assert recsys.load(home=copied).generation == worse
    recsys.publish(recsys.load(served, home=copied), force=True, reason="a test", home=copied)
    assert current_id(copied) == served


def test_adapters_are_listed_and_compared(copied: Home, dataset: Dataset) -> None:
    (row,) = recsys.adapters(home=copied).iter_rows(named=True)
    assert row["task"] == "recommendation"
    assert row["served"]
    assert 0 < row["ndcg@10"] < 1
    assert row["accuracy"] is None
    other = renamed(copied, row["adapter"])
    compared = recsys.compare(row["adapter"], other, home=copied)
    assert compared["name"][0] == "settings.seed"
    assert compared.row(0) == ("settings.seed", "0", "1", 1.0)
    assert compared["name"].str.starts_with("metrics.").sum() == len(compared) - 1
    assert recsys.adapters(home=copied)["served"].to_list().count(True) == 1
    with pytest.raises(ArtifactError, match=f"No generation was made with adapter {other}"):
        recsys.load(adapter=other, home=copied)
    assert names.name_adapter(row["adapter"], alias="champion", tags=["a"], note="Ours.", home=copied) == row["adapter"]
    served = names.name_generation(str(current_id(copied)), alias="live", home=copied)
    assert recsys.load(adapter="champion", home=copied).generation == recsys.load("live", home=copied).generation
    assert recsys.compare("champion", other, home=copied).equals(compared)
    assert recsys.publish("live", home=copied).passed
    assert served == current_id(copied)
    named = recsys.adapters(home=copied).row(by_predicate=pl.col("adapter") == row["adapter"], named=True)
    assert (named["aliases"], named["tags"], named["note"]) == (["champion"], ["a"], "Ours.")


def test_nothing_to_work_with_is_said(tmp_path: Path) -> None:
    for ask, told in (
        (recsys.train, "There is no snapshot in .*Ingest events and items first"),
        (recsys.evaluate, "There is no generation in .*Run `recsys train` first"),
        (recsys.publish, "There is no generation that is not served in .*Run `recsys train` first"),
    ):
        with pytest.raises(ArtifactError, match=told):
            ask(home=tmp_path)
    assert recsys.adapters(home=tmp_path).is_empty()


def test_bars_go_to_a_terminal_and_end_with_their_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(True) as report:
        assert report is None  # no terminal here
    with reporting(False) as report:
        assert report is None
    console = Console(force_terminal=True, width=80, file=StringIO())
    display = Display(console)
    display.update("Encode texts", 0, 4)
    assert console._live_stack
    display.update("Encode texts", 4, 4)
    assert not console._live_stack
    display.update("Train towers", 1, 10)
    display.finish()
    assert not console._live_stack
    display.update("Train [/towers] of [deleted]", 1, 10)
    display.finish()  # what is no markup is none in a bar, either
    assert capsys.readouterr().err == ""


def test_lines_tell_how_far_long_work_is_where_nobody_looks_on(tmp_path: Path) -> None:
    now, written, log = [0.0], StringIO(), tmp_path / "train.log"
    display = Display(Console(file=written, width=80), log, clock=lambda: now[0])
    for second in range(0, 131, 10):
        now[0] = float(second)
        note_loss(lambda now=now: 5 - now[0] / 100)
        display.update("Train towers", second + 7, 1_000)
    display.update("Encode texts", 0, 4)
    now[0] = 161.0
    display.update("Encode texts", 1, 4)
    display.finish()
    lines = [
        "Train towers: 37 of 1,000, loss 4.7000, 16 min 3 s left",
        "Train towers: 67 of 1,000, loss 4.4000, 15 min 33 s left",
        "Train towers: 97 of 1,000, loss 4.1000, 15 min 3 s left",
        "Train towers: 127 of 1,000, loss 3.8000, 14 min 33 s left",
        "Encode texts: 1 of 4, 1 min 33 s left",
    ]
    assert [line for line in written.getvalue().splitlines() if "✓" not in line] == lines
    kept = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [line for _, line in kept] == [
        *lines[:4], "Train towers: done in 130 s", lines[4], "Encode texts: done in 31 s"
    ]  # fmt: skip
    assert all(datetime.fromisoformat(when).tzinfo for when, _ in kept)
