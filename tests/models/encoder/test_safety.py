"""Folders that somebody else has prepared: nothing of them runs, and each is refused with a reason."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from recsys.artifacts import ArtifactError
from recsys.config import LoraConfig
from recsys.models.encoder.backbone import add_lora, load_backbone, load_lora, load_model, save_lora
from recsys.models.encoder.safety import CONFIGURATION, WEIGHTS

BASE = LoraConfig().base
CPU = torch.device("cpu")


class Mine:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An adapter as it should be."""
    folder = tmp_path_factory.mktemp("saved")
    save_lora(add_lora(load_backbone(BASE, CPU), LoraConfig(rank=2), seed=0), folder)
    load_lora(folder, BASE, CPU)
    return folder


@pytest.fixture
def adapter(saved, tmp_path):
    """A copy of it to spoil."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def assert_refused(adapter, match):
    with pytest.raises(ArtifactError, match=match):
        load_lora(adapter, BASE, CPU)


def test_a_pickle_is_not_read_in_the_place_of_safetensors(adapter, tmp_path):
    sprung = tmp_path / "sprung"
    mine = pickle.dumps(Mine(sprung))
    (adapter / WEIGHTS).unlink()
    (adapter / "adapter_model.bin").write_bytes(mine)
    assert_refused(adapter, "adapter_model.safetensors is missing")
    (adapter / WEIGHTS).write_bytes(mine)
    assert_refused(adapter, "does not fit")
    assert not sprung.exists()
    pickle.loads(mine)
    assert sprung.exists()  # it would have


def test_a_link_is_not_followed(adapter, tmp_path):
    os.replace(adapter / WEIGHTS, tmp_path / "elsewhere")
    (adapter / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    assert_refused(adapter, "is a link")


@pytest.mark.parametrize(
    "settings",
    [
        {"megatron_config": {"hidden_size": 8}, "megatron_core": "antigravity"},  # imports a module by its name
        {"auto_mapping": {"base_model_class": "X", "parent_library": "antigravity"}},
        {"corda_config": {"cache_file": "../../cache.bin"}},
        {"modules_to_save": ["embeddings"]},
        {"peft_type": "PROMPT_TUNING"},
        {"runtime_config": {}},
        {"trust_remote_code": True},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_ask_for_more_than_lora_are_refused(adapter, settings):
    file = adapter / CONFIGURATION
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    assert_refused(adapter, next(iter(settings)))


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, '{"target_modules": "(a+)+$"}'])
def test_a_configuration_that_is_none_is_refused(adapter, content):
    (adapter / CONFIGURATION).write_text(content)
    assert_refused(adapter, CONFIGURATION)


def test_weights_of_another_shape_are_refused(adapter):
    tensors = load_file(adapter / WEIGHTS)
    save_file({name: torch.zeros(1, 1) for name in tensors}, adapter / WEIGHTS)
    assert_refused(adapter, "does not fit")


@pytest.fixture
def base(tmp_path):
    """A tiny base in a folder."""
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertModel(BertConfig(vocab_size=10, max_position_embeddings=8, **size))
    model.save_pretrained(tmp_path / "base")
    load_model(str(tmp_path / "base"), torch.float32, "eager")
    return tmp_path / "base"


def test_a_base_without_safetensors_is_refused(base, tmp_path):
    sprung = tmp_path / "sprung"
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Mine(sprung)))
    with pytest.raises(ArtifactError, match="safetensors weights"):
        load_backbone(str(base), CPU)
    assert not sprung.exists()


@pytest.mark.parametrize("kind", ["bert", "mine"])
def test_code_that_comes_with_a_base_is_not_run(base, tmp_path, kind):
    sprung = tmp_path / "sprung"
    (base / "mine.py").write_text(f"import os; os.mkdir({str(sprung)!r})")
    auto = {"AutoConfig": "mine.Config", "AutoModel": "mine.Model", "AutoTokenizer": ["mine.Tokenizer", None]}
    config = json.loads((base / "config.json").read_text()) | {"auto_map": auto, "model_type": kind}
    (base / "config.json").write_text(json.dumps(config))
    (base / "tokenizer_config.json").write_text(json.dumps({"auto_map": auto, "tokenizer_class": "Mine"}))
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load_backbone(str(base), CPU)
    assert not sprung.exists()


def test_an_adapter_beside_a_base_is_not_loaded_with_it(base, saved):
    (base / CONFIGURATION).write_bytes((saved / CONFIGURATION).read_bytes())
    with pytest.raises(ArtifactError, match="brings one"):
        load_backbone(str(base), CPU)
