"""The hand-written backward pass against autograd through the formula."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.models.towers import losses
from recsys.models.towers.losses import catalogue_cross_entropy

pytestmark = pytest.mark.processor


def reference(queries, items, bias, scale, targets, weights):
    log_softmax = torch.log_softmax(scale * queries @ items.T + bias, dim=1)
    return -(log_softmax.gather(1, targets) * weights).sum(1).mean()


def random_inputs(seed, positions, catalogue, future):
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(positions, 8, generator=generator, requires_grad=True)
    items = torch.randn(catalogue, 8, generator=generator, requires_grad=True)
    bias = torch.randn(catalogue, generator=generator, requires_grad=True)
    scale = torch.tensor(3.0, requires_grad=True)
    targets = torch.randint(catalogue, (positions, future), generator=generator)
    weights = torch.rand(positions, future, generator=generator) + 0.1
    return queries, items, bias, scale, targets, weights / weights.sum(1, keepdim=True)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 30), st.integers(1, 4))
@settings(max_examples=40)
def test_loss_and_all_gradients_agree_with_autograd(seed, positions, catalogue, future):
    inputs = random_inputs(seed, positions, catalogue, future)
    expected = reference(*inputs)
    wanted = torch.autograd.grad(expected, inputs[:4])
    found = catalogue_cross_entropy(*inputs)
    gradients = torch.autograd.grad(found, inputs[:4])
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-3, atol=1e-4)


def test_chunks_change_nothing(monkeypatch):
    inputs = random_inputs(0, 50, 40, 3)
    whole = catalogue_cross_entropy(*inputs)
    whole_gradients = torch.autograd.grad(whole, inputs[:4])
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", 7 * 40)
    parts = catalogue_cross_entropy(*inputs)
    for gradient, want in zip(torch.autograd.grad(parts, inputs[:4]), whole_gradients, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-5, atol=1e-6)


def test_low_precision_stays_near():
    inputs = random_inputs(1, 64, 200, 2)
    exact, low = catalogue_cross_entropy(*inputs), catalogue_cross_entropy(*inputs, low_precision=True)
    assert low.item() == pytest.approx(exact.item(), rel=0.02)


def test_the_loss_of_a_fixed_batch_does_not_drift():
    inputs = [tensor.detach() for tensor in random_inputs(7, 16, 32, 3)]
    rng = np.random.default_rng(7)  # torch may change its random numbers between versions; numpy promises not to
    inputs[0] = torch.from_numpy(rng.standard_normal((16, 8)).astype(np.float32))
    inputs[1] = torch.from_numpy(rng.standard_normal((32, 8)).astype(np.float32))
    inputs[2] = torch.from_numpy(rng.standard_normal(32).astype(np.float32))
    inputs[4] = torch.from_numpy(rng.integers(0, 32, (16, 3)))
    inputs[5] = torch.full((16, 3), 1 / 3)
    inputs[3] = torch.tensor(3.0)
    assert catalogue_cross_entropy(*inputs).item() == pytest.approx(15.630517, rel=1e-5)  # sums of fp32, in any order
