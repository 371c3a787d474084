"""Run one scorer over a set of targets: full ranking over the whole catalogue, seen items removed or kept.

They are kept, of all systems alike, where the targets say that an item of the history may be the answer.

Rows of many targets are shards, which a cluster may rank: see ``recsys.distributed``.

No item is sampled. Equal scores are put in order by one seeded permutation of the catalogue, which is fair in
expectation and the same for every system; ranks and lists come from the same order, so either gives every metric.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.callbacks import Progress
from recsys.data.sequences import Scorer, Sequences
from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import Advance, InProcess, Work
from recsys.evaluation.splits import Targets

SCORES_A_SHARD = 2**32  # minutes of work, so that a cluster's start is worth it
SCORES_AT_ONCE = 2**25  # 128 MB of float32
KEYS_AT_ONCE = 2**20  # 8 MB of int64: stays near the processor
REMOVED = np.iinfo(np.int64).min  # below the key of every score, minus infinity included

Part = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]]  # of some rows: lists, their scores, ranks


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
        progress: called with (rows done, rows in all) after every batch, of a cluster after every shard.

    Raises:
        ValueError: the scorer gave NaN, the wrong shape, or too few items for the targets; the message names it.
        ClusterError: ``RECSYS_RAY_ADDRESS`` names a cluster that cannot do it.
    """
    total, done = len(targets), 0
    if not total:
        return Ranking(name, targets, *_empty(0, k))
    needed = 1 + int(max(targets.items.max(initial=-1), targets.histories.items.max(initial=-1)))
    first = _checked(name, scorer.score(targets.histories.take(np.arange(1))), 1, needed)
    catalogue = first.shape[1]
    size = max(1, min(batch, SCORES_AT_ONCE // catalogue))
    rows = size * max(1, SCORES_A_SHARD // (size * catalogue))
    job = RankingJob(name, scorer, targets, k, seed, catalogue, needed, size, rows)

    def advance(ranked: int) -> None:
        nonlocal done
        done += ranked
        if progress is not None:
            progress(done, total)

    parts = [job.ranked(np.arange(1), first)]
    advance(1)
    shards = range(1, total, rows)
    with executor_at() if len(shards) > 1 else nullcontext(InProcess()) as executor:
        parts += executor.map(job, shards, advance)
    items, scores, ranks = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Ranking(name, targets, items, scores, ranks)


@dataclass(frozen=True)
class RankingJob:
    """The job whose shards are rows of targets, by the first of them; see ``recsys.distributed.executor.Job``.

    Attributes:
        name: of the system.
        scorer: what scores; it travels as it is.
        targets: all questions.
        k: length of the lists.
        seed: of the permutation that decides between equal scores.
        catalogue: how many items the scorer has scored for the first history.
        needed: items that it must score, at least.
        size: histories scored together.
        rows: of a shard: whole batches, so that the same are scored together whatever a shard is.
    """

    name: str
    scorer: Scorer
    targets: Targets
    k: int
    seed: int
    catalogue: int
    needed: int
    size: int
    rows: int

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.random.default_rng(self.seed).permutation(self.catalogue)

    def files(self) -> list[Path]:
        """See ``Job``: none."""
        return []

    @contextmanager
    def opened(self) -> Iterator[Work[int, Part]]:
        """See ``Job``."""
        yield self._shard

    def _shard(self, start: int, advance: Advance) -> Part:
        end = min(start + self.rows, len(self.targets))
        items, scores, ranks = _empty(end - start, self.k)
        for first in range(start, end, self.size):
            chosen = np.arange(first, min(first + self.size, end))
            made = self.scorer.score(self.targets.histories.take(chosen))
            block = _checked(self.name, made, len(chosen), self.needed)
            if block.shape[1] != self.catalogue:
                raise ValueError(
                    f"{self.name} scored {block.shape[1]:,} items, but {self.catalogue:,} for the first history."
                )
            own = slice(first - start, first - start + len(chosen))
            items[own], scores[own], ranks[own] = self.ranked(chosen, block)
            advance(len(chosen))
        return items, scores, ranks

    def ranked(self, rows: NDArray[np.int64], block: NDArray[np.float32]) -> Part:
        """Return top lists, their scores and the ranks of the targets of some rows, whose scores ``block`` has."""
        items, scores, ranks = _empty(len(rows), self.k)
        step = max(1, KEYS_AT_ONCE // self.catalogue)
        for first in range(0, len(rows), step):
            some = slice(first, first + step)
            left_out = self.targets.histories.take(rows[some]).left_out(self.targets.repeats)
            own = self.targets.items[rows[some]]
            items[some], scores[some], ranks[some] = _rank(block[some], left_out, own, self._order, self.k)
        return items, scores, ranks


def _empty(rows: int, k: int) -> Part:
    """Return lists without items, and ranks that nobody has, for so many rows."""
    return (
        np.full((rows, k), -1, dtype=np.int32),
        np.full((rows, k), np.nan, dtype=np.float32),
        np.full(rows, np.inf),
    )


def _rank(
    scores: NDArray[np.float32],
    left_out: Sequences,
    targets: NDArray[np.int32],
    order: NDArray[np.int64],
    k: int,
) -> Part:
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
