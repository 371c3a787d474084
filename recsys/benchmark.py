"""Train everything on one split and rank the test targets: our system, its ablations, and baselines with the same care.

All systems see the same training part, choose on the same validation sample, and are asked the same test targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recsys.callbacks import StageProgress, stage
from recsys.config import ModelConfig
from recsys.data.sequences import Scorer
from recsys.evaluation.full_ranking import Ranking, evaluate
from recsys.evaluation.splits import Split, Targets, sample
from recsys.fitting import (
    FIXED_POWER,
    TextEncoding,
    adapted_encoding,
    fit_best_ials,
    fit_content,
    fit_system,
    fit_undecayed_ease,
    tower_validation,
)
from recsys.models.checkpoints import Checkpoints
from recsys.models.encoder.backbone import Backbone
from recsys.models.towers.training import train_towers
from recsys.ranking.blend import BlendScorer, fit_blend
from recsys.ranking.system import LEXICAL, System

OURS = "recsys"
BASELINES = (
    "popularity",
    "rules",
    "knn",
    "ease",
    "ease-undecayed",
    "ials",
    "lexical",
    "bert",
    "bert-whitened",
    "sasrec",
    "blend",
)
ABLATIONS = ("recsys.towers", "recsys.text", "recsys.frozen-towers", "recsys.frozen-text")
SYSTEMS = (OURS, *ABLATIONS, *BASELINES)
SIGNED = frozenset({"ials", "bert", "sasrec"})  # baselines whose scores are of any sign
QUICK = (OURS, "recsys.towers", "popularity", "rules", "knn", "ease", "lexical", "bert", "bert-whitened", "blend")


@dataclass(frozen=True)
class Trained:
    """Our system trained on one split.

    Attributes:
        encoding: text vectors of base and adapter.
        backbone: BERT with the LoRA weights.
        records: loss by round of the adapter's training.
        system: towers, experts and blend.
    """

    encoding: TextEncoding
    backbone: Backbone
    records: list[dict[str, float]]
    system: System


def train_on(
    split: Split,
    texts: list[str],
    frozen: TextEncoding,
    config: ModelConfig,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
    pretrained: Path | None = None,
) -> Trained:
    """Fine-tune the adapter and fit the system on one split's training part.

    With checkpoints, a training that was killed goes on from the last one and ends with the same weights. The adapter
    begins with the weights of a PEFT folder where one is given.
    """
    encoding, backbone, records = adapted_encoding(
        texts, frozen, split.train, config, progress, checkpoints, pretrained
    )
    system = fit_system(split, texts, encoding.features, frozen.features, config, progress, checkpoints)
    return Trained(encoding, backbone, records, system)


def rank_systems(
    split: Split,
    frozen: TextEncoding,
    trained: Trained,
    config: ModelConfig,
    systems: Sequence[str] = QUICK,
    progress: StageProgress | None = None,
) -> list[Ranking]:
    """Rank the split's test targets with each named system.

    Args:
        split: what was trained on, and the targets.
        frozen: text vectors of the base alone.
        trained: our system, as fitted on this split.
        config: all settings.
        systems: names from ``SYSTEMS``. ``blend`` is that of all simple components and of the baselines named here.
        progress: called with stage, done, total.

    Raises:
        ValueError: there is no system of that name.
    """
    unknown = sorted(set(systems) - set(SYSTEMS))
    if unknown:
        raise ValueError(f"There is no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}.")
    validation = sample(split.validation, config.evaluation.max_validation_users, config.seed)
    rankings = []
    baselines: dict[str, Scorer] = {}
    for name in sorted(systems, key=lambda name: name == "blend"):  # which needs the others
        if name == "blend":
            scorer: Scorer | None = _blend(trained.system, baselines, validation)
        else:
            scorer = _scorer(name, split, frozen, trained, validation, config, progress)
        if scorer is not None:
            if name in BASELINES:
                baselines[name] = scorer
            report = stage(progress, f"Rank {name}")
            rankings.append(evaluate(name, scorer, split.test, seed=config.seed, progress=report))
    return rankings


def _blend(system: System, baselines: dict[str, Scorer], validation: Targets) -> Scorer:
    """Return the best that can be had without our towers: every simple component and every baseline of the run."""
    simple: dict[str, Scorer] = {
        name: scorer for name, scorer in system.components.items() if name not in system.learnt
    }
    simple |= {name: scorer for name, scorer in baselines.items() if name != "bert-whitened"}  # that is ``content``
    blend, _ = fit_blend(simple, FIXED_POWER | SIGNED, validation.histories, validation.items)
    return BlendScorer(blend, simple)


def _scorer(
    name: str,
    split: Split,
    frozen: TextEncoding,
    trained: Trained,
    validation: Targets,
    config: ModelConfig,
    progress: StageProgress | None,
) -> Scorer | None:
    """Return a fitted scorer, or None for one that the catalogue is too large for."""
    system = trained.system
    if name == OURS:
        return system
    if name == "recsys.towers":
        return system.towers
    if name == "sasrec" and system.ids is not None:
        return system.ids  # trained on this split with these settings
    if name in system.components:
        return system.components[name]
    if name in ("ease", LEXICAL):
        return None
    large = split.catalogue > config.experts.max_ease_items
    if name == "ease-undecayed":
        return None if large else fit_undecayed_ease(split.train, split.catalogue, config.experts, validation)
    if name == "ials":
        return fit_best_ials(split.train, split.catalogue, validation, config.seed)
    if name == "bert":
        return fit_content(frozen.vectors, validation)
    if name == "bert-whitened":
        return system.content
    features, residual = {
        "sasrec": (None, config.tower.residual_norm),
        "recsys.text": (trained.encoding.features, 0.0),
        "recsys.frozen-text": (frozen.features, 0.0),
        "recsys.frozen-towers": (frozen.features, config.tower.residual_norm),
    }[name]
    return train_towers(
        features,
        split.train,
        split.catalogue,
        replace(config.tower, residual_norm=residual),
        config.seed,
        validate=tower_validation(validation, config),
        progress=stage(progress, f"Train {name}"),
    ).towers
