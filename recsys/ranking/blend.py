"""The first ranker: a weighted sum of the components' scores, each put on one scale for each user.

A component's scores are raised to a power (its sign kept) and divided by their standard deviation over the catalogue;
chances are on one scale already. Weights and powers are searched one coordinate at a time for NDCG@10 on a random
validation sample. The search looks at each row's best items by any component. An item that is nobody's could still come
into the first ten of a sum, by being fairly good everywhere; it is taken not to.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.sequences import Scorer, Sequences
from recsys.experts.again import AGAIN

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
POWERS = (1.0, 0.5, 0.25)
SWEEPS = 3
DEPTH = 100  # best items of each component in each row that the search looks at
MOST_SCORES = 2**30  # validation rows × catalogue that one component gives; fewer rows of a larger catalogue
SCORES_AT_ONCE = 2**22


@dataclass(frozen=True)
class Blend:
    """Weights and powers by component; a component that is absent does not count."""

    weights: dict[str, float]
    powers: dict[str, float]

    @property
    def unit(self) -> float:
        """What dials are measured in: the deviation of a user's scores if the components had nothing in common.

        Each component's scores deviate by its weight over the catalogue, and the whole by about this.
        """
        return float(np.sqrt(sum(weight**2 for weight in self.weights.values()))) or 1.0

    def score(self, components: Mapping[str, Scorer], histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) blended scores."""
        total: NDArray[np.float32] | None = None
        for name, weight in self.weights.items():
            part = weight * on_one_scale(name, components[name].score(histories), self.powers[name])
            total = part if total is None else total + part
        if total is None:
            raise ValueError("The blend has no component with a weight.")
        return total


@dataclass(frozen=True)
class BlendScorer:
    """A blend together with its components, as one scorer."""

    blend: Blend
    components: Mapping[str, Scorer]

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) blended scores."""
        return self.blend.score(self.components, histories)


def on_one_scale(name: str, scores: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Return a component's (rows, catalogue) scores as the blend weighs them.

    Chances that something is taken again are on one scale for everybody as they are: to divide them by their deviation
    would say the same of whom nothing is due for as of others. They are stretched, so that 1 becomes what standardising
    makes of a row's only score.
    """
    if name == AGAIN:
        return raise_keeping_sign(scores, power) * np.float32(stretch_of_chances(scores.shape[1]))
    return standardise(scores, power)


def stretch_of_chances(catalogue: int) -> float:
    """Return what a chance is multiplied by."""
    return float(np.sqrt(catalogue))


def standardise(scores: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Raise (rows, catalogue) scores to a power, keep the sign, and divide each row by its standard deviation.

    Rows without any spread become 0. The mean is left in: it moves all items of a user alike.
    """
    scaled = raise_keeping_sign(scores, power)
    deviation = scaled.std(axis=1, keepdims=True)
    return np.divide(scaled, deviation, out=np.zeros_like(scaled), where=deviation > 0)


def raise_keeping_sign(scores: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Return ``sign(s) · |s| ** power``."""
    if power == 1.0:
        return scores
    return np.asarray(np.sign(scores) * np.abs(scores) ** np.float32(power), dtype=np.float32)


def fit_blend(
    components: Mapping[str, Scorer],
    fixed_power: frozenset[str],
    histories: Sequences,
    targets: NDArray[np.int32],
    text: frozenset[str] = frozenset(),
    repeats: bool = False,
) -> tuple[Blend, float]:
    """Search weights and powers for NDCG@10 on validation rows.

    Args:
        components: scorers by name, fitted on training events only.
        fixed_power: names whose power stays 1 (scores that may be of any sign and size).
        histories: the validation histories, one row a target.
        targets: (rows,) the held-out items.
        text: names of which one at least keeps a weight: whatever the known items need, new ones have text alone.
        repeats: whether items of the history stay among what is ranked.

    Returns:
        The blend, without components of weight 0, and its NDCG@10.
    """
    catalogue = components[next(iter(components))].score(histories.take(np.arange(1))).shape[1]
    rows = np.arange(min(len(targets), max(1, MOST_SCORES // catalogue)))
    size = max(1, SCORES_AT_ONCE // catalogue)
    found = _contenders(components, fixed_power, histories.take(rows), targets[rows], size, repeats)
    parts = {name: found.parts[name, 1.0] for name in components}
    powers = dict.fromkeys(components, 1.0)
    single = {name: found.ndcg(part) for name, part in parts.items()}
    first = max(single, key=lambda name: (single[name], name))
    weights = dict.fromkeys(components, 0.0) | {first: 1.0}
    total, best = parts[first].copy(), single[first]
    for _ in range(SWEEPS):
        before = best
        for name in sorted(components, key=lambda name: (-single[name], name)):
            rest = total - weights[name] * parts[name]
            for power in _powers(name, fixed_power):
                part = found.parts[name, power]
                for weight in WEIGHTS:
                    if (weight, power) == (weights[name], powers[name]):
                        continue
                    figure = found.ndcg(rest + np.float32(weight) * part)
                    if figure > best + 1e-6:
                        best, weights[name], powers[name], parts[name] = figure, weight, power, part
            total = rest + np.float32(weights[name]) * parts[name]
        if best <= before + 1e-6:
            break
    if text and not any(weights[name] for name in text):
        name = max(text, key=lambda name: (single[name], name))
        weights[name] = min(weight for weight in WEIGHTS if weight)
        best = found.ndcg(total + np.float32(weights[name]) * parts[name])
    kept = {name: weight for name, weight in weights.items() if weight > 0}
    return Blend(kept, {name: powers[name] for name in kept}), best


@dataclass(frozen=True)
class _Contenders:
    """The items of each row that the search looks at, the target first.

    Attributes:
        parts: standardised scores by component and power, (rows, width).
        absent: (rows, width), True where a row has fewer items than the widest.
        lost: (rows,), True where the history holds the target and its items are left out.
    """

    parts: dict[tuple[str, float], NDArray[np.float32]]
    absent: NDArray[np.bool_]
    lost: NDArray[np.bool_]

    def ndcg(self, scores: NDArray[np.float32]) -> float:
        """NDCG@10 of the targets, a tie counting half, (rows, width)."""
        own = scores[:, :1]
        above = ((scores > own) & ~self.absent).sum(axis=1)
        ties = ((scores == own) & ~self.absent).sum(axis=1) - 1
        places = above + 0.5 * ties
        return float(np.where((places < 10) & ~self.lost, 1 / np.log2(2 + places), 0.0).mean())


def _contenders(
    components: Mapping[str, Scorer],
    fixed_power: frozenset[str],
    histories: Sequences,
    targets: NDArray[np.int32],
    size: int,
    repeats: bool,
) -> _Contenders:
    """Score all rows, ``size`` at a time, and keep each one's target and the ``DEPTH`` best of every component."""
    batches: list[tuple[dict[tuple[str, float], NDArray[np.float32]], NDArray[np.bool_]]] = []
    lost, left_out = np.zeros(len(targets), dtype=bool), histories.left_out(repeats)
    lost[left_out.rows()[left_out.items == targets[left_out.rows()]]] = True
    for start in range(0, len(targets), size):
        rows = np.arange(start, min(start + size, len(targets)))
        past, own = histories.take(rows), targets[rows]
        scores = {name: scorer.score(past) for name, scorer in components.items()}
        columns = _best_columns(list(scores.values()), left_out.take(rows), own)
        kept = {
            (name, power): np.take_along_axis(on_one_scale(name, scores[name], power), np.maximum(columns, 0), axis=1)
            for name in components
            for power in _powers(name, fixed_power)
        }
        batches.append((kept, columns < 0))
    width = max(absent.shape[1] for _, absent in batches)

    def whole(arrays: list[NDArray], filling: float) -> NDArray:
        wide = [np.pad(one, ((0, 0), (0, width - one.shape[1])), constant_values=filling) for one in arrays]
        return np.concatenate(wide)

    parts = {key: whole([kept[key] for kept, _ in batches], 0.0) for key in batches[0][0]}
    return _Contenders(parts, whole([absent for _, absent in batches], True), lost)


def _best_columns(scores: list[NDArray[np.float32]], left_out: Sequences, own: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return (rows, width) items, each row's target first, its others in the catalogue's order, -1 behind them."""
    rows = np.arange(len(own))
    named = np.zeros(scores[0].shape, dtype=bool)
    seen = (left_out.rows(), left_out.items)
    for one in scores:
        open_ = one.copy()
        open_[seen] = -np.inf
        first = max(0, open_.shape[1] - DEPTH)
        named[rows[:, None], np.argpartition(open_, first, axis=1)[:, first:]] = True
    named[seen] = False
    named[rows, own] = False
    counts = named.sum(axis=1)
    columns = np.full((len(own), 1 + int(counts.max(initial=0))), -1, dtype=np.int64)
    columns[:, 0] = own
    where, items = np.nonzero(named)
    columns[where, 1 + np.arange(len(items)) - (np.cumsum(counts) - counts)[where]] = items
    return columns


def _powers(name: str, fixed_power: frozenset[str]) -> tuple[float, ...]:
    return (1.0,) if name in fixed_power else POWERS
