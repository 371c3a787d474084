"""An encoder as the folders that other libraries open: PEFT's ``from_pretrained``, and sentence-transformers'."""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from safetensors import safe_open

from recsys.artifacts import read_json
from recsys.models.encoder.backbone import Backbone, quiet
from recsys.models.encoder.pooling import MODULES
from recsys.models.encoder.safety import CONFIGURATION, WEIGHTS

Shared = Literal["peft", "sentence-transformers"]
POOLING = "1_Pooling"


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
    """Write a backbone, whose adapter is merged, as a model of three modules: BERT, its pooling, unit length.

    The names of modules and settings are those that all releases of sentence-transformers read.
    """
    model: Any = backbone.model
    with quiet():
        model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    kinds = (("Transformer", ""), ("Pooling", POOLING), ("Normalize", "2_Normalize"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(kinds)
    ]
    modes = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "mean_sqrt_len_tokens": None}
    pooling: dict[str, Any] = {"word_embedding_dimension": backbone.hidden_size}
    pooling |= {f"pooling_mode_{name}": how == backbone.pooling for name, how in modes.items()}
    (folder / POOLING).mkdir()
    for place, value in {
        MODULES: modules,
        f"{POOLING}/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": max_tokens, "do_lower_case": False},
    }.items():
        (folder / place).write_text(json.dumps(value, indent=2) + "\n")
