"""What is looked at in a folder from elsewhere before anything of it is loaded.

PEFT and transformers fall back to pickles, follow settings that import modules by name, and load an adapter that lies
beside a base. None of that is needed here: an adapter is what ``save_lora`` writes, a base is one with safetensors.
"""

import json
import re
from pathlib import Path

from recsys.artifacts import ArtifactError, read_json

CONFIGURATION = "adapter_config.json"
PLAIN = r"[\w.]+"  # the name of a layer, or its end: no regular expression that takes for ever
WEIGHTS = "adapter_model.safetensors"
# Only these may differ from PEFT's defaults: others name files, modules or other weights.
CHOSEN = {
    "alpha_pattern",
    "base_model_name_or_path",
    "inference_mode",
    "lora_alpha",
    "lora_dropout",
    "peft_version",
    "r",
    "rank_pattern",
    "target_modules",
    "task_type",
    "use_rslora",
}


def check_lora(folder: Path) -> None:
    """Check that a folder is a LoRA adapter in safetensors that asks for nothing but LoRA.

    Raises:
        ArtifactError: it is not; the message names the file or the setting.
    """
    from peft import LoraConfig  # here: as in backbone.py

    for name in (CONFIGURATION, WEIGHTS):
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise ArtifactError(f"{folder} is no adapter: {name} is missing or is a link. Weights are safetensors.")
    settings = read_json(folder / CONFIGURATION)
    targets = settings.get("target_modules") if isinstance(settings, dict) else None
    # A text would be a regular expression, which can take for ever.
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise ArtifactError(f"{folder / CONFIGURATION} has no list of names as target_modules. Train it again.")
    for name in ("rank_pattern", "alpha_pattern"):
        pattern = settings.get(name, {})
        if not isinstance(pattern, dict) or not all(re.fullmatch(PLAIN, key) for key in pattern):
            raise ArtifactError(f"{folder / CONFIGURATION} has a {name} that is no table of names. Train it again.")
    usual = json.loads(json.dumps(LoraConfig().to_dict(), default=str))
    for name, value in settings.items():
        if name not in CHOSEN and (name not in usual or value != usual[name]):
            raise ArtifactError(f"{folder / CONFIGURATION} sets {name}, which no adapter of ours does. Train it again.")


def check_base(source: str) -> None:
    """Check that a base that is a folder brings no adapter of its own, which transformers would load with it.

    Raises:
        ArtifactError: it does.
    """
    if (Path(source) / CONFIGURATION).exists():
        raise ArtifactError(f"{source} is an adapter, or brings one: {CONFIGURATION}. A base model has none.")
