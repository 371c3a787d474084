"""What a training chooses by: NDCG@10 on validation targets."""

from collections.abc import Callable

import numpy as np

from recsys.config import ModelConfig
from recsys.data.sequences import Scorer
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.splits import Targets, sample
from recsys.models.towers.tower import TwoTower

JUDGED_EVENTS = 50_000  # of validation histories read after each epoch
MIN_JUDGED = 300
MAX_JUDGED_LENGTH = 200


def tower_validation(validation: Targets, config: ModelConfig) -> Callable[[TwoTower], float]:
    """Return what an epoch is judged by: NDCG@10 on validation targets, fewer of them where histories are long."""
    length = max(1.0, float(np.minimum(validation.histories.lengths, MAX_JUDGED_LENGTH).mean()))
    judged = sample(validation, max(MIN_JUDGED, int(JUDGED_EVENTS / length)), config.seed)
    return lambda towers: validation_ndcg(towers, judged)


def validation_ndcg(scorer: Scorer, targets: Targets) -> float:
    """Return the mean NDCG@10 of a scorer on some targets."""
    return float(np.mean(ndcg(evaluate("validation", scorer, targets, k=10).ranks, 10)))
