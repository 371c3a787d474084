"""Fitting a system: encode the texts, fine-tune the adapter, fit experts and towers, search the blend.

``fit_system`` learns from a split's training part and chooses on its validation part; ``refit_system`` learns the same
again from all events, with everything chosen left as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.callbacks import Progress, StageProgress, stage
from recsys.config import ExpertsConfig, ModelConfig
from recsys.data.sequences import Scorer, Sequences
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.splits import Split, Targets, sample
from recsys.experts.content import Content
from recsys.experts.ease import fit_ease
from recsys.experts.ials import ImplicitFactors, fit_ials
from recsys.experts.knn import fit_knn
from recsys.experts.lexical import Lexicon, fit_lexical
from recsys.experts.popularity import Popularity
from recsys.experts.rules import fit_rules
from recsys.experts.sparse import ItemMatrixScorer
from recsys.models.adapter import train_adapter
from recsys.models.checkpoints import Checkpoints, checkpoint_of
from recsys.models.encoder.backbone import Backbone, add_lora, continue_lora, load_backbone
from recsys.models.encoder.export import encode_texts
from recsys.models.encoder.tokens import tokenize
from recsys.models.towers.epochs import TowerRun
from recsys.models.towers.tower import TwoTower
from recsys.models.towers.training import learns_ids, train_towers
from recsys.models.towers.whitening import Whitening, text_features
from recsys.ranking.blend import fit_blend
from recsys.ranking.system import CONTENT, IDS, LEXICAL, POPULARITY, TOWERS, System

DECAYS = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
RIDGES = (20.0, 100.0, 500.0)
IALS_GRID = ((2.0, 1.0), (2.0, 10.0), (10.0, 1.0), (10.0, 10.0), (40.0, 1.0), (40.0, 10.0))  # confidence, ridge
WARM_STEPS = 150  # of the towers that the adapter learns through
FIXED_POWER = frozenset({TOWERS, IDS, CONTENT})  # scores of any sign: a power would bend them about zero
JUDGED_EVENTS = 50_000  # of validation histories read after each epoch
MIN_JUDGED = 300
MAX_JUDGED_LENGTH = 200


@dataclass(frozen=True)
class TextEncoding:
    """The catalogue's text as vectors, and how to make the same of a new text.

    Attributes:
        vectors: (catalogue, width) float32: unit vectors of the frozen base, then of the adapted one, side by side.
        features: (catalogue, width) float32, the vectors whitened.
        whitening: the map from vectors to features.
    """

    vectors: NDArray[np.float32]
    features: NDArray[np.float32]
    whitening: Whitening


def frozen_encoding(texts: list[str], config: ModelConfig, progress: StageProgress | None = None) -> TextEncoding:
    """Encode the catalogue with the base model alone."""
    backbone = load_backbone(config.adapter.base)
    vectors = encode_texts(backbone, texts, config.text.max_tokens, stage(progress, "Encode texts"))
    return _encoding([vectors])


def adapted_encoding(
    texts: list[str],
    frozen: TextEncoding,
    train: Sequences,
    config: ModelConfig,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
    pretrained: Path | None = None,
) -> tuple[TextEncoding, Backbone, list[dict[str, float]]]:
    """Fine-tune a LoRA adapter on training behaviour and encode the catalogue with base and adapter side by side.

    It begins with the weights of a PEFT folder where one is given, else anew.

    Returns:
        The encoding, the backbone that carries the adapter, and the training records.
    """
    start = frozen
    if pretrained is None:
        backbone = add_lora(load_backbone(config.adapter.base), config.adapter, config.seed)
    else:
        backbone = continue_lora(pretrained, config.adapter.base)
        start = _encoding([encode_texts(backbone, texts, config.text.max_tokens, stage(progress, "Encode texts"))])
    tokens = tokenize(backbone, texts, config.text.max_tokens)
    # The adapter learns through towers that already know how to read the vectors.
    warm = train_towers(
        start.features,
        train,
        len(texts),
        replace(config.tower, residual_norm=0.0),
        config.seed,
        steps=WARM_STEPS,
        progress=stage(progress, "Warm up towers"),
        checkpoint=checkpoint_of(checkpoints, "warm-up"),
    ).towers
    records = train_adapter(
        backbone, tokens, train, config.adapter, config.tower, config.seed, warm, start.vectors,
        stage(progress, "Fine-tune BERT"), checkpoint_of(checkpoints, "adapter"),
    )  # fmt: skip
    adapted = encode_texts(backbone, texts, config.text.max_tokens, stage(progress, "Encode texts"))
    return _encoding([frozen.vectors, adapted]), backbone, records


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
        progress=stage(progress, "Train towers"), checkpoint=checkpoint_of(checkpoints, "towers"),
    )  # fmt: skip
    ids: TowerRun | None = None
    if learns_ids(split.train):
        ids = train_towers(
            None, split.train, split.catalogue, config.tower, config.seed, judge,
            progress=stage(progress, "Train towers over ids"), checkpoint=checkpoint_of(checkpoints, "ids"),
        )  # fmt: skip
    popularity = Popularity.fit(split.train, split.catalogue, config.experts.popularity_half_life_days)
    content = fit_content(content_features, validation)
    components: dict[str, Scorer] = {TOWERS: run.towers, CONTENT: content, POPULARITY: popularity, **experts}
    components |= {} if ids is None else {IDS: ids.towers}
    text = frozenset({TOWERS, CONTENT})  # and not the words: they are no vectors to search by
    blend, figure = fit_blend(components, FIXED_POWER, validation.histories, validation.items, text)
    chosen |= {"epochs": run.epochs, "tower_history": run.history, "validation_ndcg@10": figure}
    kept: TwoTower | None = None
    if ids is not None and IDS in blend.weights:
        kept = ids.towers
        chosen |= {"id_epochs": ids.epochs, "id_tower_history": ids.history}
    return System(run.towers, kept, experts, content, lexicon, popularity, blend, chosen)


def fit_content(features: NDArray[np.float32], validation: Targets) -> Content:
    """Return content-based filtering over some text features, its history decay chosen by validation NDCG@10."""
    scorers = [Content(features, decay) for decay in DECAYS]
    return max(scorers, key=lambda scorer: validation_ndcg(scorer, validation))


def fit_best_lexical(lexicon: Lexicon, validation: Targets, progress: Progress | None = None) -> ItemMatrixScorer:
    """Return the scorer by words in common, its history decay chosen by validation NDCG@10."""
    matrix = fit_lexical(lexicon, 1.0, progress).matrix
    scorers = [ItemMatrixScorer(matrix, decay) for decay in DECAYS]
    return max(scorers, key=lambda scorer: validation_ndcg(scorer, validation))


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
        checkpoint=checkpoint_of(checkpoints, "towers"),
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
            checkpoint=checkpoint_of(checkpoints, "ids"),
        ).towers
    popularity = Popularity.fit(sequences, catalogue, config.experts.popularity_half_life_days)
    return replace(system, towers=run.towers, ids=ids, experts=experts, popularity=popularity)


def refit_experts(
    system: System, sequences: Sequences, catalogue: int, config: ExpertsConfig
) -> dict[str, ItemMatrixScorer]:
    """Fit a system's experts again on other events, with the settings that validation chose."""
    chosen = system.chosen
    return {
        name: expert  # words have read no events
        if name == LEXICAL
        else fit_expert(name, sequences, catalogue, config, chosen["decays"][name], chosen.get("ridge"))
        for name, expert in system.experts.items()
    }


def fit_experts(
    train: Sequences,
    catalogue: int,
    config: ExpertsConfig,
    validation: Targets,
    progress: StageProgress | None = None,
) -> tuple[dict[str, ItemMatrixScorer], dict[str, Any]]:
    """Fit rules, ItemKNN and EASE; choose history decay and ridge by validation NDCG@10.

    Returns:
        The experts by name, and what was chosen.
    """
    report = stage(progress, "Fit experts")
    names = ["rules", "knn"] + (["ease"] if catalogue <= config.max_ease_items else [])
    experts: dict[str, ItemMatrixScorer] = {}
    chosen: dict[str, Any] = {"decays": {}, "expert_ndcg@10": {}}
    for number, name in enumerate(names):
        ridges = RIDGES if name == "ease" and config.ease_ridge is None else (config.ease_ridge,)
        best = -1.0
        for ridge in ridges:
            expert = fit_expert(name, train, catalogue, config, config.history_decay, ridge)
            for decay in DECAYS:
                candidate = ItemMatrixScorer(expert.matrix, decay, expert.window)
                figure = validation_ndcg(candidate, validation)
                if figure > best:
                    best, experts[name] = figure, candidate
                    chosen["decays"][name], chosen["expert_ndcg@10"][name] = decay, figure
                    if name == "ease":
                        chosen["ridge"] = ridge
        if report:
            report(number + 1, len(names))
    return experts, chosen


def fit_expert(
    name: str, train: Sequences, catalogue: int, config: ExpertsConfig, decay: float, ridge: float | None
) -> ItemMatrixScorer:
    """Fit one expert by name."""
    if name == "rules":
        return fit_rules(train, catalogue, config.rule_window, config.neighbours, decay)
    if name == "knn":
        return fit_knn(train, catalogue, config.neighbours, decay)
    if name == "ease":
        return fit_ease(train, catalogue, RIDGES[1] if ridge is None else ridge, config.neighbours, decay)
    raise ValueError(f"There is no expert {name!r}; there are rules, knn and ease.")


def fit_undecayed_ease(
    train: Sequences, catalogue: int, config: ExpertsConfig, validation: Targets
) -> ItemMatrixScorer:
    """Return EASE as published, every event of a history weighing the same, its ridge chosen by validation NDCG@10."""
    scorers = [fit_ease(train, catalogue, ridge, config.neighbours, decay=1.0) for ridge in RIDGES]
    return max(scorers, key=lambda scorer: validation_ndcg(scorer, validation))


def fit_best_ials(train: Sequences, catalogue: int, validation: Targets, seed: int) -> ImplicitFactors:
    """Return iALS with confidence, ridge and history decay chosen by validation NDCG@10."""
    fitted = (fit_ials(train, catalogue, *choice, decay=1.0, seed=seed) for choice in IALS_GRID)
    scorers = (factors.with_decay(decay) for factors in fitted for decay in DECAYS)
    return max(scorers, key=lambda scorer: validation_ndcg(scorer, validation))


def tower_validation(validation: Targets, config: ModelConfig) -> Callable[[TwoTower], float]:
    """Return what an epoch is judged by: NDCG@10 on validation targets, fewer of them where histories are long."""
    length = max(1.0, float(np.minimum(validation.histories.lengths, MAX_JUDGED_LENGTH).mean()))
    judged = sample(validation, max(MIN_JUDGED, int(JUDGED_EVENTS / length)), config.seed)
    return lambda towers: validation_ndcg(towers, judged)


def validation_ndcg(scorer: Scorer, targets: Targets) -> float:
    """Return the mean NDCG@10 of a scorer on some targets."""
    return float(np.mean(ndcg(evaluate("validation", scorer, targets, k=10).ranks, 10)))


def _encoding(vectors: list[NDArray[np.float32]]) -> TextEncoding:
    features, whitening = text_features(vectors)
    return TextEncoding(np.concatenate(vectors, axis=1), features, whitening)
