"""A batch's gradient does not depend on how it is cut: into parts where memory is short, or between processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import PATIENCE_SECONDS

from recsys.config import AdapterConfig, LoraConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.models import adapter
from recsys.models.adapter import carry_back, train_adapter
from recsys.models.devices import OutOfMemoryError, Team, fitting_memory, is_out_of_memory
from recsys.models.encoder.backbone import add_lora, load_backbone
from recsys.models.encoder.tokens import embed, embed_catalogue, tokenize
from recsys.models.optimisation import DivergedError
from recsys.models.towers import epochs
from recsys.models.towers.batches import history_batches, training_windows
from recsys.models.towers.descent import Descent
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import text_features

PROGRAM = Path(__file__).with_name("two_processes.py")
CONFIG = TowerConfig(dimensions=16, epochs=2, dropout=0.0, batch_tokens=64)


def behaviour(users: int = 40) -> Sequences:
    return Sequences.from_lists([[(user + step) % 20 for step in range(2 + user % 7)] for user in range(users)])


def batch():
    windows = training_windows(behaviour(), 10)
    return next(history_batches(windows, 1_000, 2, 0.5, np.random.default_rng(0), torch.device("cpu")))


@given(start=st.integers(0, 45), stop=st.integers(0, 45))
@settings(max_examples=30)
def test_parts_of_a_batch_are_its_rows_with_their_targets(start: int, stop: int) -> None:
    whole = batch()
    one = whole.part(start, stop)
    real = (whole.items >= 0).nonzero()[:, 0]
    inside = (real >= start) & (real < stop)
    assert torch.equal(one.items, whole.items[start:stop])
    assert torch.equal(one.targets, whole.targets[inside])
    assert torch.equal(one.weights, whole.weights[inside])


def test_memory_that_runs_out_halves_the_batch_and_leaves_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = batch()
    weight = torch.randn(20, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    sizes = []

    def loss_of(part, _rng):
        sizes.append(len(part.items))
        if len(part.items) > 10:
            weight.grad = torch.full_like(weight, 7.0)  # what a step that broke off may leave behind
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return (weight[part.targets] * part.weights).sum() / len(part.targets)

    expected = (weight[whole.targets] * whole.weights).sum() / len(whole.targets)
    (gradient,) = torch.autograd.grad(expected, weight)
    descent = Descent()
    loss = descent.gradient([weight], whole, loss_of, np.random.default_rng(0))
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(weight.grad, gradient)
    assert max(sizes[sizes.index(10) :]) == 10
    sizes.clear()
    descent.gradient([weight], whole, loss_of, np.random.default_rng(0))
    assert max(sizes) == 10  # what fitted once is kept to


def test_training_goes_on_with_the_same_batch_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "computes_bf16", lambda _device: False)  # bf16 sums differ with their order

    def trained():
        features = np.random.default_rng(1).standard_normal((20, 12)).astype(np.float32)
        return train_towers(features, behaviour(), 20, CONFIG, seed=0, epochs=2)

    roomy = trained()
    step = epochs.tower_loss

    def scarce(towers, part, *rest):
        if len(part.items) > 4:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory")
        return step(towers, part, *rest)

    monkeypatch.setattr(epochs, "tower_loss", scarce)
    tight = trained()
    for one, other in zip(roomy.history, tight.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_no_memory_at_all_is_a_reason_and_other_errors_are_not_hidden() -> None:
    def nothing_fits(_size: int) -> None:
        raise MemoryError

    with pytest.raises(OutOfMemoryError, match="even in parts of 3"):
        fitting_memory(nothing_fits, 13, 3, "testing")

    def broken(_size: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        fitting_memory(broken, 13, 3, "testing")
    assert not is_out_of_memory(ValueError("out of memory"))


def test_texts_are_encoded_in_smaller_batches_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(LoraConfig().base, torch.device("cpu"))
    tokens = tokenize(backbone, [f"a text of number {number}" for number in range(200)], 16)
    roomy = embed(backbone, tokens)
    whole = backbone.model.forward

    def scarce(*arguments, **named):
        if named["input_ids"].numel() > 600:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(*arguments, **named)

    monkeypatch.setattr(backbone.model, "forward", scarce)
    tight = embed(backbone, tokens)
    cosines = (roomy * tight).sum(axis=1) / np.linalg.norm(roomy, axis=1) / np.linalg.norm(tight, axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.parametrize("setting", ["learning_rate"])
def test_a_training_that_diverges_stops_with_its_reason(setting: str) -> None:
    features = np.random.default_rng(1).standard_normal((20, 12)).astype(np.float32)
    features[3] = np.inf
    with pytest.raises(DivergedError, match=rf"in epoch 1\. Lower tower\.{setting}; nothing was saved"):
        train_towers(features, behaviour(), 20, CONFIG, seed=0, epochs=1)


def small_adapter():
    """A base with LoRA weights, its catalogue, towers that read it, and what they were trained on."""
    config = AdapterConfig(lora=LoraConfig(rank=4), items_per_round=20, rounds=2)
    backbone = add_lora(load_backbone(config.lora.base, torch.device("cpu")), config.lora, seed=0)
    tokens = tokenize(backbone, [f"{'very ' * (number % 5)}long walk {number}" for number in range(20)], 16)
    frozen = embed_catalogue(backbone, tokens)
    towers = train_towers(text_features([frozen])[0], behaviour(), 20, CONFIG, seed=0, epochs=1).towers
    return config, backbone, tokens, frozen, towers


def test_an_adapter_that_diverges_stops_with_its_reason() -> None:
    config, backbone, tokens, frozen, towers = small_adapter()
    with torch.no_grad():
        towers.users.position[:] = float("nan")
    with pytest.raises(DivergedError, match=r"in round 1\. Lower adapter\.learning_rate; nothing was saved"):
        train_adapter(backbone, tokens, behaviour(), config, CONFIG, 0, towers, frozen)


def test_vectors_that_wait_for_their_turn_move_with_those_that_were_encoded() -> None:
    _, backbone, tokens, frozen, _ = small_adapter()
    lora = [weight for weight in backbone.model.parameters() if weight.requires_grad]
    with torch.no_grad():
        for weight in lora:
            weight.normal_(std=0.05, generator=torch.Generator().manual_seed(0))
    stored, now = torch.from_numpy(frozen.copy()), embed_catalogue(backbone, tokens)
    carry_back(backbone, tokens, np.arange(0, 20, 2), torch.zeros(20, 384), stored, lora, Team(), 400)
    left = 1 - (stored.numpy() * now).sum(1)
    before = 1 - (frozen * now).sum(1)
    assert left[::2].max() < 1e-3
    assert left[1::2].max() < 0.5 * before[1::2].min()
    torch.testing.assert_close(stored.norm(dim=1), torch.ones(20))


def test_an_adapter_learns_the_same_in_smaller_batches_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.models.devices.has_cpu_bf16", lambda: False)
    _, backbone, tokens, frozen, _ = small_adapter()
    lora = [weight for weight in backbone.model.parameters() if weight.requires_grad]
    gradient = torch.randn(20, 384, generator=torch.Generator().manual_seed(0))

    def carried(size: int) -> tuple[int, list[torch.Tensor | None]]:
        stored = torch.from_numpy(frozen.copy())
        fitted = carry_back(backbone, tokens, np.arange(20), gradient, stored, lora, Team(), size)
        torch.testing.assert_close(stored, torch.from_numpy(frozen), atol=1e-5, rtol=0)
        return fitted, [None if weight.grad is None else weight.grad.clone() for weight in lora]

    monkeypatch.setattr(adapter, "LEAST_TOKENS", 32)
    roomy = carried(400)
    whole = backbone.model.forward

    def scarce(*arguments, **named):
        if named["input_ids"].numel() > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(*arguments, **named)

    monkeypatch.setattr(backbone.model, "forward", scarce)
    tight = carried(400)
    assert (roomy[0], tight[0]) == (400, 50)
    torch.testing.assert_close(tight[1], roomy[1], atol=1e-4, rtol=1e-3)


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """The towers' losses and the adapter's, the LoRA weights too, on the same global batches."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    alone = [sys.executable, str(PROGRAM), str(tmp_path / "one.npz")]
    pair = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    for command in (alone, [*pair, "--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0",
                            str(PROGRAM), str(tmp_path / "two.npz")]):  # fmt: skip
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        assert run.returncode == 0, run.stderr
    one, two = (np.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert (int(one["processes"]), int(two["processes"])) == (1, 2)
    for name in ("tower_losses", "adapter_losses"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4)
    np.testing.assert_allclose(two["lora"], one["lora"], atol=1e-4)
    assert np.abs(one["lora"]).max() > 1e-3


def test_alone_is_a_team_of_one() -> None:
    assert Team.current() == Team(0, 1)
    assert Team(1, 3).share("abcdefg") == ["b", "e"]
