"""Exported encoders: every form gives the vectors of the model that it was made from, alone as in any batch."""

import sys
import threading

import numpy as np
import pytest
import torch

from recsys.artifacts import ArtifactError
from recsys.config import LoraConfig
from recsys.errors import VectorError
from recsys.models.encoder.backbone import add_lora, load_backbone, load_lora, save_lora
from recsys.models.encoder.export import CARD, ExportedEncoder, export
from recsys.models.encoder.tokens import embed_catalogue, tokenize

pytestmark = pytest.mark.processor
BASE = LoraConfig().base
TOKENS = 32
TEXTS = [
    *[f"{'Very ' * (number % 23)}long walk number {number}" for number in range(60)],
    "",
    "x" * 500,
    "Paris, a letter and a kiss " * 20,
    "é\u0000\u202e🎬",
]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory):
    """A base with an adapter merged that moves its vectors."""
    folder = tmp_path_factory.mktemp("adapter")
    carrier = add_lora(load_backbone(BASE, torch.device("cpu")), LoraConfig(rank=4), seed=0)
    with torch.no_grad():
        for name, weight in carrier.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    save_lora(carrier, folder)
    return load_lora(folder, BASE, torch.device("cpu"))


@pytest.fixture(scope="module", params=["openvino", "torch", "onnx"])
def exported(request, adapted, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param)
    export(adapted, folder, request.param, {"base": BASE})
    return folder


@pytest.fixture(scope="module")
def exact(adapted):
    """What sentence-transformers computes too: fp32, mean of the token vectors, unit length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.models.devices.has_cpu_bf16", lambda: False)
        return embed_catalogue(adapted, tokenize(adapted, TEXTS, TOKENS))


def test_an_export_gives_the_vectors_of_its_model(exported, exact):
    vectors = ExportedEncoder.open(exported, TOKENS, precision="f32").encode(TEXTS)
    assert vectors.dtype == np.float32
    assert (1 - (vectors * exact).sum(axis=1)).max() < 1e-6
    low = ExportedEncoder.open(exported, TOKENS).encode(TEXTS)  # in bf16 where the processor computes in it
    assert (1 - (low * exact).sum(axis=1)).max() < 1e-4
    np.testing.assert_allclose(np.linalg.norm(low, axis=1), 1, atol=1e-4)


def test_a_text_has_the_same_vector_alone_as_beside_any_other(exported):
    encoder = ExportedEncoder.open(exported, TOKENS)
    together = encoder.encode(TEXTS)
    for number in (0, 22, 45, *range(60, 64)):
        assert encoder.encode([TEXTS[number]])[0] @ together[number] > 0.9999
    assert encoder.encode([]).shape == (0, encoder.dimensions)


def test_threads_do_not_mix_their_texts(exported):
    encoder = ExportedEncoder.open(exported, TOKENS)
    parts = [TEXTS[start::4] for start in range(4)]
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda number=number: found.update({number: encoder.encode(parts[number])}))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = encoder.encode(TEXTS)
    for number in range(4):
        assert (found[number] * alone[number::4]).sum(axis=1).min() > 0.9999


def test_a_changed_file_is_refused(exported, tmp_path):
    (copy := tmp_path / "copy").mkdir()
    for file in exported.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    weights = max(copy.iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match="has changed"):
        ExportedEncoder.open(copy, TOKENS)
    (copy / CARD).unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        ExportedEncoder.open(copy, TOKENS)


@pytest.mark.parametrize("form", ["openvino", "torch"])
def test_broken_weights_name_the_texts_they_break(form, tmp_path):
    broken = load_backbone(BASE, torch.device("cpu"))
    with torch.no_grad():
        word = broken.tokenizer("banana", add_special_tokens=False)["input_ids"][0]
        broken.model.embeddings.word_embeddings.weight[word] = float("nan")
    export(broken, tmp_path, form, {"base": BASE})
    encoder = ExportedEncoder.open(tmp_path, TOKENS, precision="f32")
    assert np.isfinite(encoder.encode(["apple"])).all()
    with pytest.raises(VectorError, match=r"1 of 2 texts.*'item-7'"):
        encoder.encode(["apple", "banana"], names=["item-6", "item-7"])


def test_openvino_is_kept_from_reporting_to_its_makers(exported):
    ExportedEncoder.open(exported, TOKENS).encode(["a text"])
    assert sys.modules.get("openvino_telemetry") is None
