"""An adapter of the search, learnt from pairs of a query and an item, and what it is worth on queries held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from recsys.callbacks import StageProgress, stage
from recsys.config import PairsConfig
from recsys.data.pairs import Asked
from recsys.evaluation.bootstrap import Interval, IntervalFields, paired_bootstrap
from recsys.evaluation.metrics import mrr, recall
from recsys.models.checkpoints import Checkpoint
from recsys.models.encoder.backbone import Backbone, add_lora, load_backbone
from recsys.models.encoder.export import encode_texts
from recsys.models.encoder.fitting import check_fit
from recsys.models.encoder.pairs import train_pairs

TEN = 10


@dataclass(frozen=True)
class PairsWorth:
    """What an adapter of the search is worth on held-out queries, by meaning alone, over the base that it began with.

    Attributes:
        without: (queries,) reciprocal rank at 10 of what was chosen, by the base.
        given: (queries,) the same by the adapter.
        hits: hit@1 of the two.
        difference: of the mean reciprocal ranks, with its paired bootstrap interval.
    """

    without: NDArray[np.float64]
    given: NDArray[np.float64]
    hits: tuple[float, float]
    difference: Interval

    @property
    def pays(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.difference.low > 0

    def to_dict(self) -> "PairsFigures":
        """Return everything as JSON values."""
        means = (float(self.without.mean()), float(self.given.mean()))
        without, given = ({"hit@1": hit, "mrr@10": mean} for hit, mean in zip(self.hits, means, strict=True))
        difference = self.difference.to_dict()
        return {
            "queries": len(self.given),
            "without": without,
            "given": given,
            "mrr_difference": difference,
            "pays": self.pays,
        }


class PairsFigures(TypedDict):
    """A ``PairsWorth`` as JSON values."""

    queries: int
    without: dict[str, float]
    given: dict[str, float]
    mrr_difference: IntervalFields
    pays: bool


@dataclass(frozen=True)
class LearntPairs:
    """An adapter of the search.

    Attributes:
        backbone: the base with the LoRA weights.
        history: one record an epoch: epoch, loss.
        vectors: (catalogue, hidden) unit vectors of the items' texts.
        worth: on held-out queries.
    """

    backbone: Backbone
    history: list[dict[str, float]]
    vectors: NDArray[np.float32]
    worth: PairsWorth


def learn_pairs(
    texts: Sequence[str],
    learnt: Sequence[Asked],
    held_out: Sequence[Asked],
    config: PairsConfig,
    max_tokens: int,
    seed: int,
    progress: StageProgress | None = None,
    checkpoint: Checkpoint | None = None,
) -> LearntPairs:
    """Train an adapter on some queries and judge it, and the base beside it, on others.

    Args:
        texts: the catalogue's.
        learnt: what is learnt from.
        held_out: what it is judged by; not looked at before.
        config: settings.
        max_tokens: of a text that are read.
        seed: fixes everything.
        progress: called with stage, done, total.
        checkpoint: where the training stands; a killed one goes on from there.
    """
    base = load_backbone(config.lora.base)
    check_fit(base, config.lora, max_tokens, "lora", "text.max_tokens")
    queries = [one.text for one in held_out]
    before = _ranks(base, texts, queries, held_out, max_tokens, progress)[0]
    backbone = add_lora(base, config.lora, seed)
    history = train_pairs(
        backbone,
        [one.text for one in learnt],
        [one.rows for one in learnt],
        [one.weights for one in learnt],
        texts,
        config,
        max_tokens,
        seed,
        stage(progress, "Learn from pairs"),
        checkpoint,
    )
    after, vectors = _ranks(backbone, texts, queries, held_out, max_tokens, progress)
    without, given = (mrr(ranks, TEN) for ranks in (before, after))
    difference = paired_bootstrap(given, without, config.bootstrap_samples, seed)
    hits = (float(recall(before, 1).mean()), float(recall(after, 1).mean()))
    return LearntPairs(backbone, history, vectors, PairsWorth(without, given, hits, difference))


def _ranks(
    backbone: Backbone,
    texts: Sequence[str],
    queries: Sequence[str],
    asked: Sequence[Asked],
    max_tokens: int,
    progress: StageProgress | None,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the place of the first chosen item by cosine, (queries,), and the vectors of the texts."""
    encoded = encode_texts(backbone, [*texts, *queries], max_tokens, stage(progress, "Encode texts"))
    vectors, own = encoded[: len(texts)], encoded[len(texts) :]
    ranks = np.empty(len(queries))
    for place, (query, one) in enumerate(zip(own, asked, strict=True)):
        cosines = vectors @ query
        best = cosines[one.rows].max()
        ahead = cosines[: one.rows[int(cosines[one.rows].argmax())]] == best
        ranks[place] = 1 + int((cosines > best).sum()) + int(ahead.sum())
    return ranks, vectors
