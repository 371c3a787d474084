"""Fine-tuning on pairs: what is no negative, the same weights again, and a killed training that goes on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys.config import LoraConfig, PairsConfig
from recsys.models.checkpoints import Checkpoint
from recsys.models.encoder import pairs
from recsys.models.encoder.backbone import add_lora, load_backbone, lora_weights
from recsys.models.encoder.tokens import tokenize

pytestmark = pytest.mark.processor
TEXTS = ["a film about the desert", "a film about a wedding", "a film about a haunted house"]
QUERIES = ["sand", "bride", "ghost", "dunes", "groom", "spook"]
CHOSEN = [np.array([place % 3]) for place in range(6)]
WEIGHTS = [np.ones(1)] * 6
CONFIG = PairsConfig(lora=LoraConfig(rank=2, alpha=4.0), batch_size=4, epochs=3, learning_rate=2e-3)


def trained(config=CONFIG, seed=0, checkpoint=None, chosen=CHOSEN, weights=WEIGHTS):
    backbone = add_lora(load_backbone(config.lora.base), config.lora, seed)
    history = pairs.train_pairs(backbone, QUERIES, chosen, weights, TEXTS, config, 16, seed, checkpoint=checkpoint)
    return history, {name: weight.detach().clone() for name, weight in lora_weights(backbone).items()}


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def test_the_loss_falls_and_a_killed_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    history, weights = trained()
    assert history[-1]["loss"] < history[0]["loss"]
    checkpoint, calls, loss = Checkpoint(tmp_path / "pairs.checkpoint", "key"), [], pairs._loss

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 4:  # in the second epoch
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(pairs, "_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=checkpoint)
    monkeypatch.undo()
    again, resumed = trained(checkpoint=checkpoint)
    assert again == history
    assert same(resumed, weights)
    assert not same(trained(seed=1)[1], weights)


def test_what_was_chosen_after_a_query_is_no_negative_of_it():
    backbone = load_backbone(CONFIG.lora.base)
    asked, read = tokenize(backbone, QUERIES, 16), tokenize(backbone, TEXTS, 16)
    batch = np.array([[0, 0], [1, 1], [2, 1]])
    apart = pairs._loss(backbone, asked, read, batch, CHOSEN, 0.05)
    both = [np.array([0, 1]), *CHOSEN[1:]]
    together = pairs._loss(backbone, asked, read, batch, both, 0.05)
    assert together < apart  # the first query's only negative is gone
    alone = pairs._loss(backbone, asked, read, batch[1:], CHOSEN, 0.05)
    assert float(alone.detach()) == pytest.approx(0, abs=1e-6)  # both chose one item, which stands there once


def test_pairs_that_weigh_more_are_drawn_more_often(monkeypatch):
    drawn, loss = [], pairs._loss

    def seen(backbone, asked, read, batch, *rest):
        drawn.extend(batch[:, 0].tolist())
        return loss(backbone, asked, read, batch, *rest)

    monkeypatch.setattr(pairs, "_loss", seen)
    trained(weights=[np.array([50.0]), *WEIGHTS[1:]])
    assert drawn.count(0) > len(drawn) / 2


def test_what_is_learnt_is_kept_in_part():
    whole, part = (trained(replace(CONFIG, kept_share=share))[1] for share in (1.0, 0.5))
    assert any(weight.abs().max() > 0 for name, weight in whole.items() if pairs.LORA_OUT in name)
    for name, weight in whole.items():
        torch.testing.assert_close(part[name], weight * (0.5 if pairs.LORA_OUT in name else 1.0))
