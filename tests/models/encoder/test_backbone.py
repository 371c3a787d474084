"""The real BERT: pooling, length buckets, LoRA folders, and the adapter's training."""

import json

import numpy as np
import pytest
import torch

from recsys.artifacts import ArtifactError
from recsys.config import AdapterConfig, LoraConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.errors import VectorError
from recsys.models.adapter import train_adapter
from recsys.models.encoder.backbone import BaseModelError, add_lora, load_backbone, load_lora, save_lora
from recsys.models.encoder.tokens import embed, embed_catalogue, tokenize
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import text_features

TEXTS = ["Toy Story | genres: Animation", "GoldenEye", "A very long title " * 6, "Twelve Monkeys | year: 1995"]
BASE = LoraConfig().base


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(BASE, torch.device("cpu"))


def test_a_text_has_the_same_vector_alone_as_in_any_batch(backbone):
    together = embed_catalogue(backbone, tokenize(backbone, TEXTS, 64))
    alone = np.concatenate([embed_catalogue(backbone, tokenize(backbone, [text], 64)) for text in TEXTS])
    assert (together * alone).sum(axis=1).min() > 0.9999


def test_another_base_than_the_expected_one_is_refused(backbone):
    cpu = torch.device("cpu")
    assert load_backbone(BASE, cpu, expected=backbone.base_digest).base_digest == backbone.base_digest
    message = (
        rf"{BASE} that is installed here \({backbone.base_digest[:12]}\) is not .* \(0{{12}}\)\. Install that version"
    )
    with pytest.raises(BaseModelError, match=message):
        load_backbone(BASE, cpu, expected="0" * 64)


def test_buckets_hold_every_text_once_within_the_budget(backbone):
    tokens = tokenize(backbone, TEXTS * 5, 64)
    parts = list(tokens.buckets(np.arange(len(tokens)), budget=80))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(tokens)))
    assert all(len(part) * max(len(tokens.ids[index]) for index in part) <= 80 or len(part) == 1 for part in parts)


def test_related_titles_are_nearer_than_unrelated_ones(backbone):
    texts = ["Star Wars", "The Empire Strikes Back, a Star Wars film", "How to bake bread at home"]
    vectors = embed_catalogue(backbone, tokenize(backbone, texts, 32))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_broken_weights_never_give_vectors():
    broken = load_backbone(BASE, torch.device("cpu"))
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    with pytest.raises(VectorError, match="not finite"):
        embed(broken, tokenize(broken, TEXTS, 32))


def test_an_adapter_learns_survives_its_folder_and_repeats_itself(tmp_path):
    texts = [f"{kind} number {number}" for kind in ("red wine", "running shoe") for number in range(8)]
    train = Sequences.from_lists([[(user * 3 + step) % 16 for step in range(6)] for user in range(20)])
    config = AdapterConfig(lora=LoraConfig(rank=4), items_per_round=8, rounds=6)
    towers = TowerConfig(dimensions=16, batch_tokens=64)
    vectors = []
    for run in ("one", "two"):
        trained = add_lora(load_backbone(BASE, torch.device("cpu")), config.lora, seed=0)
        tokens = tokenize(trained, texts, 16)
        frozen = embed_catalogue(trained, tokens)
        warm = train_towers(text_features([frozen])[0], train, 16, towers, 0, epochs=2).towers
        before = frozen.copy()
        records = train_adapter(trained, tokens, train, config, towers, 0, warm, frozen)
        np.testing.assert_array_equal(frozen, before)
        assert len(records) == 6
        vectors.append(embed_catalogue(trained, tokens))
        save_lora(trained, tmp_path / run)
    assert np.abs(vectors[0] - frozen).max() > 1e-3
    np.testing.assert_array_equal(vectors[0], vectors[1])

    settings = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == BASE  # a name, never a path of the machine that trained it
    assert not list((tmp_path / "one").glob("*.bin"))
    merged = load_lora(tmp_path / "one", BASE, torch.device("cpu"))
    again = embed_catalogue(merged, tokenize(merged, texts, 16))
    assert (again * vectors[0]).sum(axis=1).min() > 0.999


@pytest.mark.parametrize("name", ["no-such-model-anywhere", "/no/such/folder"])
def test_an_unknown_base_is_a_clear_error(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # a network's time-out is not the point
    with pytest.raises(ArtifactError, match="cannot be loaded as a BERT-family encoder"):
        load_backbone(name)
