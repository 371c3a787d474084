"""Every kind of encoder goes the whole road: load, LoRA, train, pre-train, classify, save and load, export."""

import importlib.util
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from families import CONFIGS, LONGEST, WORDS, tiny_base, tiny_tokenizer
from transformers import (
    AutoModelForMaskedLM,
    BartConfig,
    BertConfig,
    CLIPTextConfig,
    ErnieConfig,
    FNetConfig,
    GPT2Config,
    T5Config,
    ViTConfig,
)

from recsys.artifacts import ArtifactError
from recsys.config import AdapterConfig, ClassifierConfig, LoraConfig, PretrainConfig, TextConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.errors import SettingError
from recsys.models.adapter import train_adapter
from recsys.models.encoder.backbone import Backbone, add_lora, load_backbone, load_lora, save_lora
from recsys.models.encoder.classifier import Classifier, LabelledTexts
from recsys.models.encoder.classifier_training import train_classifier
from recsys.models.encoder.export import ExportedEncoder, export
from recsys.models.encoder.pretraining import IGNORED, MaskedLanguageModel, pretrain
from recsys.models.encoder.tokens import embed_catalogue, tokenize
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import text_features

CPU = torch.device("cpu")
TEXTS = [" ".join(WORDS[(start * 7 + step * start) % len(WORDS)] for step in range(1 + start)) for start in range(18)]
LORA = LoraConfig(rank=2, alpha=16.0)


@pytest.fixture(scope="module", autouse=True)
def exact():
    """Compute in fp32 on every processor: what is compared here are kinds of model, and no precisions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.models.devices.has_cpu_bf16", lambda: False)
        yield


@dataclass(frozen=True)
class Tiny:
    kind: str
    name: str
    backbone: Backbone
    vectors: np.ndarray


@pytest.fixture(scope="module", params=CONFIGS)
def tiny(request, exact, tmp_path_factory):
    name = tiny_base(request.param, tmp_path_factory.mktemp(request.param))
    backbone = load_backbone(name, CPU)
    return Tiny(request.param, name, backbone, embed_catalogue(backbone, tokenize(backbone, TEXTS, LONGEST)))


def distance(one, other):
    return float((1 - (one * other).sum(axis=1)).max())


def test_the_head_of_its_own_pooling_is_left_out(tiny):
    assert not [name for name, _ in tiny.backbone.model.named_parameters() if "pooler" in name]


def test_a_text_has_the_same_vector_alone_as_beside_longer_ones(tiny):
    tokens = [tokenize(tiny.backbone, [text], LONGEST) for text in TEXTS]
    alone = np.concatenate([embed_catalogue(tiny.backbone, one) for one in tokens])
    assert distance(alone, tiny.vectors) < 1e-5
    assert distance(tiny.vectors[:-1], tiny.vectors[1:]) > 1e-3  # and other texts have others


def test_the_longest_text_is_read_and_a_longer_one_refused(tiny):
    assert tiny.backbone.longest == LONGEST
    text = [" ".join(WORDS)]
    assert len(tokenize(tiny.backbone, text, LONGEST).ids[0]) == LONGEST
    embed_catalogue(tiny.backbone, tokenize(tiny.backbone, text, LONGEST))
    with pytest.raises(
        SettingError, match=f"reads {LONGEST} tokens of a text at most, and max_tokens is {LONGEST + 1}"
    ):
        tokenize(tiny.backbone, text, LONGEST + 1)


def test_an_adapter_is_trained_saved_loaded_and_exported(tiny, tmp_path):
    trained = add_lora(load_backbone(tiny.name, CPU), LORA, seed=0)
    tokens = tokenize(trained, TEXTS, LONGEST)
    train = Sequences.from_lists([[(user * 3 + step) % len(TEXTS) for step in range(6)] for user in range(12)])
    towers = TowerConfig(dimensions=16, batch_tokens=64)
    config = AdapterConfig(lora=LORA, items_per_round=9, rounds=4, learning_rate=5e-2)
    warm = train_towers(text_features([tiny.vectors])[0], train, len(TEXTS), towers, 0, epochs=1).towers
    train_adapter(trained, tokens, train, config, towers, 0, warm, tiny.vectors)
    wanted = embed_catalogue(trained, tokens)
    assert distance(wanted, tiny.vectors) > 1e-3
    save_lora(trained, tmp_path / "adapter")
    merged = load_lora(tmp_path / "adapter", tiny.name, CPU, tiny.backbone.base_digest)
    assert distance(embed_catalogue(merged, tokens), wanted) < 1e-5
    for form in ("openvino", "torch", *(["onnx"] if importlib.util.find_spec("onnx") else [])):
        (folder := tmp_path / form).mkdir()
        export(merged, folder, form, {"base": tiny.name})
        encoder = ExportedEncoder.open(folder, LONGEST, "f32")
        assert distance(encoder.encode(TEXTS), wanted) < 1e-5, form
        assert distance(encoder.encode(TEXTS[:1]), wanted[:1]) < 1e-5, form
        with pytest.raises(SettingError, match="tokens of a text at most"):
            ExportedEncoder.open(folder, LONGEST + 1)
        low = ExportedEncoder.open(folder, LONGEST, "bf16").encode(TEXTS)
        assert distance(low, wanted) < 3e-2, form  # of random weights


def test_its_own_head_foretells_masked_words_and_pretraining_trains(tiny):
    model = MaskedLanguageModel(load_backbone(tiny.name, CPU), seed=1)
    assert model.own_head
    whole = AutoModelForMaskedLM.from_pretrained(tiny.name, attn_implementation="eager").eval()
    tokens = tiny_tokenizer()(["w1 [MASK] w3 w4"], return_tensors="pt")
    with torch.inference_mode():
        wanted = whole(input_ids=tokens["input_ids"]).logits[0]
        hidden = model.backbone.model(input_ids=tokens["input_ids"]).last_hidden_state[0]
        np.testing.assert_allclose(model.head.eval()(hidden).numpy(), wanted.numpy(), atol=1e-4)
    ids, mask = tokenize(model.backbone, TEXTS, LONGEST).batch(np.arange(len(TEXTS)), CPU)
    targets = torch.where((torch.arange(ids.shape[1]) % 3 == 1) & (mask == 1), ids, IGNORED)
    optimizer = torch.optim.AdamW(model.weights(), lr=1e-2)
    losses = []
    for _ in range(8):
        losses.append(model.loss(ids.where(targets == IGNORED, 4), mask, targets))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    few = PretrainConfig(lora=replace(LORA, base=tiny.name), epochs=1, text=TextConfig(max_tokens=LONGEST))
    run = pretrain(TEXTS, few, seed=0)
    assert run.own_head
    assert np.isfinite(run.after)


def test_a_classifier_learns_and_survives_its_folder(tiny, tmp_path):
    labels = ["low" if int(text.split()[-1][1:]) < 30 else "high" for text in TEXTS]
    texts = LabelledTexts(TEXTS, labels)
    config = ClassifierConfig(lora=replace(LORA, base=tiny.name), epochs=2, batch_size=6, max_tokens=LONGEST)
    run = train_classifier(texts, texts, config, seed=0)
    assert run.history[1]["train_loss"] < run.history[0]["train_loss"] * 1.05
    run.classifier.save(tmp_path)
    loaded = Classifier.load(tmp_path, tiny.name, CPU)
    np.testing.assert_allclose(loaded.probabilities(TEXTS), run.classifier.probabilities(TEXTS), atol=1e-4)


OTHERS = {
    "gpt2": (GPT2Config(n_embd=16, n_layer=1, n_head=2), "is a decoder"),
    "t5": (T5Config(d_model=16, num_layers=1, num_heads=2, d_ff=16), "reads with an encoder and writes with a decoder"),
    "bart": (BartConfig(d_model=16), "reads with an encoder and writes with a decoder"),
    "vit": (ViTConfig(hidden_size=16), "reads images"),
    "bert": (BertConfig(hidden_size=16, is_decoder=True), "is a decoder"),
    "clip": (CLIPTextConfig(hidden_size=16), "is of no kind that is trained to foretell masked words"),
    "quantised": (BertConfig(quantization_config={"quant_method": "bitsandbytes"}), "has quantised weights"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_text_encoder_is_refused_with_a_sentence(kind, tmp_path):
    config, reason = OTHERS[kind]
    config.save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match=reason):
        load_backbone(str(tmp_path), CPU)


@pytest.mark.parametrize("name", ["/no/such/folder", "./bases/mine", "a/b/c"])
def test_a_missing_folder_is_called_one(name):
    with pytest.raises(ArtifactError, match=r"weights \(there is no such folder\)"):
        load_backbone(name, CPU)


def test_a_folder_without_a_tokenizer_says_what_it_lacks(tmp_path):
    tiny_base("bert", tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"its folder has no tokenizer\.json"):
        load_backbone(str(tmp_path), CPU)


def test_a_kind_that_padding_confuses_is_refused_and_another_read(tmp_path):
    size = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16}
    for name, config in {"fnet": FNetConfig(**size), "ernie": ErnieConfig(**size, num_attention_heads=2)}.items():
        AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    with pytest.raises(ArtifactError, match="fnet"):
        load_backbone(str(tmp_path / "fnet"), CPU)
    assert load_backbone(str(tmp_path / "ernie"), CPU).hidden_size == 16
