"""A base pools as it was trained to, by sentence-transformers' files: part of its hash, and kept by exports."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from families import LONGEST, WORDS, tiny_base

from recsys.artifacts import ArtifactError
from recsys.config import LoraConfig
from recsys.models.encoder.backbone import BaseModelError, load_backbone, pack_base, unpack_base
from recsys.models.encoder.export import CARD, EncoderCard, ExportedEncoder, export
from recsys.models.encoder.pooling import pool
from recsys.models.encoder.tokens import embed_catalogue, tokenize
from recsys.store.manifests import AdapterCard

CPU = torch.device("cpu")
TEXTS = [" ".join(WORDS[: 1 + number]) for number in range(0, 20, 3)]


@pytest.fixture
def base(tmp_path):
    return tiny_base("bert", tmp_path / "base")


def modules(base, pooling, *further):
    """Write what sentence-transformers has beside the weights."""
    names = [("Transformer", ""), ("Pooling", "1_Pooling"), *further]
    rows = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(names)
    ]
    (Path(base) / "modules.json").write_text(json.dumps(rows))
    (Path(base) / "1_Pooling").mkdir(exist_ok=True)
    (Path(base) / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def test_each_way_by_hand():
    hidden = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool(hidden, mask, "mean").tolist() == [[2.0, -3.0]]
    assert pool(hidden, mask, "cls").tolist() == [[1.0, -4.0]]
    assert pool(hidden, mask, "max").tolist() == [[3.0, -2.0]]


@pytest.mark.parametrize(
    ("settings", "how"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 16}, "cls"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "max"),
        ({"embedding_dimension": 16, "pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
    ],
)
def test_what_the_folder_says_is_how_it_pools_and_what_it_is(base, settings, how, tmp_path):
    plain = load_backbone(base, CPU)
    modules(base, settings, ("Normalize", "2_Normalize"))
    read = load_backbone(base, CPU)
    assert (plain.pooling, read.pooling) == ("mean", how)
    assert (plain.base_digest == read.base_digest) == (how == "mean")
    vectors = embed_catalogue(read, tokenize(read, TEXTS, LONGEST))
    assert np.allclose(vectors, embed_catalogue(plain, tokenize(plain, TEXTS, LONGEST)), atol=1e-4) == (how == "mean")
    for form in ("openvino", "torch", "onnx"):
        (tmp_path / form).mkdir()
        export(read, tmp_path / form, form, {"base": base})
        assert EncoderCard.read(tmp_path / form / CARD).pooling == how
        encoded = ExportedEncoder.open(tmp_path / form, LONGEST, "f32").encode(TEXTS)
        assert (1 - (encoded * vectors).sum(axis=1)).max() < 1e-3, form  # bf16 where the processor has it
    pack_base(read, tmp_path / "base.zip")
    assert load_backbone(unpack_base(tmp_path / "base.zip", tmp_path / "unpacked"), CPU).pooling == how


def test_the_default_base_has_the_hash_that_older_cards_have():
    backbone = load_backbone(LoraConfig().base, CPU)
    assert backbone.base_digest == "8c7c8f9466a1f32fe27574de66a3908dc56311102dc983ddb76c680b5c5c0397"
    assert (backbone.pooling, backbone.recorded_pooling, backbone.longest) == ("mean", None, 512)
    assert "pooling" not in AdapterCard(base="some base").to_dict()


def test_an_adapter_of_before_a_base_could_say_so_keeps_the_mean(base):
    plain = load_backbone(base, CPU)
    modules(base, {"pooling_mode": "cls"})
    assert load_backbone(base, CPU, expected=plain.base_digest).pooling == "mean"
    assert load_backbone(base, CPU, expected=load_backbone(base, CPU).base_digest).pooling == "cls"
    with pytest.raises(BaseModelError):
        load_backbone(base, CPU, expected="0" * 64)


@pytest.mark.parametrize(
    ("settings", "further", "reason"),
    [
        ({"pooling_mode": ["cls", "mean"]}, (), "pools by cls and mean"),
        ({"pooling_mode_weightedmean_tokens": True}, (), "pools by pooling_mode_weightedmean_tokens"),
        ({"pooling_mode": "mean"}, (("Dense", "2_Dense"),), "trained with a Dense layer"),
        ({"pooling_mode": "mean"}, (("Pooling", "../1_Pooling"),), r"names the folder '\.\./1_Pooling'"),
        ([], (), "does not write it"),
    ],
)
def test_what_is_not_read_is_said_and_refused(base, settings, further, reason):
    modules(base, settings, *further)
    with pytest.raises(ArtifactError, match=reason):
        load_backbone(base, CPU)
