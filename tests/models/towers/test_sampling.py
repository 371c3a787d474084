"""The sampled softmax: what it is taken over, and that it stands for the whole catalogue."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import TowerConfig
from recsys.data.sequences import Sequences
from recsys.models.towers.batches import HistoryBatch
from recsys.models.towers.sampling import softmax_items
from recsys.models.towers.training import train_towers


def batch_of(targets, weights=None):
    targets = torch.tensor(targets)
    weights = torch.ones(targets.shape) if weights is None else torch.tensor(weights)
    return HistoryBatch(torch.zeros((len(targets), 1), dtype=torch.int64), targets, weights)


@given(st.integers(0, 1_000), st.integers(20, 60), st.integers(1, 19), st.integers(1, 8))
@settings(max_examples=60)
def test_it_holds_every_target_once_and_weighs_as_much_as_all_known_items(seed, known, most, targets):
    rng = np.random.default_rng(seed)
    items = torch.from_numpy(np.sort(rng.choice(100, known, replace=False)))
    wanted = items[torch.from_numpy(rng.integers(0, known, targets))]
    chosen = softmax_items(items, batch_of([wanted.tolist()]), most, rng)
    assert chosen.sampled
    assert chosen.items.tolist() == sorted(set(chosen.items.tolist()))
    assert set(wanted.tolist()) <= set(chosen.items.tolist()) <= set(items.tolist())
    assert chosen.items[chosen.places(wanted)].tolist() == wanted.tolist()
    if len(chosen.items) > len(set(wanted.tolist())):
        torch.testing.assert_close(chosen.corrections.exp().sum(), torch.tensor(float(known)), rtol=1e-4, atol=1e-3)


def test_a_small_catalogue_is_taken_whole():
    known = torch.tensor([1, 4, 7])
    chosen = softmax_items(known, batch_of([[4]]), 3, np.random.default_rng(0))
    assert not chosen.sampled
    assert chosen.items.tolist() == [1, 4, 7]
    assert chosen.corrections.tolist() == [0, 0, 0]


def test_targets_that_weigh_nothing_are_not_taken_for_certain():
    chosen = softmax_items(torch.arange(1, 50), batch_of([[3, 0]], [[1.0, 0.0]]), 5, np.random.default_rng(0))
    assert 0 not in chosen.items.tolist()


def test_the_partition_sum_is_right_in_expectation():
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=40))
    batch, rng = batch_of([[2, 9]]), np.random.default_rng(0)
    sums = []
    for _ in range(4_000):
        chosen = softmax_items(torch.arange(40), batch, 12, rng)
        sums.append(float((logits[chosen.items] + chosen.corrections).exp().sum()))
    error = np.std(sums) / len(sums) ** 0.5
    assert abs(np.mean(sums) - float(logits.exp().sum())) < 4 * error


def test_a_sample_holds_what_it_shall_for_certain():
    certain = torch.tensor([9, 31, 17])
    chosen = softmax_items(torch.arange(40), batch_of([[3, 17]]), 8, np.random.default_rng(0), certain)
    taken = chosen.items[chosen.corrections == 0].tolist()
    assert taken == [3, 9, 17, 31]
    assert len(chosen.items) == 8


def test_towers_learn_from_a_sample_what_they_learn_from_all():
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 20, 60)
    train = Sequences.from_lists([[(start + step) % 20 for step in range(8)] for start in starts])
    features = rng.normal(size=(20, 12)).astype(np.float32)
    config = TowerConfig(dimensions=16, epochs=30, dropout=0.1, batch_tokens=8, max_softmax_items=8)
    histories = Sequences.from_lists([[item, (item + 1) % 20] for item in range(20)])
    for chosen in (config, replace(config, residual_norm=0.0)):
        towers = train_towers(features, train, 20, chosen, seed=0).towers
        scores = towers.score(histories)
        scores[histories.rows(), histories.items] = -np.inf
        assert (scores.argmax(1) == (np.arange(20) + 2) % 20).mean() >= 0.9
