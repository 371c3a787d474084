"""Fitting the experts: each setting is chosen by validation NDCG@10."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from recsys.callbacks import Progress, StageProgress, stage
from recsys.config import ExpertsConfig
from recsys.data.sequences import Sequences
from recsys.evaluation.splits import Targets
from recsys.experts.again import BuyAgain, fit_again
from recsys.experts.content import Content
from recsys.experts.ease import fit_ease
from recsys.experts.knn import fit_knn
from recsys.experts.lexical import Lexicon, fit_lexical
from recsys.experts.rules import fit_rules
from recsys.experts.sparse import ItemMatrixScorer
from recsys.ranking.system import AGAIN, EASE, KNN, LEXICAL, RULES, Chosen, System
from recsys.training.validation import validation_figures, validation_ndcg

AVERSIONS = (0.0, 0.3, 1.0)
DECAYS = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
RIDGES = (20.0, 100.0, 500.0)


def fit_content(features: NDArray[np.float32], validation: Targets) -> Content:
    """Return content-based filtering over some text features, its history decay chosen by validation NDCG@10."""
    content = Content(features, DECAYS[0])
    scorers = [content.reading(decay, aversion) for decay in DECAYS for aversion in aversions(validation.histories)]
    figures = validation_figures(scorers, validation, len(features))
    return scorers[figures.index(max(figures))]


def fit_best_lexical(lexicon: Lexicon, validation: Targets, progress: Progress | None = None) -> ItemMatrixScorer:
    """Return the scorer by words in common, its history decay chosen by validation NDCG@10."""
    matrix = fit_lexical(lexicon, 1.0, progress).matrix
    scorers = [
        ItemMatrixScorer(matrix, decay, aversion=aversion)
        for decay in DECAYS
        for aversion in aversions(validation.histories)
    ]
    return max(scorers, key=lambda scorer: validation_ndcg(scorer, validation))


def refit_experts(
    system: System, sequences: Sequences, catalogue: int, config: ExpertsConfig
) -> dict[str, ItemMatrixScorer]:
    """Fit a system's experts again on other events, with the settings that validation chose."""
    chosen = system.chosen
    return {
        name: expert  # words have read no events
        if name == LEXICAL
        else fit_expert(
            name, sequences, catalogue, config, chosen["decays"][name], chosen.get("ridge"), expert.aversion
        )
        for name, expert in system.experts.items()
    }


def refit_again(system: System, sequences: Sequences, catalogue: int) -> BuyAgain | None:
    """Learn again from other events what is taken again; None where validation gave that no weight."""
    return fit_again(sequences, catalogue) if AGAIN in system.blend.weights else None


def fit_experts(
    train: Sequences,
    catalogue: int,
    config: ExpertsConfig,
    validation: Targets,
    progress: StageProgress | None = None,
) -> tuple[dict[str, ItemMatrixScorer], Chosen]:
    """Fit rules, ItemKNN and EASE; choose history decay and ridge by validation NDCG@10.

    Returns:
        The experts by name, and what was chosen.
    """
    report = stage(progress, "Fit experts")
    names = [RULES, KNN] + ([EASE] if catalogue <= config.max_ease_items else [])
    experts: dict[str, ItemMatrixScorer] = {}
    chosen: Chosen = {"decays": {}, "expert_ndcg@10": {}}
    for number, name in enumerate(names):
        ridges = RIDGES if name == EASE and config.ease_ridge is None else (config.ease_ridge,)
        best = -1.0
        for ridge in ridges:
            expert = fit_expert(name, train, catalogue, config, config.history_decay, ridge)
            candidates = [
                ItemMatrixScorer(expert.matrix, decay, expert.window, aversion)
                for decay, aversion in product(DECAYS, aversions(validation.histories))
            ]
            figures = validation_figures(candidates, validation, catalogue)
            for candidate, figure in zip(candidates, figures, strict=True):
                if figure > best:
                    best, experts[name] = figure, candidate
                    chosen["decays"][name], chosen["expert_ndcg@10"][name] = candidate.decay, figure
                    if name == EASE:
                        chosen["ridge"] = ridge
        if report:
            report(number + 1, len(names))
    return experts, chosen


def fit_expert(
    name: str,
    train: Sequences,
    catalogue: int,
    config: ExpertsConfig,
    decay: float,
    ridge: float | None,
    aversion: float = 1.0,
) -> ItemMatrixScorer:
    """Fit one expert by name."""
    if name == RULES:
        expert = fit_rules(train, catalogue, config.rule_window, config.neighbours, decay)
    elif name == KNN:
        expert = fit_knn(train, catalogue, config.neighbours, decay)
    elif name == EASE:
        expert = fit_ease(train, catalogue, RIDGES[1] if ridge is None else ridge, config.neighbours, decay)
    else:
        raise ValueError(f"There is no expert {name!r}; there are {RULES}, {KNN} and {EASE}.")
    expert.aversion = aversion
    return expert


def aversions(histories: Sequences) -> tuple[float, ...]:
    """Return how much dislikes may take, among which validation chooses; one choice where there are none."""
    signals = histories.signals
    return AVERSIONS if signals is not None and bool((signals.weights < 0).any()) else (1.0,)
