"""The default base is what was released, file by file, before anything of it is loaded: also where no card says so."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from recsys.config import LoraConfig, PretrainConfig
from recsys.models.encoder.backbone import BaseModelError, base_folder, load_backbone
from recsys.models.encoder.packaged import PACKAGED_BASES, packaged_folder
from recsys.models.encoder.pretraining import MaskedLanguageModel

BASE = LoraConfig().base
PIN = PACKAGED_BASES[BASE]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model's folder of a package of that name that stands before the real one; change it before it is loaded."""
    package = tmp_path / PIN.module
    real = packaged_folder(BASE, PIN)
    shutil.copytree(real, package / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (package / "model" / "model.safetensors").symlink_to(real / "model.safetensors")  # 90 MB
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PIN.module, raising=False)
    return package / "model"


def change_weights(folder: Path) -> None:
    """Change one number of the weights; the file stays a valid one of the same size."""
    weights = load_file(folder / "model.safetensors")
    first = min(weights)
    weights[first] = np.array(weights[first])
    weights[first].flat[0] += 1
    (folder / "model.safetensors").unlink()  # the link
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


CHANGES = {
    "model.safetensors": change_weights,
    "vocab.txt": lambda folder: (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text().swapcase()),
    "tokenizer.json": lambda folder: (folder / "tokenizer.json").write_text("{}"),
    "config.json": lambda folder: (folder / "config.json").unlink(),
    "pytorch_model.bin": lambda folder: (folder / "pytorch_model.bin").write_bytes(b"\x80"),
    "added_tokens.json": lambda folder: (folder / "added_tokens.json").write_text('{"film": 30522}'),
}


def test_an_untouched_copy_is_loaded(installed: Path) -> None:
    assert base_folder(BASE) == str(installed)
    assert load_backbone(BASE, torch.device("cpu")).hidden_size == 384


@pytest.mark.parametrize("file", CHANGES)
def test_a_fresh_training_on_a_changed_base_is_refused(installed: Path, file: str) -> None:
    CHANGES[file](installed)
    with pytest.raises(BaseModelError, match=f"not {PIN.requirement} as it was released: {file} is missing") as refused:
        load_backbone(BASE, torch.device("cpu"))
    assert str(installed) not in str(refused.value)


def test_the_head_of_pretraining_is_not_read_from_a_changed_base(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_backbone(BASE, torch.device("cpu"))
    change_weights(installed)
    with pytest.raises(BaseModelError, match=r"model\.safetensors is missing, added or changed"):
        MaskedLanguageModel(backbone, seed=0)


def test_every_default_base_is_checked() -> None:
    assert {LoraConfig().base, PretrainConfig().lora.base} <= PACKAGED_BASES.keys()
    assert all("model.safetensors" in base.files and "tokenizer.json" in base.files for base in PACKAGED_BASES.values())
