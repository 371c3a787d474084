"""What is written can be recomputed by anyone: trec_eval on lists.parquet gives the figures of metrics.json."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import pytrec_eval

from recsys.evaluation.full_ranking import Ranking
from recsys.evaluation.report import METRICS, section, slices, split_counts, summarise, write_lists, write_metrics

USERS = [f"u{row:03}" for row in range(150)]
ITEM_IDS = [f"i{index:02}" for index in range(60)]


def test_lists_reproduce_the_metrics(tmp_path, split, rankings):
    write_lists(tmp_path / "lists.parquet", rankings, USERS, ITEM_IDS)
    lists = pl.read_parquet(tmp_path / "lists.parquet")
    assert lists.columns == ["system", "user_id", "rank", "item_id", "score"]
    assert lists["system"].unique(maintain_order=True).to_list() == [ranking.name for ranking in rankings]
    relevant = {USERS[user]: {ITEM_IDS[item]: 1} for user, item in zip(split.test.users, split.test.items, strict=True)}
    figures = section(rankings, split, samples=20)["systems"]
    for (system,), part in lists.group_by("system"):
        places = part.group_by("user_id").agg(pl.col("rank").sort())
        assert set(places["user_id"]) == set(relevant)
        assert all(ranks == list(range(1, 21)) for ranks in places["rank"].to_list())
        assert (part.sort("user_id", "rank").group_by("user_id").agg(pl.col("score").diff().max())["score"] <= 0).all()
        run = {user: {} for user in relevant}
        for user, rank, item in part.select("user_id", "rank", "item_id").iter_rows():
            run[user][item] = float(-rank)
        wanted = {"recall.5,10,20", "ndcg_cut.5,10,20", "recip_rank"}
        found = pytrec_eval.RelevanceEvaluator(relevant, wanted).evaluate(run)
        for metric in METRICS:
            kind, k = metric.split("@")
            name = {"recall": f"recall_{k}", "ndcg": f"ndcg_cut_{k}", "mrr": "recip_rank"}[kind]
            mean = np.mean([values[name] for values in found.values()])
            assert figures[system]["total"][metric] == pytest.approx(mean, abs=1e-6), (system, metric)


def test_lists_leave_out_padding_and_refuse_two_of_a_name(tmp_path, rankings):
    first = rankings[0]
    items = first.items.copy()
    items[:, 5:] = -1
    short = replace(first, items=items)
    write_lists(tmp_path / "lists.parquet", [short], USERS, ITEM_IDS)
    assert pl.read_parquet(tmp_path / "lists.parquet").height == 5 * len(first.ranks)
    with pytest.raises(ValueError, match="popularity has several rankings"):
        write_lists(tmp_path / "lists.parquet", [first, first], USERS, ITEM_IDS)


def test_slices_part_the_targets(split, rankings):
    parts = slices(rankings[0], split)
    counts = np.bincount(split.train.items, minlength=60)
    items = split.test.items
    assert parts["total"].all()
    assert (parts["cold_items"] == (counts[items] == 0)).all()
    assert parts["cold_items"].any()
    assert (parts["cold_items"] != parts["warm_items"]).all()
    assert (parts["head_items"] != parts["tail_items"]).all()
    assert (parts["cold_users"] == (split.test.histories.lengths == 0)).all()
    assert parts["cold_users"].any()
    head = np.unique(items[parts["head_items"]])
    assert counts[head].min() >= np.sort(counts)[::-1][int(np.ceil(0.2 * (counts > 0).sum())) - 1]


def test_repeats_and_firsts_part_the_targets_where_seen_items_are_kept(split, rankings):
    assert "repeats" not in section(rankings, split, samples=20)
    assert "repeats" not in slices(rankings[0], split)
    test = replace(split.test, repeats=True)
    kept = replace(split, test=test)
    asked = [replace(ranking, targets=test) for ranking in rankings]
    parts = slices(asked[0], kept)
    held = [item in test.histories.row(row) for row, item in enumerate(test.items)]
    assert parts["repeats"].tolist() == held
    assert 0 < sum(held) < len(held)
    assert (parts["repeats"] != parts["firsts"]).all()
    figures = section(asked, kept, samples=20)
    assert figures["repeats"] == "kept"
    assert figures["systems"]["recsys"]["repeats"]["count"] == sum(held)


def test_summary_figures_by_hand(split, rankings):
    ranking = rankings[-1]
    summary = summarise(ranking, split, np.eye(60), samples=200)
    cold = slices(ranking, split)["cold_items"]
    assert summary["cold_items"]["count"] == cold.sum()
    assert summary["cold_items"]["recall@5"] == (ranking.ranks[cold] <= 5).mean()
    low, high = summary["total"]["ndcg@10_interval"]
    assert low < summary["total"]["ndcg@10"] < high
    assert summary["diversity@10"] == 1  # orthogonal vectors
    assert 0 < summary["coverage@10"] <= 1
    assert "diversity@10" not in summarise(ranking, split, samples=20)


def test_an_empty_slice_has_no_figures(split, rankings):
    everyone = replace(split, train=split.test.histories, catalogue=60)
    nobody = np.flatnonzero(split.test.histories.lengths > 0)
    targets = replace(
        split.test,
        users=split.test.users[nobody],
        histories=split.test.histories.take(nobody),
        items=split.test.items[nobody],
    )
    first = rankings[0]
    warm = Ranking("a", targets, first.items[nobody], first.scores[nobody], first.ranks[nobody])
    assert summarise(warm, everyone, samples=20)["cold_users"] == {"count": 0} | dict.fromkeys(METRICS)


def test_section_compares_ours_with_every_other(split, rankings):
    part = section(rankings, split, samples=200)
    assert part["best_baseline"] == "blend"  # an ablation is no baseline
    totals = {entry["system"]: entry for entry in part["comparisons"] if entry["slice"] == "total"}
    assert set(totals) == {"popularity", "blend", "recsys.text"}
    ours, theirs = (part["systems"][name]["total"]["ndcg@10"] for name in ("recsys", "blend"))
    assert totals["blend"]["mean_difference"] == pytest.approx(ours - theirs)
    assert totals["blend"]["ratio"] == pytest.approx(ours / theirs)
    assert totals["blend"]["low"] > 0
    assert part["counts"] == split_counts(split)
    assert section(rankings[:1], split, samples=20)["comparisons"] == []


def test_several_seeds_are_averaged(split, rankings):
    weak, strong = rankings[0], rankings[-1]
    again = replace(weak, name="recsys")
    part = section([rankings[1], strong, again], split, np.eye(60), samples=200)
    ours = part["systems"]["recsys"]
    single = [summarise(ranking, split, np.eye(60), samples=20) for ranking in (strong, again)]
    assert ours["seeds"] == [summary["total"]["ndcg@10"] for summary in single]
    for name in ("total", "cold_items"):
        expected = np.mean([summary[name]["recall@10"] for summary in single])
        assert ours[name]["recall@10"] == pytest.approx(expected)
    assert ours["total"]["count"] == len(split.test)
    low, high = ours["total"]["ndcg@10_interval"]
    assert low < ours["total"]["ndcg@10"] < high
    theirs = part["systems"]["blend"]["total"]["ndcg@10"]
    assert part["comparisons"][0]["mean_difference"] == pytest.approx(ours["total"]["ndcg@10"] - theirs)


def test_other_targets_are_refused(split, rankings):
    other = replace(rankings[1], targets=split.validation)
    with pytest.raises(ValueError, match="blend and popularity were not asked the same targets"):
        section([rankings[0], other], split)
    with pytest.raises(ValueError, match="no ranking"):
        section([], split)


def test_metrics_are_plain_json_and_the_same_every_time(tmp_path, document, split, rankings):
    write_metrics(tmp_path / "metrics.json", document)
    read = json.loads((tmp_path / "metrics.json").read_text())
    assert read == document
    assert set(read) == {"data", "settings", "protocols", "environment"}
    assert read["environment"]["cores"] >= 1
    assert read["environment"]["device"]
    assert read["environment"]["packages"]["numpy"] == np.__version__
    assert section(rankings, split, samples=50) == section(rankings, split, samples=50)


def test_a_section_says_what_share_of_the_targets_was_asked(split, rankings):
    count = len(split.test)
    assert "sampled" not in section(rankings, split, samples=20)
    found = section(rankings, replace(split, test_of=4 * count, validation_of=999), samples=20)
    assert found["sampled"] == {"asked": count, "of": 4 * count, "share": 0.25}
    assert (found["counts"]["test_targets"], found["counts"]["validation_targets"]) == (count, 999)
