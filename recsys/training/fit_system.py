"""Fitting a system: experts and towers on the encoded texts, then the blend of all of them.

``fit_system`` learns from a split's training part and chooses on its validation part; ``refit_system`` learns the same
again from all events, with everything chosen left as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.callbacks import StageProgress, stage
from recsys.config import ModelConfig
from recsys.data.sequences import SIGNALS, Scorer, Sequences
from recsys.evaluation.splits import Split, sample
from recsys.experts.again import fit_again
from recsys.experts.lexical import Lexicon
from recsys.experts.popularity import Popularity
from recsys.models.checkpoints import Checkpoints, checkpoint_of
from recsys.models.encoder.backbone import Backbone
from recsys.models.towers.epochs import TowerRun
from recsys.models.towers.tower import TwoTower
from recsys.models.towers.training import learns_ids, train_towers
from recsys.ranking.blend import fit_blend
from recsys.ranking.system import AGAIN, CONTENT, IDS, LEXICAL, POPULARITY, TOWERS, System
from recsys.training.encoding import TextEncoding, adapted_encoding
from recsys.training.fit_experts import fit_best_lexical, fit_content, fit_experts, refit_again, refit_experts
from recsys.training.validation import tower_validation

FIXED_POWER = frozenset({TOWERS, IDS, CONTENT})  # scores of any sign: a power would bend them about zero


def fit_system(
    split: Split,
    texts: Sequence[str],
    features: NDArray[np.float32],
    content_features: NDArray[np.float32],
    config: ModelConfig,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
) -> System:
    """Fit experts and towers on the training part and choose settings and blend weights on the validation part.

    Args:
        split: what may be learnt from, and the validation targets.
        texts: of the catalogue.
        features: (catalogue, width) whitened text vectors for the towers.
        content_features: (catalogue, width) whitened text vectors of the base alone, for content-based filtering.
        config: all settings.
        progress: called with stage, done, total.
        checkpoints: where the towers stand after each epoch.
    """
    validation = sample(split.validation, config.evaluation.max_validation_users, config.seed)
    experts, chosen = fit_experts(split.train, split.catalogue, config.experts, validation, progress)
    lexicon = Lexicon.fit(texts) if split.catalogue <= config.experts.max_lexical_items else None
    if lexicon is not None:
        experts[LEXICAL] = fit_best_lexical(lexicon, validation, stage(progress, "Compare words"))
        chosen["decays"][LEXICAL] = experts[LEXICAL].decay
    judge = tower_validation(validation, config)
    run = train_towers(
        features, split.train, split.catalogue, config.tower, config.seed, judge,
        progress=stage(progress, "Train towers"), checkpoint=checkpoint_of(checkpoints, TOWERS),
    )  # fmt: skip
    ids: TowerRun | None = None
    if learns_ids(split.train):
        ids = train_towers(
            None, split.train, split.catalogue, config.tower, config.seed, judge,
            progress=stage(progress, "Train towers over ids"), checkpoint=checkpoint_of(checkpoints, IDS),
        )  # fmt: skip
    popularity = Popularity.fit(split.train, split.catalogue, config.experts.popularity_half_life_days)
    content = fit_content(content_features, validation)
    components: dict[str, Scorer] = {TOWERS: run.towers, CONTENT: content, POPULARITY: popularity, **experts}
    components |= {} if ids is None else {IDS: ids.towers}
    again = fit_again(split.train, split.catalogue) if split.repeats else None
    components |= {} if again is None else {AGAIN: again}
    text = frozenset({TOWERS, CONTENT})  # and not the words: they are no vectors to search by
    blend, figure = fit_blend(components, FIXED_POWER, validation.histories, validation.items, text, validation.repeats)
    chosen |= {"epochs": run.epochs, "tower_history": run.history, "validation_ndcg@10": figure}
    if split.weighing != SIGNALS:
        chosen["weighing"] = split.weighing
    kept: TwoTower | None = None
    if ids is not None and IDS in blend.weights:
        kept = ids.towers
        chosen |= {"id_epochs": ids.epochs, "id_tower_history": ids.history}
    return System(run.towers, kept, experts, content, lexicon, popularity, blend, chosen, again, split.repeats)


def refit_system(
    system: System,
    sequences: Sequences,
    features: NDArray[np.float32],
    config: ModelConfig,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
) -> System:
    """Fit everything again on all events, with the settings, epochs and blend weights that validation chose."""
    catalogue = len(features)
    chosen = system.chosen
    experts = refit_experts(system, sequences, catalogue, config.experts)
    run = train_towers(
        features,
        sequences,
        catalogue,
        config.tower,
        config.seed,
        epochs=chosen["epochs"],
        progress=stage(progress, "Refit towers"),
        checkpoint=checkpoint_of(checkpoints, TOWERS),
    )
    ids: TwoTower | None = None
    if system.ids is not None:
        ids = train_towers(
            None,
            sequences,
            catalogue,
            config.tower,
            config.seed,
            epochs=chosen["id_epochs"],
            progress=stage(progress, "Refit towers over ids"),
            checkpoint=checkpoint_of(checkpoints, IDS),
        ).towers
    popularity = Popularity.fit(sequences, catalogue, config.experts.popularity_half_life_days)
    again = refit_again(system, sequences, catalogue)
    return replace(system, towers=run.towers, ids=ids, experts=experts, popularity=popularity, again=again)


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
