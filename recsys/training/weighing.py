"""By how much events count while something is learnt: as their signals say, or alike, whichever validation prefers.

What is to be brought, what is left out and what is a dislike stay as the rules say. But whether a look, a middling
rating or even a dislike tells less of what somebody takes next than a purchase does is a matter of the data: who rates
films one after the other tells much by a bad rating, too. It is asked once, of quick experts, for all that learns.
"""

from dataclasses import replace

from recsys.callbacks import StageProgress, stage
from recsys.config import ModelConfig
from recsys.data.sequences import SIGNALS, WEIGHINGS, Sequences, Weighing
from recsys.evaluation.sittings import before_sittings
from recsys.evaluation.splits import Split, Targets, sample
from recsys.experts.knn import fit_knn
from recsys.experts.rules import fit_rules
from recsys.experts.sparse import ItemMatrixScorer
from recsys.training.fit_experts import aversions
from recsys.training.validation import validation_ndcg

JUDGED_TARGETS = 2_000
LEAST_GAIN = 0.01  # of the NDCG@10 of the signals themselves that another weighing must bring


def as_meant(
    split: Split,
    sequences: Sequences,
    config: ModelConfig,
    weighing: Weighing | None = None,
    progress: StageProgress | None = None,
) -> Split:
    """Return a split as what learns shall see it: one sitting is one question, and events count as validation wants.

    Args:
        split: as it was made of the sequences.
        sequences: a row a user.
        config: all settings.
        weighing: by which an earlier training counted; None: it is chosen.
        progress: called with stage, done, total.
    """
    split = before_sittings(split, sequences)
    return weighed(split, weighing or chosen_weighing(split, config, progress))


def chosen_weighing(split: Split, config: ModelConfig, progress: StageProgress | None = None) -> Weighing:
    """Return the weighing by which rules and ItemKNN foretell validation targets best.

    Their figures are those of the better of both, at the decay of the settings; another weighing than that of the
    signals has to be better by ``LEAST_GAIN``.
    """
    if split.train.signals is None:
        return SIGNALS
    report = stage(progress, "Weigh events")
    judged = sample(split.validation, min(JUDGED_TARGETS, config.evaluation.max_validation_users), config.seed)
    figures: dict[Weighing, float] = {}
    for number, how in enumerate(WEIGHINGS):
        train, targets, experts = split.train.weighed(how), weighed_targets(judged, how), config.experts
        window, neighbours, decay = experts.rule_window, experts.neighbours, experts.history_decay
        fitted = (
            fit_rules(train, split.catalogue, window, neighbours, decay),
            fit_knn(train, split.catalogue, neighbours, decay),
        )
        figures[how] = max(
            validation_ndcg(ItemMatrixScorer(one.matrix, one.decay, one.window, aversion), targets)
            for one in fitted
            for aversion in aversions(targets.histories)
        )
        if report:
            report(number + 1, len(WEIGHINGS))
    best = max(WEIGHINGS, key=lambda how: figures[how])
    return best if figures[best] > (1 + LEAST_GAIN) * figures[SIGNALS] else SIGNALS


def weighed(split: Split, how: Weighing) -> Split:
    """Return a split whose events count so much."""
    return replace(
        split,
        train=split.train.weighed(how),
        validation=weighed_targets(split.validation, how),
        test=weighed_targets(split.test, how),
        weighing=how,
    )


def weighed_targets(targets: Targets, how: Weighing) -> Targets:
    """Return targets whose histories' events count so much."""
    return replace(targets, histories=targets.histories.weighed(how))
