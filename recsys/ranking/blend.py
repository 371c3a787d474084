"""The first ranker: a weighted sum of the components' scores, each put on one scale for each user.

A component's scores are raised to a power (its sign kept) and divided by their standard deviation over the catalogue.
Weights and powers are searched one coordinate at a time for NDCG@10 on a random validation sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.sequences import Scorer, Sequences

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
POWERS = (1.0, 0.5, 0.25)
SWEEPS = 3
MAX_SCORES = 30_000_000  # validation rows × catalogue held for one component
SCORE_BATCH = 512


@dataclass(frozen=True)
class Blend:
    """Weights and powers by component; a component that is absent does not count."""

    weights: dict[str, float]
    powers: dict[str, float]

    def score(self, components: Mapping[str, Scorer], histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) blended scores."""
        total: NDArray[np.float32] | None = None
        for name, weight in self.weights.items():
            part = weight * standardise(components[name].score(histories), self.powers[name])
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
) -> tuple[Blend, float]:
    """Search weights and powers for NDCG@10 on validation rows, items of the history left out.

    Args:
        components: scorers by name, fitted on training events only.
        fixed_power: names whose power stays 1 (scores that may be of any sign and size).
        histories: the validation histories, one row a target.
        targets: (rows,) the held-out items.
        text: names of which one at least keeps a weight: whatever the known items need, new ones have text alone.

    Returns:
        The blend, without components of weight 0, and its NDCG@10.
    """
    catalogue = components[next(iter(components))].score(histories.take(np.arange(1))).shape[1]
    rows = np.arange(min(len(targets), max(1, MAX_SCORES // catalogue)))
    histories, targets = histories.take(rows), targets[rows]
    raw = {name: _score_in_batches(scorer, histories) for name, scorer in components.items()}
    hidden = (histories.rows(), histories.items)

    powers = dict.fromkeys(components, 1.0)
    parts = {name: standardise(scores, 1.0) for name, scores in raw.items()}
    single = {name: _ndcg(part.copy(), hidden, targets) for name, part in parts.items()}
    first = max(single, key=lambda name: (single[name], name))
    weights = dict.fromkeys(components, 0.0) | {first: 1.0}
    total, best = parts[first].copy(), single[first]
    for _ in range(SWEEPS):
        before = best
        for name in sorted(components, key=lambda name: (-single[name], name)):
            rest = total - weights[name] * parts[name]
            for power in (1.0,) if name in fixed_power else POWERS:
                part = parts[name] if power == powers[name] else standardise(raw[name], power)
                for weight in WEIGHTS:
                    if (weight, power) == (weights[name], powers[name]):
                        continue
                    figure = _ndcg(rest + np.float32(weight) * part, hidden, targets)
                    if figure > best + 1e-6:
                        best, weights[name], powers[name], parts[name] = figure, weight, power, part
            total = rest + np.float32(weights[name]) * parts[name]
        if best <= before + 1e-6:
            break
    if text and not any(weights[name] for name in text):
        name = max(text, key=lambda name: (single[name], name))
        weights[name] = min(weight for weight in WEIGHTS if weight)
        best = _ndcg(total + np.float32(weights[name]) * parts[name], hidden, targets)
    kept = {name: weight for name, weight in weights.items() if weight > 0}
    return Blend(kept, {name: powers[name] for name in kept}), best


def _score_in_batches(scorer: Scorer, histories: Sequences) -> NDArray[np.float32]:
    starts = range(0, len(histories), SCORE_BATCH)
    return np.concatenate(
        [scorer.score(histories.take(np.arange(start, min(start + SCORE_BATCH, len(histories))))) for start in starts]
    )


def _ndcg(scores: NDArray[np.float32], hidden: tuple[NDArray, NDArray], targets: NDArray[np.int32]) -> float:
    """NDCG@10 of the targets, the hidden items left out, a tie counting half; overwrites the hidden scores."""
    rows = np.arange(len(targets))
    own = scores[rows, targets].copy()
    scores[hidden] = -np.inf
    lost = np.isneginf(scores[rows, targets])
    # A target within the first ten is what counts, so most of the row need not be ordered.
    above = (scores > own[:, None]).sum(axis=1) + 0.5 * np.maximum((scores == own[:, None]).sum(axis=1) - 1, 0)
    gains = np.where((above < 10) & ~lost, 1 / np.log2(2 + above), 0.0)
    return float(gains.mean())
