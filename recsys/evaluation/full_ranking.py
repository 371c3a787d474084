"""Run one scorer over a set of targets: full ranking over the whole catalogue, seen items removed or kept.

They are kept, of all systems alike, where the targets say that an item of the history may be the answer.

No item is sampled. Equal scores are put in order by one seeded permutation of the catalogue, which is fair in
expectation and the same for every system; ranks and lists come from the same order, so either gives every metric.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.callbacks import Progress
from recsys.data.sequences import Scorer, Sequences
from recsys.evaluation.splits import Targets

SCORES_AT_ONCE = 2**25  # 128 MB of float32
KEYS_AT_ONCE = 2**20  # 8 MB of int64: stays near the processor
REMOVED = np.iinfo(np.int64).min  # below the key of every score, minus infinity included


@dataclass(frozen=True)
class Ranking:
    """What one system did on one set of targets.

    Attributes:
        name: the system.
        targets: n questions.
        items: (n, k) int32 item indices, best first; −1 where the catalogue is too small.
        scores: (n, k) float32, NaN beside −1.
        ranks: (n,) float64 rank of the target in the full ranking, from 1; infinity when the user had already seen
            the target, so that it was removed, where seen items are.
    """

    name: str
    targets: Targets
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    ranks: NDArray[np.float64]


def evaluate(
    name: str,
    scorer: Scorer,
    targets: Targets,
    *,
    k: int = 20,
    seed: int = 0,
    batch: int = 512,
    progress: Progress | None = None,
) -> Ranking:
    """Rank the whole catalogue for every target.

    Args:
        name: of the system, kept in the result.
        scorer: gives every item a score for a history; infinities are allowed.
        targets: n questions.
        k: length of the lists.
        seed: of the permutation that decides between equal scores.
        batch: histories scored together at most; fewer for a large catalogue, so that memory stays bounded.
        progress: called with (rows done, rows in all) after every batch.

    Raises:
        ValueError: the scorer gave NaN, the wrong shape, or too few items for the targets; the message names it.
    """
    total = len(targets)
    items = np.full((total, k), -1, dtype=np.int32)
    scores = np.full((total, k), np.nan, dtype=np.float32)
    ranks = np.full(total, np.inf)
    needed = 1 + int(max(targets.items.max(initial=-1), targets.histories.items.max(initial=-1)))
    order = np.empty(0, dtype=np.int64)
    start, size = 0, 1  # the first row alone tells how large the catalogue is
    while start < total:
        chosen = np.arange(start, min(start + size, total))
        histories = targets.histories.take(chosen)
        block = _checked(name, scorer.score(histories), len(chosen), needed)
        if start == 0:
            order = np.random.default_rng(seed).permutation(block.shape[1])
        elif block.shape[1] != len(order):
            raise ValueError(f"{name} scored {block.shape[1]:,} items, but {len(order):,} for the first history.")
        step = max(1, KEYS_AT_ONCE // len(order))
        for first in range(0, len(chosen), step):
            rows = chosen[first : first + step]
            part = block[first : first + step]
            left_out = targets.histories.take(rows).left_out(targets.repeats)
            items[rows], scores[rows], ranks[rows] = _rank(part, left_out, targets.items[rows], order, k)
        start += len(chosen)
        size = max(1, min(batch, SCORES_AT_ONCE // len(order)))
        if progress is not None:
            progress(start, total)
    return Ranking(name, targets, items, scores, ranks)


def _rank(
    scores: NDArray[np.float32],
    left_out: Sequences,
    targets: NDArray[np.int32],
    order: NDArray[np.int64],
    k: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]]:
    """Return the top lists, their scores and the ranks of the targets for a few rows."""
    catalogue = len(order)
    places = np.empty(catalogue, dtype=np.int64)
    places[order] = np.arange(catalogue)
    keys = _keys(scores, places)
    keys[left_out.rows(), left_out.items] = REMOVED
    own = keys[np.arange(len(keys)), targets]
    ranks = np.where(own == REMOVED, np.inf, 1.0 + np.count_nonzero(keys > own[:, None], axis=1))

    kept = min(k, catalogue)
    keys.partition(catalogue - kept, axis=1)
    top = np.sort(keys[:, catalogue - kept :], axis=1)[:, ::-1]
    found = order[top & 0xFFFFFFFF]
    removed = top == REMOVED
    items = np.full((len(scores), k), -1, dtype=np.int32)
    values = np.full((len(scores), k), np.nan, dtype=np.float32)
    items[:, :kept] = np.where(removed, -1, found)
    values[:, :kept] = np.where(removed, np.nan, np.take_along_axis(scores, found, axis=1))
    return items, values, ranks


def _keys(scores: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one integer a score, all different within a row: the score's order above, the tie-breaking place below.

    The bits of a float, read as an integer, already rise with its value when it is positive; for a negative one all
    bits but the sign are flipped. Comparing integers then compares (score, place) at once.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # the sum turns −0 into 0, its equal
    bits ^= (bits >> 31) & 0x7FFFFFFF
    keys = bits.astype(np.int64)
    keys <<= 32
    keys |= places
    return keys


def _checked(name: str, scores: NDArray[np.floating], rows: int, needed: int) -> NDArray[np.float32]:
    scores = np.ascontiguousarray(scores, dtype=np.float32)
    if scores.ndim != 2 or len(scores) != rows or scores.shape[1] < max(needed, 1):
        raise ValueError(
            f"{name} returned scores of shape {scores.shape} for {rows} histories and at least {needed:,} items."
        )
    if np.isnan(scores).any():
        raise ValueError(f"{name} returned NaN scores. Look for a division by zero or a diverged training.")
    return scores
