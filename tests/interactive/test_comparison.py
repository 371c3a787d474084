"""Two adapters on what both held out, and all that was tried in one frame."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rivals import renamed, rival
from synthetic import SMALL

import recsys
from recsys.artifacts import staged_folder
from recsys.data.columns import ITEM_ID, USER_ID
from recsys.errors import SettingError
from recsys.evaluation.bootstrap import paired_bootstrap
from recsys.evaluation.report import OURS
from recsys.home import Home
from recsys.interactive import names
from recsys.interactive.adapters import same_targets
from recsys.interactive.comparison import examples, measure
from recsys.publishing.binding import HELD_OUT, read_held_out
from recsys.store.adapters import read_card
from recsys.store.generations import commit_generation, current_id, newest_with, read_generation
from recsys.store.manifests import MERGED, AdapterCard


@pytest.fixture
def copied(trained: Home, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(trained.root, tmp_path / "home")))


def test_they_are_compared_where_both_held_out(copied: Home) -> None:
    own, other = rival(copied, pl.lit(0.25), slice(5, None))
    found = measure(copied, own, other)
    before = read_held_out(read_generation(copied, str(current_id(copied)))[0])
    rows = before[5:].sort(USER_ID, ITEM_ID)
    assert found.held_out == (len(before), len(before) - 5)
    assert found.shared.height == len(before) - 5
    theirs = np.full(len(rows), 0.25)
    wanted = paired_bootstrap(theirs, rows[OURS].to_numpy(), SMALL.evaluation.bootstrap_samples, SMALL.seed)
    assert found.slices[0].interval == wanted
    frame = recsys.side_by_side(own, other, home=copied)
    assert frame.row(0)[:2] == ("total", len(rows))
    head = frame.row(by_predicate=pl.col("slice") == "head_items", named=True)
    assert head["targets"] == rows["slice:head_items"].sum()
    assert head["first"] == pytest.approx(rows.filter(pl.col("slice:head_items"))[OURS].mean())
    lists = examples(own, other, users=2, home=copied)
    assert lists["user_id"].n_unique() == 2
    assert lists["first"].to_list() == lists["second"].to_list()  # the same parts under another name
    assert lists["first"].null_count() == 0
    best = lists.row(0, named=True)
    assert best["second_ndcg"] - best["first_ndcg"] == pytest.approx(0.25 - rows[OURS].min())


def test_a_merged_adapter_is_compared_by_what_was_fitted_on_it(copied: Home) -> None:
    own, other = rival(copied, pl.lit(0.25))
    merged = renamed(copied, own, settings={}, task=MERGED)
    with pytest.raises(SettingError, match=f"No generation was made with adapter {merged}"):
        measure(copied, other, merged)
    settings = read_card(copied, own).settings
    frozen = settings | {"adapter": settings["adapter"] | {"rounds": 0}}
    for parent, kept in ((other, frozen), (merged, settings), (merged, frozen)):  # the last is what is looked for
        fitted = renamed(copied, own, settings=kept, parent=parent)
    folder, manifest = read_generation(copied, str(newest_with(copied, other)))
    with staged_folder(copied.generations) as staging:
        for name in manifest.files:
            shutil.copy(folder / name, staging / name)
        made = commit_generation(copied, staging, replace(manifest, adapter=fitted))
    assert measure(copied, own, merged).generations == (current_id(copied), made)


def test_no_target_in_common_is_no_comparison(copied: Home) -> None:
    own, other = rival(copied, pl.col(OURS), slice(3))
    path = read_generation(copied, str(newest_with(copied, other)))[0] / HELD_OUT
    read_held_out(path.parent).with_columns(pl.lit("nobody").alias(USER_ID)).write_parquet(path)
    with pytest.raises(SettingError, match=r"held out no target in common \(\d+ and 3\)"):
        measure(copied, own, other)


def test_figures_of_different_questions_are_no_comparison(copied: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = rival(copied, pl.col(OURS), slice(0, None))
    asked = {str(newest_with(copied, own)): "temporal", str(newest_with(copied, other)): "leave-one-out"}
    monkeypatch.setattr("recsys.interactive.comparison.protocol_of", lambda _, generation: asked[generation])
    with pytest.raises(SettingError, match=r"by the protocol temporal, .* by leave-one-out"):
        measure(copied, own, other)


def test_all_that_was_tried_is_one_frame(copied: Home, tmp_path: Path) -> None:
    own, _ = rival(copied, pl.lit(0.25))
    names.name_adapter(own, alias="champion", tags=["a"], note="Ours.", home=copied)
    (copied.runs / "tune-0123456789abcdef.db").write_bytes(b"no database")  # is left out
    tried = recsys.experiments(home=copied)
    assert tried["kind"].to_list().count("generation") == tried["kind"].to_list().count("adapter") == 2
    served = tried.row(by_predicate=pl.col("experiment") == current_id(copied), named=True)
    assert served["served"]
    assert served["adapter"] == own
    assert served["ndcg@10_low"] <= served["ndcg@10"] <= served["ndcg@10_high"]
    assert served["seconds"] > 0
    assert served["settings.tower.epochs"] == SMALL.tower.epochs
    assert "settings.tower.learning_rate" not in tried.columns  # nobody changed it
    adapter = tried.row(by_predicate=pl.col("experiment") == own, named=True)
    assert (adapter["aliases"], adapter["tags"], adapter["note"]) == (["champion"], ["a"], "Ours.")
    assert tried["made"].is_sorted(descending=True)
    assert recsys.experiments(home=tmp_path / "empty").is_empty()


@pytest.mark.parametrize(
    "other",
    [
        {"snapshot": "another"},
        {"protocol": "leave-one-out"},
        {"settings": {"seed": 1, "evaluation": {"test_share": 0.1}}},
        {"settings": {"seed": 0, "evaluation": {"test_share": 0.2}}},
    ],
)
def test_metrics_on_cards_are_compared_only_where_the_same_targets_were_drawn(other: dict[str, Any]) -> None:
    settings = {"seed": 0, "evaluation": {"test_share": 0.1}, "tower": {"epochs": 3}}
    card = AdapterCard(base="none", task="recommendation", snapshot="one", protocol="temporal", settings=settings)
    assert same_targets(card, replace(card, settings={**settings, "tower": {"epochs": 4}}))
    assert not same_targets(card, replace(card, **other))
