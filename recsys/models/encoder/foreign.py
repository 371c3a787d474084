"""A PEFT folder from elsewhere, read as data: what is LoRA becomes an adapter of ours, all else is named.

Its settings are never handed to PEFT, which would import modules by their names and match regular expressions of a
stranger's. Ranks, scales and targets are read out of them, compared with the weights, and written down anew.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from recsys.artifacts import ArtifactError
from recsys.models.encoder.backbone import Backbone, carry_lora, lora_weights, set_lora_weights
from recsys.models.encoder.safety import CONFIGURATION, PLAIN, WEIGHTS

MOST_SETTINGS, MOST_WEIGHTS = 1 << 20, 1 << 31  # bytes
MOST = 1e6  # of a rank and of a scale: more is no number that anybody trained with
# Settings that say nothing about what the weights do once they are trained.
IDLE = {
    "auto_mapping", "base_model_name_or_path", "eva_config", "fan_in_fan_out", "inference_mode", "lora_dropout",
    "megatron_core", "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type",
}  # fmt: skip
READ = {
    "alpha_pattern", "exclude_modules", "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha",
    "modules_to_save", "peft_type", "r", "rank_pattern", "target_modules", "use_rslora",
}  # fmt: skip
MERGE = "Merge it into its base where it was trained (`merge_and_unload`), save that, and name the folder as a base."
REASONS = {
    "use_dora": "is DoRA, which scales the columns of the base",
    "bias": "changes biases of the base",
    "lora_bias": "adds biases",
    "trainable_token_indices": "brings token embeddings of its own",
    "layer_replication": "repeats layers of the base",
    "target_parameters": "changes parameters that are no layers",
    "loftq_config": "belongs to a quantised base",
    "use_qalora": "belongs to a quantised base",
}
HEADS = {
    "classifier", "cls", "decoder", "discriminator_predictions", "generator_lm_head", "generator_predictions", "head",
    "lm_head", "lm_predictions", "pooler", "pre_classifier", "predictions", "qa_outputs", "score", "vocab_layer_norm",
    "vocab_projector", "vocab_transform",
}  # fmt: skip # of transformers' models for tasks: behind the hidden states that vectors are pooled from
WRAPPERS = {"base_model", "model", "module", "auto_model", "base"}  # around an encoder, by where it was trained
_SIDE = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(\.\w+)?\.weight")


@dataclass(frozen=True)
class Origin:
    """Where an adapter from elsewhere comes from, and what was not taken from it.

    Attributes:
        base: the base that its folder names, or None.
        task_type: PEFT's word for what it was trained for, or None.
        peft_version: that wrote it, or None.
        dtypes: of its weights, which are stored in fp32.
        left_out: layers behind the hidden states, which the vectors do not pass through: heads and poolers.
    """

    base: str | None
    task_type: str | None
    peft_version: str | None
    dtypes: list[str]
    left_out: list[str]


@dataclass(frozen=True)
class _Lora:
    """What makes one layer's change: ``scale`` is of PEFT's ``alpha``."""

    a: torch.Tensor
    b: torch.Tensor
    alpha: float


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a PEFT folder, checked to be those of LoRA in safetensors.

    Raises:
        ArtifactError: it is something else; the message says what, and what to do.
    """
    if not folder.is_dir():
        raise ArtifactError(f"There is no folder {folder}. Name one that PEFT's `save_pretrained` wrote.")
    if (folder / "adapter_model.bin").exists() and not (folder / WEIGHTS).exists():
        raise ArtifactError(
            f"{folder} has its weights in adapter_model.bin, a pickle, which is never read. Convert it where you trust "
            'it: python -c "import torch, safetensors.torch as s; '
            f"s.save_file(torch.load('adapter_model.bin', weights_only=True), '{WEIGHTS}')\""
        )
    for name, most in ((CONFIGURATION, MOST_SETTINGS), (WEIGHTS, MOST_WEIGHTS)):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(f"{folder} is no adapter: {name} is missing or is a link. Weights are safetensors.")
        if path.stat().st_size > most:
            raise ArtifactError(f"{path} has {path.stat().st_size:,} bytes; {most:,} are the most.")
    try:
        settings = json.loads((folder / CONFIGURATION).read_bytes())
        kind = settings["peft_type"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / CONFIGURATION} is no configuration of PEFT's ({error!r}).") from None
    if kind != "LORA":
        raise ArtifactError(f"{folder} is {_text(kind)}, and LoRA is what is read. {MERGE}")
    for name, value in settings.items():
        if name in IDLE | READ or value in (None, False, "none", [], {}):
            continue
        raise ArtifactError(f"{folder} sets {_text(name)}: it {REASONS.get(name, 'asks for more than LoRA')}. {MERGE}")
    if settings.get("init_lora_weights", True) not in (True, False, "gaussian", "orthogonal", "eva"):
        raise ArtifactError(
            f"{folder} was begun by {settings['init_lora_weights']!r:.40}, which changes the base. Save it again with "
            "PEFT's path_initial_model_for_weight_conversion, which makes plain LoRA of it."
        )
    saved = settings.get("modules_to_save") or []
    for name in saved if isinstance(saved, list) else [saved]:
        if isinstance(name, str) and name in HEADS:
            continue
        raise ArtifactError(f"{folder} has modules_to_save: {name!r:.60} is no head but a part of the base. {MERGE}")
    return dict(settings)


def with_foreign(backbone: Backbone, folder: Path) -> tuple[Backbone, Origin]:
    """Return a base with the LoRA weights of a PEFT folder from elsewhere, and where they come from.

    Raises:
        ArtifactError: it is no LoRA adapter of this base, or does more than LoRA; the message says what and where.
    """
    settings = read_settings(folder)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(f"{folder / WEIGHTS} cannot be read ({error}). Copy it again.") from None
    linear = {name: part for name, part in backbone.model.named_modules() if isinstance(part, nn.Linear)}
    sides, left_out, names = _assigned(folder, tensors, linear, backbone)
    _check_patterns(folder, settings, set(names.values()))
    loras = {
        module: _lora(folder, module, names[module], found, linear[module], settings) for module, found in sides.items()
    }
    prefixes = {name.removesuffix(module) for module, name in names.items()}
    if len(prefixes) > 1:
        raise ArtifactError(f"{folder} names layers in two ways. Save it again.")
    _check_targets(folder, settings, set(loras), set(linear), prefixes.pop())
    origin = Origin(
        base=_text(settings.get("base_model_name_or_path")),
        task_type=_text(settings.get("task_type")),
        peft_version=_text(settings.get("peft_version")),
        dtypes=sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}),
        left_out=sorted(left_out),
    )
    return _carried(backbone, loras, bool(settings.get("use_rslora"))), origin


def _assigned(
    folder: Path, tensors: Mapping[str, torch.Tensor], linear: Mapping[str, nn.Linear], backbone: Backbone
) -> tuple[dict[str, dict[str, torch.Tensor]], set[str], dict[str, str]]:
    """Return both sides by layer of the base, the layers that are left out, and what the folder calls each."""
    model: Any = backbone.model
    wrappers = WRAPPERS | {model.base_model_prefix}
    sides: dict[str, dict[str, torch.Tensor]] = {}
    left_out, names = set(), {}
    for key, tensor in tensors.items():
        match = _SIDE.fullmatch(key)
        name = match["module"] if match else key
        path = name.split(".")
        start = 0
        while start < len(path) and ".".join(path[start:]) not in linear:
            if path[start] not in wrappers and not path[start].isdigit():
                break
            start += 1
        inner = ".".join(path[start:])
        if match and inner in linear:
            if match["side"] in sides.setdefault(inner, {}):
                raise ArtifactError(f"{folder} has two weights for {inner}. Save one adapter a folder.")
            sides[inner][match["side"]] = tensor
            names[inner] = name.removeprefix("base_model.model.")
        elif path[start:] and path[start] in HEADS:
            left_out.add(str(_text(inner if match else inner.rpartition(".")[0])))
        elif match:
            raise ArtifactError(
                f"{folder} changes {_text(inner)}, a layer that {backbone.name} has not. Name its own base."
            )
        else:
            reason = (
                "is DoRA" if "lora_magnitude_vector" in key else f"brings {_text(key)}, which is no LoRA of a layer"
            )
            raise ArtifactError(f"{folder} {reason}. {MERGE}")
    if not sides:
        raise ArtifactError(f"{folder} has no LoRA weights of a layer of {backbone.name}. Name its own base.")
    return sides, left_out, names


def _check_patterns(folder: Path, settings: Mapping[str, Any], names: set[str]) -> None:
    """Check that ranks and scales of single layers are given by plain names of layers that there are."""
    for kind in ("rank_pattern", "alpha_pattern"):
        if not isinstance(settings.get(kind) or {}, dict):
            raise ArtifactError(f"{folder} has a {kind} that is no table of layers. Save it again.")
        for pattern in settings.get(kind) or {}:
            if not re.fullmatch(PLAIN, pattern):
                raise ArtifactError(f"{folder} has a {kind} that is a regular expression ({pattern!r:.60}). {MERGE}")
            if not any(_ends(name, pattern) for name in names) and not HEADS & set(pattern.split(".")):
                raise ArtifactError(
                    f"{folder} has a {kind} for {_text(pattern)}, which is none of its layers. Save it again."
                )


def _ends(name: str, pattern: str) -> bool:
    """Tell whether a pattern is a layer's name or its end, as PEFT matches it."""
    return re.match(rf"(.*\.)?({pattern})$", name) is not None


def _lora(
    folder: Path,
    module: str,
    name: str,
    found: Mapping[str, torch.Tensor],
    layer: nn.Linear,
    settings: Mapping[str, Any],
) -> _Lora:
    """Return a layer's weights in fp32, their shapes and numbers checked; ``name`` is what the folder calls it."""
    if set(found) != {"A", "B"}:
        raise ArtifactError(f"{folder} has half of the weights of {module}. Save it again.")
    a, b = found["A"], found["B"]
    rank = _by_pattern(folder, settings, "rank_pattern", name, "r")
    wanted = (int(rank), layer.in_features), (layer.out_features, int(rank))
    if (tuple(a.shape), tuple(b.shape)) != wanted:
        raise ArtifactError(
            f"{folder} does not fit: {module} has weights of {tuple(a.shape)} and {tuple(b.shape)}, and the base and "
            f"rank {rank:g} want {wanted[0]} and {wanted[1]}. Name the base that it was trained on."
        )
    if not {a.dtype, b.dtype} <= {torch.float32, torch.float16, torch.bfloat16}:
        raise ArtifactError(f"{folder} has weights of {a.dtype} in {module}. Save it in fp32, fp16 or bf16.")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ArtifactError(f"{folder} has weights in {module} that are not finite. Train it again.")
    alpha = _by_pattern(folder, settings, "alpha_pattern", name, "lora_alpha")
    return _Lora(a.float().contiguous(), b.float().contiguous(), alpha)


def _by_pattern(folder: Path, settings: Mapping[str, Any], patterns: str, layer: str, name: str) -> float:
    """Return a layer's number: of the first pattern that ends its name, as PEFT has it, else the general one."""
    found = (value for pattern, value in (settings.get(patterns) or {}).items() if _ends(layer, pattern))
    value = next(found, settings.get(name, 8))  # 8 is PEFT's own of both
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST:
        raise ArtifactError(f"{folder} has {value!r:.40} as {name}. It must be a number above 0, {MOST:,.0f} at most.")
    return float(value)


def _check_targets(folder: Path, settings: Mapping[str, Any], given: set[str], linear: set[str], prefix: str) -> None:
    """Check that the layers with weights are those that the settings ask for; a regular expression is not tried.

    Raises:
        ArtifactError: PEFT would leave weights out, or begin some anew.
    """
    import peft
    from peft.tuners.tuners_utils import check_target_module_exists

    targets, excluded = settings.get("target_modules"), settings.get("exclude_modules") or []
    layers, pattern = settings.get("layers_to_transform"), settings.get("layers_pattern") or []
    pattern = [pattern] if isinstance(pattern, str) else pattern
    if isinstance(targets, str) and targets != "all-linear":
        return
    if not isinstance(targets, list | str) or not isinstance(excluded, list) or not isinstance(pattern, list):
        raise ArtifactError(f"{folder / CONFIGURATION} has no list of names as target_modules. Save it again.")
    for name in (*(targets if isinstance(targets, list) else ()), *excluded, *pattern):
        if not isinstance(name, str) or not re.fullmatch(PLAIN, name):
            raise ArtifactError(f"{folder / CONFIGURATION} has {name!r:.60} among its names. Save it again.")
    if layers is not None and not all(
        isinstance(one, int) for one in (layers if isinstance(layers, list) else [layers])
    ):
        raise ArtifactError(f"{folder / CONFIGURATION} has layers_to_transform that are no numbers. Save it again.")
    names = sorted(linear) if targets == "all-linear" else targets
    asked = peft.LoraConfig(
        target_modules=names, exclude_modules=excluded or None, layers_to_transform=layers,
        layers_pattern=pattern or None,
    )  # fmt: skip
    asked.target_modules = {f"{prefix}{name}" for name in linear} if targets == "all-linear" else set(names)
    wanted = {name for name in linear if check_target_module_exists(asked, f"{prefix}{name}") is True}
    if wanted != given:
        extra, lacking = sorted(given - wanted), sorted(wanted - given)
        what = (
            f"has weights of {extra[0]}, which its settings" if extra else f"lacks weights of {lacking[0]}, which they"
        )
        raise ArtifactError(f"{folder} {what} {'leave out' if extra else 'ask for'}. Save it again.")


def _carried(backbone: Backbone, loras: Mapping[str, _Lora], rslora: bool) -> Backbone:
    """Return the base with these weights, in settings of PEFT's that name each layer in full."""
    ranks = {module: len(one.a) for module, one in loras.items()}
    alphas = {module: one.alpha for module, one in loras.items()}
    rank, alpha = (Counter(sorted(values.values())).most_common(1)[0][0] for values in (ranks, alphas))
    carrier = carry_lora(
        backbone,
        r=rank,
        lora_alpha=alpha,
        rank_pattern={module: one for module, one in sorted(ranks.items()) if one != rank},
        alpha_pattern={module: one for module, one in sorted(alphas.items()) if one != alpha},
        target_modules=sorted(loras),
        use_rslora=rslora,
    )
    own = lora_weights(carrier)
    weights = {
        f"base_model.model.{module}.lora_{side}.weight": tensor
        for module, one in loras.items()
        for side, tensor in (("A", one.a), ("B", one.b))
    }
    if weights.keys() != own.keys():
        raise AssertionError(f"PEFT names weights in another way: {sorted(weights.keys() ^ own.keys())[:2]}")
    set_lora_weights(carrier, weights)
    return carrier


def _text(value: Any) -> str | None:
    """Return what a stranger's file calls something, short and on one line, or None."""
    return None if value is None else "".join(filter(str.isprintable, str(value)))[:120]
