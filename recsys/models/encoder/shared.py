"""An encoder as the folders that other libraries open: PEFT's ``from_pretrained``, and sentence-transformers'."""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from safetensors import safe_open

from recsys.artifacts import read_json
from recsys.models.encoder.backbone import Backbone, quiet
from recsys.models.encoder.pooling import write_pooling
from recsys.models.encoder.safety import CONFIGURATION, WEIGHTS

Shared = Literal["peft", "sentence-transformers"]


def write_peft(adapter: Path, folder: Path) -> None:
    """Copy what PEFT opens out of an adapter's folder: its settings, which name the base, and the LoRA weights.

    The settings name each layer in full, so that a base that is opened with its pooling head gets none in there.
    """
    shutil.copyfile(adapter / WEIGHTS, folder / WEIGHTS)
    with safe_open(folder / WEIGHTS, "pt") as file:
        layers = {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in file.keys()}  # noqa: SIM118
    settings = read_json(adapter / CONFIGURATION) | {"target_modules": sorted(layers), "inference_mode": True}
    (folder / CONFIGURATION).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def write_sentence_transformers(backbone: Backbone, folder: Path, max_tokens: int) -> None:
    """Write a backbone, whose adapter is merged, as a model of three modules: BERT, its pooling, unit length."""
    model: Any = backbone.model
    with quiet():
        model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    write_pooling(folder, backbone.pooling, backbone.hidden_size)
    settings = {"max_seq_length": max_tokens, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings, indent=2) + "\n")
