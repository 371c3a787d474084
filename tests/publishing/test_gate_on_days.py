"""The gate on generations of one day and the next: what passes, and what somebody would wake up to if it did."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from synthetic import SMALL, write_dataset

from recsys.artifacts import MANIFEST, ArtifactError, staged_folder
from recsys.config import (
    EvaluationConfig,
    ExpertsConfig,
    GateConfig,
    ModelConfig,
    SignalConfig,
)
from recsys.data.ingest import ingest
from recsys.data.signals import signals_of
from recsys.data.snapshot import open_snapshot
from recsys.errors import RefusedError
from recsys.evaluation.held_out import make_split, read_sequences
from recsys.evaluation.report import HEADLINE, OURS
from recsys.experts.content import Content
from recsys.home import Home
from recsys.publishing import comparison, training_run
from recsys.publishing.admission import publish
from recsys.publishing.binding import HELD_OUT
from recsys.publishing.checks import check_adapter, check_gate, judged
from recsys.publishing.gate import Verdict
from recsys.publishing.held_out import HeldOut, read_table
from recsys.publishing.measured import Measured, asks_alike
from recsys.publishing.training_run import train_generation
from recsys.ranking.system import System
from recsys.serving.recommender import Recommender
from recsys.serving.users import SnapshotUsers
from recsys.store.adapters import read_card, save_adapter
from recsys.store.generations import commit_generation, current_id, promote, read_generation
from recsys.store.index import build_index
from recsys.store.manifests import CARD, GOING_ON, GenerationManifest
from recsys.store.promotions import Cause

DAILY = replace(SMALL, evaluation=EvaluationConfig(bootstrap_samples=200, protocols=("temporal",), test_share=0.2))
WITHOUT_EXPERTS = replace(
    DAILY, experts=ExpertsConfig(rule_window=1, neighbours=1, max_ease_items=0, max_lexical_items=0)
)

LIMITS = GateConfig()


@dataclass(frozen=True)
class Days:
    """A home with generations of a day, which is served, and of the next, when one event more has come in, late.

    Attributes:
        home: where they are.
        yesterday: what is served.
        today: as good.
        broken: today's, by settings that leave out most of what tells something.
        half: today's, of half of the items and their events.
    """

    home: Home
    yesterday: str
    today: str
    broken: str
    half: str

    def verdict(self, candidate: str, served: str | None = None, limits: GateConfig = LIMITS) -> Verdict:
        """Return what the gate says of a candidate, beside yesterday's by default."""
        return judged(self.home, candidate, served or self.yesterday, partial(Recommender.open, self.home), limits)

    def like(self, generation_id: str, change: Callable[[Path], None] = lambda _: None, **manifest: object) -> str:
        """Commit a generation like another, but for its changed folder and fields of its manifest; return its id."""
        folder, old = read_generation(self.home, generation_id)
        with staged_folder(self.home.generations) as staging:
            shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
            change(staging)
            changed: GenerationManifest = replace(old, notes={}, **manifest)  # type: ignore[arg-type]
            return commit_generation(self.home, staging, changed)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Days:
    folder = tmp_path_factory.mktemp("days")
    home = Home(folder / "home").make()
    path, items = write_dataset(folder, users=200)
    events, catalogue = pl.read_parquet(path), pl.read_parquet(items)
    late = events.sort("timestamp").tail(len(events) // 10).sort("user_id", "item_id").head(1)
    events.join(late, on=["user_id", "item_id"], how="anti").write_parquet(folder / "yesterday.parquet")
    kept = catalogue.head(len(catalogue) // 2)
    kept.write_parquet(folder / "half-items.parquet")
    events.join(kept.select("item_id"), on="item_id", how="semi").write_parquet(folder / "half.parquet")

    def trained(events: Path, items: Path, config: ModelConfig) -> str:
        return train_generation(home, ingest(events, items, home).id, config).generation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "try_report", lambda *_: None)  # a page that nobody looks at
        yesterday = trained(folder / "yesterday.parquet", items, DAILY)
        promote(home, yesterday)
        return Days(
            home,
            yesterday,
            trained(path, items, DAILY),
            trained(path, items, WITHOUT_EXPERTS),
            trained(folder / "half.parquet", folder / "half-items.parquet", DAILY),
        )


def told(verdict: Verdict, *words: str) -> str:
    """Return the one finding that holds some words."""
    (finding,) = [one for one in verdict.findings if all(word in one for word in words)]
    return finding


def against_the_served(verdict: Verdict) -> list[str]:
    """Return the objections by a comparison with what is served.

    Whether so small a training is better than its own parts is another question, and hangs on the processor's sums.
    """
    return [said for said in verdict.objections if "served generation" in said]


def with_figures(figures: np.ndarray) -> Callable[[Path], None]:
    """Return what writes other figures of ours into a generation's table."""

    def write(folder: Path) -> None:
        table = pl.read_parquet(folder / HELD_OUT)
        table.with_columns(pl.Series(OURS, figures)).write_parquet(folder / HELD_OUT)

    return write


def test_what_was_measured_is_put_together_again_to_the_last_digit(days: Days) -> None:
    measured = Measured.of(days.home, days.today)
    places, figures = measured.answers(measured.own)
    assert places.tolist() == list(range(len(read_table(days.home, days.today))))
    assert figures == pytest.approx(measured.own.figures[OURS].to_numpy(), abs=1e-12)


def test_an_equally_good_one_passes_the_day_after_and_the_day_before(days: Days) -> None:
    verdict = days.verdict(days.today)
    assert not against_the_served(verdict)
    assert "is no worse than" in told(verdict, "targets that neither has learnt from")
    told(verdict, "Its snapshot has 200 users (200)")
    told(verdict, "as its figures say")
    told(verdict, "that it has learnt since")
    told(verdict, "different items")
    verdict = check_gate(days.home, days.yesterday, days.today)
    assert not against_the_served(verdict)
    assert "is no worse than" in told(verdict, "targets that neither has learnt from")


def test_one_that_settings_broke_is_refused_though_an_event_more_makes_other_targets(days: Days) -> None:
    assert set(read_table(days.home, days.broken)["item_id"]) != set(read_table(days.home, days.yesterday)["item_id"])
    verdict = days.verdict(days.broken)
    assert not verdict.passed
    assert "is below the served generation's" in told(verdict, "targets that neither has learnt from")
    assert "is below the served generation's" in told(verdict, "On tail items")
    assert "as its figures say" in told(verdict, "Put together again")  # it is what it says
    assert all("below" in said or "not beyond doubt above" in said for said in verdict.objections)
    assert 1 < len(verdict.objections) < len(verdict.findings)
    error = RefusedError(days.broken, verdict.findings, verdict.objections)
    assert "On tail items" in str(error)
    assert "Put together again" not in str(error)


def test_half_a_catalogue_is_refused(days: Days) -> None:
    verdict = days.verdict(days.half)
    assert not verdict.passed
    assert "40 items where the served generation's has 80 (-50%; 10% may be lacking)" in told(verdict, "Its snapshot")


def test_shuffled_vectors_are_refused_though_the_blend_hardly_needs_them(days: Days) -> None:
    folder, manifest = read_generation(days.home, days.today)
    system, snapshot = System.load(folder), open_snapshot(days.home, manifest.snapshot)
    order = np.random.default_rng(0).permutation(len(system.content.vectors))
    system.towers.vectors = system.towers.vectors[order]
    content = Content(np.ascontiguousarray(system.content.vectors[order]), system.content.decay)
    shuffled = replace(system, content=content)
    vectors = np.concatenate(list(shuffled.dense_vectors().values()), axis=1)
    index = build_index(days.home.lance, snapshot.item_ids(), vectors, snapshot.item_ids())
    verdict = days.verdict(days.like(days.today, shuffled.save, index=index))
    assert not verdict.passed
    assert "it is not what was measured" in told(verdict, "Of what is bound content has")


def test_a_constant_model_is_refused(days: Days) -> None:
    def constant(folder: Path) -> None:
        system = System.load(folder)
        replace(system, blend=replace(system.blend, weights={"popularity": 1.0}, powers={"popularity": 1.0})).save(
            folder
        )

    verdict = days.verdict(days.like(days.today, constant))
    assert not verdict.passed
    assert "it is not what was measured" in told(verdict, "What is bound has")
    assert "that is too few" in told(verdict, "different items")


def test_a_model_trained_on_leaked_events_is_refused(days: Days) -> None:
    """Its towers and experts have learnt the held-out events, and its figures are those that it then has on them."""
    folder, manifest = read_generation(days.home, days.today)
    bound, own = System.load(folder), HeldOut.of(days.home, days.today)
    figures = own.answered_by(bound, bound.weighing)
    rows = dict(zip(own.figures["user_id"], figures, strict=True))  # by user, as the table is sorted
    leaked = np.array([rows[user] for user in read_table(days.home, days.today)["user_id"]])
    card = read_card(days.home, manifest.adapter)

    def write(place: Path) -> None:
        source = days.home.adapters / manifest.adapter
        shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns(CARD))
        bound.towers.save(place / GOING_ON)

    metrics = card.metrics | {OURS: card.metrics[OURS] | {HEADLINE: float(leaked.mean())}}
    adapter = save_adapter(days.home, write, replace(card, metrics=metrics))
    verdict = days.verdict(days.like(days.today, with_figures(leaked), adapter=adapter))
    assert not verdict.passed
    assert "one that had learnt from held-out events" in told(verdict, "Put together again")


def test_figures_that_are_too_good_are_not_believed(days: Days) -> None:
    perfect = days.like(days.today, with_figures(np.ones(len(read_table(days.home, days.today)))))
    verdict = days.verdict(perfect, limits=GateConfig(implausible_gain=0.25))
    assert not verdict.passed
    assert "the answers have probably leaked" in told(verdict, "targets that neither has learnt from")


def test_another_adapters_index_is_refused(days: Days) -> None:
    _, other = read_generation(days.home, days.yesterday)
    mixed = days.like(days.today, index=other.index)
    with pytest.raises(ArtifactError, match=f"index of generation {mixed} was not made by its adapter and towers"):
        publish(days.home, mixed, force=True, cause=Cause(reason="A test."))
    assert current_id(days.home) == days.yesterday


def test_another_adapter_beside_the_vectors_is_refused(days: Days) -> None:
    others = {one: read_generation(days.home, one)[1].adapter for one in (days.half, days.broken)}
    verdict = days.verdict(days.like(days.today, adapter=others[days.half]))
    assert not verdict.passed
    assert "turns texts into other features" in told(verdict, f"Adapter {others[days.half]} is not that of its vectors")
    verdict = check_adapter(days.home, days.like(days.today, adapter=others[days.broken]))
    assert not verdict.passed
    assert "its card says NDCG@10" in told(verdict, f"Adapter {others[days.broken]} is not that of its vectors")


def test_what_both_were_asked_is_compared_where_nothing_can_be_asked_again(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(*_: object) -> Measured:
        raise ArtifactError("It has no towers.")

    monkeypatch.setattr(comparison.Measured, "of", of)
    tables = [read_table(days.home, one).select("user_id", "item_id") for one in (days.today, days.yesterday)]
    both = len(tables[0].join(tables[1], on=["user_id", "item_id"]))
    assert 0 < both < len(tables[0]) // 2
    home = days.home
    found = comparison.compared(home, days.today, days.yesterday, GateConfig(min_targets=both))
    assert isinstance(found, comparison.Shared)
    assert len(found.candidate) == both
    refused = comparison.compared(home, days.today, days.yesterday, GateConfig(min_targets=both + 1))
    assert isinstance(refused, comparison.Incomparable)
    assert not refused.broken
    assert f"both were asked {both}." in refused.reason


def test_what_cannot_be_compared_is_refused_and_what_is_broken_refuses_nothing(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocols = {days.today: "temporal", days.yesterday: "leave-one-out"}
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "protocol_of", lambda _, generation_id: protocols[generation_id])
        verdict = days.verdict(days.today)
        assert not verdict.passed
        assert told(verdict, "Not comparable").endswith(
            "the protocol temporal, the served generation by leave-one-out."
        )
    broken = days.like(days.yesterday, lambda folder: (folder / HELD_OUT).unlink())
    verdict = days.verdict(days.today, broken)
    assert verdict.passed, verdict.findings
    told(verdict, "it is broken")


def test_a_candidate_that_was_asked_next_to_nothing_cannot_be_compared(days: Days) -> None:
    few = read_table(days.home, days.today).filter(pl.col(OURS) > 0).head(6)  # by a test part of almost nothing
    candidate = days.like(days.today, lambda folder: few.write_parquet(folder / HELD_OUT))
    found = comparison.compared(days.home, candidate, days.yesterday, LIMITS)
    assert isinstance(found, comparison.Incomparable)
    assert not found.broken
    assert "Of its 6 held-out targets" in found.reason


@pytest.mark.parametrize("figure", [float("nan"), None, -0.1, "much"])
def test_a_table_without_figures_is_broken(days: Days, figure: float | str | None) -> None:
    def write(folder: Path) -> None:
        read_table(days.home, days.today).with_columns(pl.lit(figure).alias(OURS)).write_parquet(folder / HELD_OUT)

    broken = days.like(days.today, write)
    with pytest.raises(ArtifactError, match="Train and publish again, or roll back"):
        days.verdict(broken)
    told(days.verdict(days.today, broken), "it is broken")


def test_histories_end_at_the_same_moment_whatever_events_mean(tmp_path: Path) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    kinds = ["view", "buy", "skip", "buy", "view", "skip", "buy", "view", "buy"]
    rows = [
        (f"u{user}", f"i{(user + place) % 7}", start + timedelta(days=user + 3 * place), kind)
        for user in range(5)
        for place, kind in enumerate(kinds)
    ]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "event_type"], orient="row")
    events.write_parquet(tmp_path / "events.parquet")
    items = pl.DataFrame({"item_id": [f"i{item}" for item in range(7)], "title": [f"T {item}" for item in range(7)]})
    items.write_parquet(tmp_path / "items.parquet")
    snapshot = ingest(tmp_path / "events.parquet", tmp_path / "items.parquet", Home(tmp_path / "home"))
    rules = (SignalConfig("target", "buy"), SignalConfig("positive", "view"), SignalConfig("ignored", "skip"))
    config = ModelConfig(signals=rules)
    sequences, _ = read_sequences(snapshot, "leave-one-out", config)
    split = make_split(sequences, 7, "leave-one-out", config)
    table = pl.DataFrame({OURS: np.zeros(len(split.test))})
    held_out = HeldOut(snapshot, config, sequences, split, split.test, table)
    users, known = snapshot.user_ids(), SnapshotUsers.of(snapshot)
    meaning = signals_of(config)
    assert meaning is not None
    for place, moment in enumerate(held_out.moments()):
        past = known.past(users[split.test.users[place]])
        before = past[:moment]
        kept = [item for item, kind in zip(before.item_ids, before.event_types, strict=True) if kind != "skip"]
        assert kept == [snapshot.item_ids()[item] for item in split.test.histories.row(place)]
        assert past.item_ids[moment] == snapshot.item_ids()[split.test.items[place]]
    assert asks_alike(config, ModelConfig(signals=rules[:1]))
    assert not asks_alike(config, ModelConfig())
