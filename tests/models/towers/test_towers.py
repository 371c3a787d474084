"""The two towers: what a score is, what a history may see, and that training learns and repeats itself."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys.config import TARGET, TowerConfig
from recsys.data.sequences import EventSignals, Sequences
from recsys.models.towers.batches import history_batches, training_windows
from recsys.models.towers.tower import Dropout, TowerShape, TwoTower
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import Whitening

FIRST_ANSWER = """
import sys
from pathlib import Path
import torch
from recsys.data.sequences import Sequences
from recsys.models.towers.tower import TwoTower
state = torch.random.get_rng_state()
TwoTower.load(Path(sys.argv[1])).score(Sequences.from_lists([[1, 2, 3]]))
print(state.equal(torch.random.get_rng_state()), "torch._dynamo" in sys.modules)
"""
CONFIG = TowerConfig(dimensions=16, epochs=12, dropout=0.1, batch_tokens=64)


def chain(users=60, catalogue=20, length=8, seed=0):
    """Behaviour with one law: item i is followed by item i + 1."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, catalogue, users)
    return Sequences.from_lists([[(start + step) % catalogue for step in range(length)] for start in starts])


def features(catalogue=20, width=12):
    return np.random.default_rng(1).standard_normal((catalogue, width)).astype(np.float32)


def small_towers(residual_norm=0.5):
    shape = TowerShape(12, 20, 16, 1, 2, 10, 0.0, residual_norm, 40.0, 6.0)
    torch.manual_seed(0)
    towers = TwoTower(shape, features())
    towers.items.set_known(np.array([0, 0, *range(1, 19)]))
    with torch.no_grad():
        towers.items.residual.normal_()
        towers.items.bias.normal_()
    return towers.freeze()


def test_training_finds_the_law():
    train = chain()
    run = train_towers(features(), train, 20, replace(CONFIG, future_items=1), seed=0, epochs=30)
    scores = run.towers.score(Sequences.from_lists([[3, 4, 5], [17, 18, 19]]))
    assert scores.argmax(axis=1).tolist() == [6, 0]
    assert run.history[-1]["loss"] < run.history[0]["loss"]


def test_training_repeats_itself_and_follows_the_seed():
    first, again, other = (train_towers(features(), chain(), 20, CONFIG, seed=seed, epochs=2) for seed in (0, 0, 1))
    assert torch.equal(first.towers.vectors, again.towers.vectors)
    assert not torch.equal(first.towers.vectors, other.towers.vectors)


def test_threads_share_gradients_and_not_the_order_of_their_sums():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, 8_000).astype(np.int8)
    signals = EventSignals(kinds, np.ones(len(kinds), np.float32), (TARGET,) * 4, (True,) * 4)
    items = rng.integers(0, 200, len(kinds)).astype(np.int32)
    train = Sequences(items, np.arange(0, len(items) + 1, 40), signals=signals)
    wide = TowerConfig(dimensions=64, batch_tokens=4096)
    before = torch.get_num_threads()
    torch.set_num_threads(max(2, before))
    try:
        runs = [train_towers(features(200), train, 200, wide, seed=3, epochs=1).towers for _ in range(3)]
    finally:
        torch.set_num_threads(before)
    first, *others = [run.state_dict() for run in runs]
    assert [name for other in others for name in first if not torch.equal(first[name], other[name])] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate, dtype):
    numbers = torch.ones(500, 401, dtype=dtype, requires_grad=True)  # no multiple of the bytes of a draw
    dropout = Dropout(rate)
    torch.manual_seed(0)
    first, second = dropout(numbers), dropout(numbers)
    torch.manual_seed(0)
    assert torch.equal(dropout(numbers), first)
    assert first.dtype == dtype
    assert (first == 0).float().mean().item() == pytest.approx(rate, abs=0.005)
    assert first.float().mean().item() == pytest.approx(1, abs=0.01)
    assert ((first == 0) & (second == 0)).float().mean().item() == pytest.approx(rate**2, abs=0.005)
    first.sum().backward()
    assert torch.equal(numbers.grad, first.detach())
    assert torch.equal(dropout.eval()(numbers), numbers)


def test_the_best_epoch_is_kept():
    figures = iter([0.1, 0.5, 0.2, 0.3, 0.1])
    config = TowerConfig(dimensions=16, epochs=5, patience=3, batch_tokens=64)
    kept = []

    def validate(towers):
        kept.append(towers.vectors.clone())
        return next(figures)

    run = train_towers(features(), chain(), 20, config, seed=0, validate=validate)
    assert run.epochs == 2
    assert torch.equal(run.towers.vectors, kept[1])


def test_vectors_are_unit_and_the_residual_is_bounded():
    towers, text = small_towers(), small_towers(residual_norm=0.0)
    text.items.projection.load_state_dict(towers.items.projection.state_dict())
    text.freeze()
    assert torch.allclose(towers.vectors.norm(dim=1), torch.ones(20), atol=1e-5)
    # A unit vector moved by at most 0.5 turns by at most asin(0.5), whose cosine is sqrt(3) / 2.
    assert (towers.vectors * text.vectors).sum(1).min() >= 3**0.5 / 2 - 1e-5


def test_items_without_events_have_their_text_alone_and_the_bias_of_rare_ones():
    towers = small_towers()
    text = torch.nn.functional.normalize(towers.items.projection(torch.from_numpy(features())), dim=1)
    assert torch.allclose(towers.vectors[:2], text[:2], atol=1e-5)
    bias = towers.items.item_bias()
    assert torch.allclose(bias[0], bias[towers.items.rare].mean())


def test_search_matrix_and_queries_give_the_score():
    towers = small_towers()
    histories = Sequences.from_lists([[1, 2, 3], [5], [], list(range(15))])
    product = towers.search_queries(histories) @ towers.search_matrix().T
    np.testing.assert_allclose(product, towers.score(histories), atol=1e-4)


def test_a_score_does_not_depend_on_its_batch():
    towers = small_towers()
    rows = [[1, 2, 3], [5], list(range(15)), [7, 7, 8]]
    together = towers.score(Sequences.from_lists(rows))
    alone = np.concatenate([towers.score(Sequences.from_lists([row])) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_position_sees_no_later_item():
    towers = small_towers()
    one, other = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 9, 9]])
    with torch.inference_mode():
        left, _ = towers.encode(one, towers.vectors)
        right, _ = towers.encode(other, towers.vectors)
    assert torch.allclose(left[0, :2], right[0, :2], atol=1e-6)
    assert not torch.allclose(left[0, 3], right[0, 3], atol=1e-3)


def test_save_and_load_give_the_same_scores(tmp_path):
    towers = small_towers()
    towers.save(tmp_path)
    histories = Sequences.from_lists([[1, 2, 3], []])
    np.testing.assert_array_equal(TwoTower.load(tmp_path).score(histories), towers.score(histories))


def test_a_first_answer_draws_nothing_and_imports_no_compiler(tmp_path):
    """Torch's compiler takes longer to import than all else that the first answer of a service waits for."""
    small_towers().save(tmp_path)
    command = [sys.executable, "-c", FIRST_ANSWER, tmp_path]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["True", "False"]


def test_every_event_but_the_first_is_a_target_once():
    train = Sequences.from_lists([list(range(10)), [3, 4], [5], []])
    windows = training_windows(train, 4)
    targets = []
    rng = np.random.default_rng(0)
    for batch in history_batches(windows, 6, 1, 0.5, rng, torch.device("cpu")):
        targets += batch.targets[:, 0].tolist()
    assert sorted(targets) == sorted([*range(1, 10), 4])


def test_soft_targets_name_what_follows():
    windows = training_windows(Sequences.from_lists([[1, 2, 3, 4]]), 10)
    (batch,) = history_batches(windows, 100, 2, 0.5, np.random.default_rng(0), torch.device("cpu"))
    assert batch.targets.tolist() == [[2, 3], [3, 4], [4, 0]]
    np.testing.assert_allclose(batch.weights.numpy(), [[2 / 3, 1 / 3], [2 / 3, 1 / 3], [1, 0]], rtol=1e-6)


def test_soft_targets_may_reach_beyond_the_longest_history():
    windows = training_windows(Sequences.from_lists([[1, 2, 3]]), 10)
    (batch,) = history_batches(windows, 100, 4, 0.5, np.random.default_rng(0), torch.device("cpu"))
    assert batch.targets.tolist() == [[2, 3, 0, 0], [3, 0, 0, 0]]
    np.testing.assert_allclose(batch.weights.numpy(), [[2 / 3, 1 / 3, 0, 0], [1, 0, 0, 0]], rtol=1e-6)


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(ValueError, match="two training events"):
        train_towers(features(), Sequences.from_lists([[1], [2]]), 20, CONFIG, seed=0)


def test_whitening_centres_and_evens_out():
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((500, 6)) * [5, 3, 1, 1, 0.5, 0.1] + 4).astype(np.float32)
    white = Whitening.fit(vectors, shrinkage=1e-6).apply(vectors)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(white.T), np.eye(6), atol=0.02)


@pytest.mark.parametrize("rows", [1, 64, 500])
def test_whitening_by_blocks_is_whitening_of_the_whole(rows, monkeypatch):
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((500, 6)) * [5, 3, 1, 1, 0.5, 0.1] + 4).astype(np.float32)
    mean = vectors.mean(axis=0, dtype=np.float64)
    values, directions = np.linalg.eigh((vectors - mean).T @ (vectors - mean) / len(vectors))
    matrix = (directions / np.sqrt(np.maximum(values, 0) + 0.01 * values[-1])).astype(np.float32)
    features = (vectors - mean.astype(np.float32)) @ matrix
    monkeypatch.setattr("recsys.models.towers.whitening.ROWS_AT_ONCE", rows)
    whitening = Whitening.fit(vectors)
    if rows == 500:  # one block: to the last digit, as ever
        np.testing.assert_array_equal(whitening.matrix, matrix)
        np.testing.assert_array_equal(whitening.apply(vectors), features)
    np.testing.assert_allclose(np.abs(whitening.apply(vectors)), np.abs(features), atol=1e-5)  # axes have no sign
    np.testing.assert_allclose(whitening.mean, mean, rtol=1e-6)


def test_the_first_item_may_be_without_events():
    """Padded targets point at it, whatever it is."""
    run = train_towers(None, Sequences.from_lists([[1, 2, 3], [2, 3, 1]]), 4, CONFIG, seed=0, epochs=1)
    assert np.isfinite(run.history[0]["loss"])
