"""Masked-language modelling: what is masked, what a base's own head is worth, and that a killed run ends alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import GENRES, WORDS
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from recsys.config import LoraConfig, PretrainConfig
from recsys.models.checkpoints import Checkpoint
from recsys.models.encoder.backbone import base_folder, load_backbone
from recsys.models.encoder.pretraining import IGNORED, MaskedLanguageModel, mask_tokens, pretrain

CONFIG = PretrainConfig(lora=LoraConfig(rank=4, alpha=8), epochs=2, batch_size=16, learning_rate=2e-3)
TEXTS = [f"{first} {second} | genre: {genre}" for genre in GENRES for first in WORDS[genre] for second in WORDS[genre]]


@pytest.fixture(scope="module")
def run():
    return pretrain(TEXTS, CONFIG, seed=0)


def lora(one):
    return {name: weight for name, weight in one.backbone.model.named_parameters() if "lora" in name}


def test_lora_foretells_held_out_texts_better_than_the_head_alone(run):
    assert run.after < run.before
    assert run.history[-1]["perplexity"] == run.after
    assert sum(run.texts) == len(set(TEXTS))
    assert not run.own_head
    assert all(not weight.requires_grad for name, weight in run.backbone.model.named_parameters() if "lora" not in name)


def test_the_same_seed_gives_the_same_weights_after_a_kill_too(run, tmp_path):
    together = Checkpoint(tmp_path / "lora", "key")
    alone = Checkpoint(tmp_path / "head", "key")
    epoch = -(-run.texts[0] // CONFIG.batch_size)

    def kill(done, total):
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(TEXTS, CONFIG, 0, kill, alone, together)
    seen = []
    again = pretrain(TEXTS, CONFIG, 0, lambda done, _: seen.append(done), alone, together)
    assert seen[0] == 3 * epoch + 1  # both epochs of the head and one of LoRA were kept
    assert (again.before, again.after, again.history) == (run.before, run.after, run.history)
    assert lora(run).keys() == lora(again).keys()
    assert all(torch.equal(weight, lora(again)[name]) for name, weight in lora(run).items())


def test_a_head_of_the_bases_own_is_used(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(base_folder(CONFIG.lora.base))
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    settings = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    base = BertForMaskedLM(settings)
    base.save_pretrained(tmp_path, safe_serialization=True)
    model = MaskedLanguageModel(load_backbone(str(tmp_path)), seed=1)
    assert model.own_head
    tokens = tokenizer(["a [MASK] text"], return_tensors="pt")
    with torch.inference_mode():
        wanted = base.eval()(**tokens).logits
        hidden = model.backbone.model(**tokens).last_hidden_state
        np.testing.assert_allclose(model.head.eval()(hidden).numpy(), wanted.numpy(), atol=1e-4)


def test_masks_leave_special_tokens_and_follow_the_recipe():
    rng = np.random.default_rng(0)
    ids = np.r_[101, np.arange(1_000, 5_000), 102]
    changed, targets = mask_tokens(ids, np.array([0, 101, 102, 103]), 30_000, 103, 0.15, rng)
    asked = targets != IGNORED
    assert asked.sum() == 600
    assert not asked[0]
    assert not asked[-1]
    np.testing.assert_array_equal(targets[asked], ids[asked])
    np.testing.assert_array_equal(changed[~asked], ids[~asked])
    assert abs((changed[asked] == 103).mean() - 0.8) < 0.06
    assert 0.04 < (changed[asked] == ids[asked]).mean() < 0.16


def test_one_text_cannot_be_learnt_from():
    with pytest.raises(ValueError, match="two different texts"):
        pretrain(["a", "a"], replace(CONFIG, epochs=1), seed=0)
