"""A small world for report and page: noisy scorers of different strength on a temporal split."""

import numpy as np
import pytest

from recsys.data.sequences import Sequences
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.report import metrics_document, section
from recsys.evaluation.splits import temporal

ITEMS = 60


class Oracle:
    """Knows the targets and hides them under noise; the less noise, the better."""

    def __init__(self, targets, noise, seed=0):
        random = np.random.default_rng(seed)
        self.scores = random.integers(0, 30, (len(targets), ITEMS)) * noise  # whole numbers: many ties
        self.scores[np.arange(len(targets)), targets.items] += 30
        self.done = 0

    def score(self, histories):
        self.done += len(histories)
        return self.scores[self.done - len(histories) : self.done].astype(np.float32)


@pytest.fixture(scope="session")
def split():
    random = np.random.default_rng(7)
    lengths = random.integers(1, 8, 150)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    times = np.concatenate([np.sort(random.integers(0, 1_000, length)) for length in lengths])
    items = (random.random(offsets[-1]) ** 2 * 55).astype(np.int32)
    late = np.flatnonzero(times > 900)
    items[late] = np.where(random.random(len(late)) < 0.4, random.integers(55, ITEMS, len(late)), items[late])  # new
    return temporal(Sequences(items, offsets, times), catalogue=ITEMS, test_share=0.3)


@pytest.fixture(scope="session")
def rankings(split):
    noise = {"popularity": 9, "blend": 4, "recsys.text": 3, "recsys": 2}
    return [evaluate(name, Oracle(split.test, value), split.test) for name, value in noise.items()]


@pytest.fixture(scope="session")
def document(split, rankings):
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 4))
    parts = {name: section(rankings, split, vectors, samples=200) for name in ("temporal", "leave-one-out")}
    return metrics_document({"name": "toy <data>"}, {"seed": 0}, parts, "a processor")
