"""Pre-trained adapters: whether one pays for recommendation, and how a training begins with it."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError, read_json
from recsys.callbacks import StageProgress, stage
from recsys.config import AdapterConfig, LoraConfig, ModelConfig, PretrainConfig, from_stored
from recsys.evaluation.bootstrap import Interval, IntervalFields, paired_bootstrap
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.splits import Split
from recsys.home import Home
from recsys.models.checkpoints import Checkpoints, checkpoint_of
from recsys.models.encoder.backbone import Backbone, base_folder, load_backbone
from recsys.models.encoder.export import encode_texts
from recsys.models.encoder.pooling import read_pooling
from recsys.models.encoder.safety import CONFIGURATION
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import text_features
from recsys.store.adapters import read_card, verify_adapter
from recsys.store.manifests import IMPORTED, MERGED, PRETRAINING, AdapterCard


@dataclass(frozen=True)
class Worth:
    """What a pre-trained encoder is worth: NDCG@10 on validation targets of towers over its text vectors alone.

    Attributes:
        without: over the base's vectors.
        given: over the pre-trained one's.
        difference: the second minus the first, with its paired bootstrap interval.
    """

    without: float
    given: float
    difference: Interval

    @property
    def pays(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.difference.low > 0

    def to_dict(self) -> "WorthFields":
        """Return everything as JSON values."""
        difference = self.difference.to_dict()
        return {"without": self.without, "given": self.given, "difference": difference, "pays": self.pays}


class WorthFields(TypedDict):
    """A ``Worth`` as JSON values."""

    without: float
    given: float
    difference: IntervalFields
    pays: bool


def judge_pretraining(
    split: Split,
    texts: list[str],
    backbone: Backbone,
    config: PretrainConfig,
    model: ModelConfig,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
) -> Worth:
    """Train text-only towers over base and over pre-trained vectors, alike, and compare them on validation targets.

    Args:
        split: what the towers learn from; its test targets are not looked at.
        texts: the catalogue's.
        backbone: the base with the pre-trained LoRA weights.
        config: says how long the towers are trained.
        model: the towers' settings, and the seed.
        progress: called with stage, done, total.
        checkpoints: where the towers stand after each epoch.
    """
    gains: dict[str, NDArray[np.float64]] = {}
    for name, encoder in (("base", load_backbone(config.lora.base)), (PRETRAINING, backbone)):
        report = stage(progress, f"Encode texts ({name})")
        features, _ = text_features([encode_texts(encoder, texts, config.text.max_tokens, report)])
        towers = train_towers(
            features,
            split.train,
            split.catalogue,
            replace(model.tower, residual_norm=0.0),
            model.seed,
            steps=config.judge_steps,
            progress=stage(progress, f"Train text-only towers ({name})"),
            checkpoint=checkpoint_of(checkpoints, f"towers-{name}"),
        ).towers
        gains[name] = ndcg(evaluate(name, towers, split.validation, k=10, seed=model.seed).ranks, 10)
    samples = model.evaluation.bootstrap_samples
    difference = paired_bootstrap(gains[PRETRAINING], gains["base"], samples, model.seed)
    return Worth(float(gains["base"].mean()), float(gains[PRETRAINING].mean()), difference)


def is_frozen(config: AdapterConfig) -> bool:
    """Tell whether a training takes an adapter as it is, and fits towers, experts and blend on its vectors."""
    return config.pretrained is not None and config.rounds == 0


def with_adapter(home: Home, config: ModelConfig) -> ModelConfig:
    """Return settings with the base and the shape of the adapter that a training begins with, where those are its own.

    An imported or merged adapter has the shape that it was given, and one that stays as it is any. All others are left
    to the settings, which ``pretrained_folder`` compares.

    Raises:
        ArtifactError: there is no such adapter.
    """
    adapter = config.adapter
    if adapter.pretrained is None:
        return config
    card = read_card(home, adapter.pretrained)
    if card.task not in (IMPORTED, MERGED) and not is_frozen(adapter):
        return config
    shape = read_json(verify_adapter(home, adapter.pretrained) / CONFIGURATION)
    lora = LoraConfig(
        base=card.base,
        rank=shape["r"],
        alpha=float(shape["lora_alpha"]),
        rslora=bool(shape.get("use_rslora")),
        targets=tuple(shape["target_modules"]),
    )
    return replace(config, adapter=replace(adapter, lora=lora))


def pretrained_folder(home: Home, config: AdapterConfig) -> Path | None:
    """Return the PEFT folder that a training begins with, every file checked; None where it begins anew.

    Raises:
        ArtifactError: there is no such adapter, it is of another task, or its shape is not that of the settings.
        BaseModelError: the installed base is not the one that it was pre-trained from.
    """
    if config.pretrained is None:
        return None
    card = read_card(home, config.pretrained)
    if card.task not in (PRETRAINING, IMPORTED, MERGED) and not is_frozen(config):
        raise ArtifactError(
            f"Adapter {config.pretrained} is for {card.task}. Name one that `recsys pretrain` made; to go on from a "
            "recommendation adapter, use --resume-from."
        )
    if card.task == PRETRAINING and not is_frozen(config):
        _check_shape(config, card)
    pooling = load_backbone(config.lora.base, expected=card.base_digest).pooling
    if pooling != read_pooling(base_folder(config.lora.base)):
        raise ArtifactError(
            f"Adapter {config.pretrained} was trained on the {pooling} of its base's hidden states, before the base's "
            "own way of pooling was read. Train or import it again."
        )
    return verify_adapter(home, config.pretrained)


def _check_shape(config: AdapterConfig, card: AdapterCard) -> None:
    settings = {name: value for name, value in card.settings.items() if name != "seed"}
    wanted, found = config.lora, from_stored(PretrainConfig, settings).lora
    if wanted != found:
        name = next(item.name for item in fields(found) if getattr(wanted, item.name) != getattr(found, item.name))
        raise ArtifactError(
            f"Adapter {config.pretrained} was pre-trained with {name} {getattr(found, name)}, and adapter.lora.{name} "
            f"is {getattr(wanted, name)}. A LoRA goes on with the shape it has: change the setting, or pre-train with "
            "it."
        )
