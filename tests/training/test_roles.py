"""A system learns from what events mean, is stored and fitted again by it, and asks the data how much they count."""

import json
from dataclasses import replace

import numpy as np
import pytest
from synthetic import SMALL

from recsys.config import ModelConfig, SignalConfig
from recsys.data.ingest import ingest
from recsys.data.sequences import ALIKE, SIGNALS
from recsys.data.signals import Signals, signals_of, with_signals
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.held_out import make_split, read_sequences
from recsys.evaluation.leaks import check_split
from recsys.evaluation.report import section
from recsys.evaluation.sittings import SITTING_SECONDS, before_sittings
from recsys.experts.knn import fit_knn
from recsys.home import Home
from recsys.ranking.system import System
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World
from recsys.simulation.writing import EVENTS, ITEMS_FILE, write_world
from recsys.training.fit_system import fit_system, refit_system
from recsys.training.weighing import as_meant, chosen_weighing

TYPED = replace(SMALL, signals=None)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A made-up shop of looks, carts, purchases, returns, ratings and dislikes."""
    folder = tmp_path_factory.mktemp("shop")
    write_world(World(SimulationConfig(users=300, items=150, events=12_000, seed=1)), folder / "raw")
    return ingest(str(folder / "raw" / EVENTS), str(folder / "raw" / ITEMS_FILE), Home(folder / "home"))


@pytest.fixture(scope="module")
def config(shop) -> ModelConfig:
    return with_signals(shop, TYPED)


@pytest.fixture(scope="module")
def split(shop, config):
    sequences, _ = read_sequences(shop, "temporal", config)
    made = make_split(sequences, len(shop.item_ids()), "temporal", config)
    check_split(made, sequences)
    return as_meant(made, sequences, config)


@pytest.fixture(scope="module")
def features(shop):
    return np.random.default_rng(1).normal(size=(len(shop.item_ids()), 6)).astype(np.float32)


@pytest.fixture(scope="module")
def system(shop, split, features, config):
    return fit_system(split, shop.items()["title"].to_list(), features, features, config)


def test_purchases_are_asked_for_and_looks_are_not(shop, config, split):
    purchases = shop.events().filter(event_type="purchase")["item_id"].n_unique()
    assert len(np.unique(split.test.items)) <= purchases
    types = set(shop.events()["event_type"].unique())
    assert {rule.event_type for rule in config.signals} == types
    assert config.signals[[rule.event_type for rule in config.signals].index("purchase")].role == "target"


def test_the_cart_of_the_same_sitting_is_no_part_of_the_question(shop, config, split):
    sequences, _ = read_sequences(shop, "temporal", config)
    made = make_split(sequences, len(shop.item_ids()), "temporal", config)

    asked = sequences.times[sequences.offsets[:-1][made.test.users] + made.test.histories.lengths]

    def gaps(targets):
        rows = np.flatnonzero(targets.histories.lengths)
        return asked[rows] - targets.histories.times[targets.histories.offsets[1:][rows] - 1]

    assert (gaps(made.test) < SITTING_SECONDS).mean() > 0.5
    assert gaps(split.test).min() > SITTING_SECONDS
    assert len(split.test) == len(made.test)
    assert np.array_equal(split.train.items, made.train.items)
    plain = replace(sequences, signals=None)
    alone = make_split(plain, len(shop.item_ids()), "temporal", config)
    assert before_sittings(alone, plain) is alone


def test_where_looks_are_cheap_events_count_as_their_signals_say(split, config):
    assert split.weighing == SIGNALS
    assert split.train.signals.weights.min() < 0


def test_where_every_event_tells_as_much_they_count_alike(split, config):
    """Walks in which each step foretells the next, most of them called dislikes at random: that tells nothing."""
    random = np.random.default_rng(0)
    signals = split.train.signals

    def coined(sequences):
        weights = np.where(random.random(len(sequences.items)) < 0.7, np.float32(-1), np.float32(1))
        return replace(sequences, signals=replace(sequences.signals, weights=weights))

    walks = [np.arange(start, start + 12) % 150 for start in random.integers(0, 150, 300)]
    items = np.concatenate(walks).astype(np.int32)
    kinds = np.full(len(items), signals.roles.index("target"), dtype=np.int8)
    walked = replace(
        split.train,
        items=items,
        offsets=np.arange(301) * 12,
        times=np.tile(np.arange(12), 300) * 1000,
        signals=replace(signals, kinds=kinds, weights=np.ones(len(items), np.float32)),
    )
    made = make_split(walked, 150, "leave-one-out", config)
    made = replace(
        made,
        train=coined(made.train),
        validation=replace(made.validation, histories=coined(made.validation.histories)),
    )
    assert chosen_weighing(made, config) == ALIKE


def test_a_system_reads_kinds_and_is_the_same_when_it_is_loaded(shop, split, system, features, config, tmp_path):
    assert system.towers.shape.kinds == len(config.signals) + 1
    again = refit_system(system, shop.sequences(signals=signals_of(config)).weighed(system.weighing), features, config)
    again.save(tmp_path)
    loaded = System.load(tmp_path)
    histories = split.test.histories
    np.testing.assert_allclose(loaded.score(histories), again.score(histories), rtol=1e-5, atol=1e-5)
    assert {name: expert.aversion for name, expert in loaded.experts.items()} == {
        name: expert.aversion for name, expert in system.experts.items()
    }
    assert json.loads((tmp_path / "towers.json").read_text())["kinds"] == system.towers.shape.kinds
    figures = section([evaluate("recsys", system, split.test)], split)["systems"]["recsys"]["total"]
    assert figures["ndcg@10"] > 0.05


def test_a_dislike_takes_from_its_like_as_much_as_validation_wants(split):
    expert = fit_knn(split.train, split.catalogue, 64, 1.0)
    rows = split.test.histories
    with_dislikes = np.flatnonzero(np.add.reduceat(np.append(rows.disliked(), 0), rows.offsets[:-1]) > 0)
    some = rows.take(with_dislikes)
    full = expert.score(some)
    expert.aversion = 0.0
    none = expert.score(some)
    assert (full <= none + 1e-6).all()
    assert (full < none - 1e-6).any()


def test_targets_of_several_types_are_slices(shop, config):
    rules = (
        SignalConfig("target", "view", weight=0.1),
        *(rule for rule in config.signals if rule.event_type != "view"),
    )
    both = replace(config, signals=rules)
    Signals(rules).check(shop.events())
    sequences, _ = read_sequences(shop, "temporal", both)
    made = make_split(sequences, len(shop.item_ids()), "temporal", both)
    expert = fit_knn(made.train, made.catalogue, 64, 0.9)
    parts = section([evaluate("recsys", expert, made.test)], made)["systems"]["recsys"]
    assert parts["type:view"]["count"] + parts["type:purchase"]["count"] == len(made.test)
    assert parts["type:view"]["count"] > parts["type:purchase"]["count"] > 0
