"""Vectors of items: of those that are chosen, beside what was chosen before; and of new texts, beside those trained on.

The distance of two samples is their maximum mean discrepancy under a Gaussian kernel whose width is the median distance
(A. Gretton et al., *A Kernel Two-Sample Test*, JMLR 2012). Of what is chosen it is computed through random Fourier
features (A. Rahimi and B. Recht, 2007) and compared with past weeks; of texts by a permutation of both samples.
"""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.monitoring.checks import TRAIN, Reading
from recsys.monitoring.forecasts import SQUARES, by_chance, foretold
from recsys.monitoring.traffic import TOO_SHORT
from recsys.monitoring.windows import History, Window, Windows

FEATURES = 128
PROJECTIONS = 4  # principal ones, whose stability index is the effect
BINS = 10
MOST_VECTORS = 400  # of either sample of texts
PERMUTATIONS = 20_000  # at most
ENOUGH = 20  # of them beyond what was found: more would make the chance no smaller (Besag and Clifford, 1991)
LEAST_TEXTS = 5
MOST_ITEMS = 50_000  # the most chosen ones
_BATCH = 500
Floats = NDArray[np.floating]


def chosen(
    history: History, windows: Windows, item_ids: Sequence[str], vectors: NDArray[np.float32], config: MonitorConfig
) -> Reading:
    """Compare where events lie among the items' vectors, (items, dimensions), with past weeks."""
    advice = "People choose other things than in training: look why, and train on newer events."
    random = np.random.default_rng(config.seed)
    rows = pl.DataFrame({columns.ITEM_ID: item_ids, "row": np.arange(len(item_ids))})
    often = history.events.group_by(columns.ITEM_ID).len().join(rows, on=columns.ITEM_ID)
    places = often.sort("len", columns.ITEM_ID, descending=[True, False]).head(MOST_ITEMS).sort("row")
    known = np.asarray(vectors[places["row"].to_numpy()], dtype=np.float32)
    places = places.select(columns.ITEM_ID).with_row_index("row")
    if len(known) <= PROJECTIONS:
        return Reading("embeddings of what is chosen", "Too few items of the training are chosen.", advice, TRAIN)
    waves, projections = _waves(known, random), _projections(known)

    def weights(days: tuple[int, int]) -> Floats:
        own = history.within(days).select(columns.ITEM_ID).join(places, on=columns.ITEM_ID)
        return np.bincount(own["row"].to_numpy(), minlength=len(known)).astype(float)

    def apart(window: Window) -> tuple[float, float, float]:
        own, before = weights(window.days), weights(window.reference)
        return _apart(own, before, waves, projections) if own.any() and before.any() else (1.0, 0.0, 1.0)

    past, now = [apart(one) for one in windows.past], apart(windows.now)
    ratios = [ratio for ratio, _, _ in past]
    forecast = foretold(ratios, SQUARES, by_chance(ratios, now[2]))
    if forecast is None or not weights(windows.now.days).any():
        return Reading("embeddings of what is chosen", TOO_SHORT, advice, TRAIN)
    return Reading(
        "embeddings of what is chosen",
        f"What is chosen lies {now[0]:.1f} times as far from the training's in the vectors' space as chance has it; "
        f"{forecast.expected:.1f} were expected.",
        advice,
        TRAIN,
        figure=now[0],
        forecast=forecast,
        p=forecast.p(now[0], upper=True),
        effect=max(0.0, now[1] - float(np.mean([index for _, index, _ in past]))),
        least_effect=config.psi,
        past=tuple(ratios),
    )


def new_texts(trained: NDArray[np.float32], new: NDArray[np.float32], config: MonitorConfig) -> Reading:
    """Compare the vectors of new or changed texts with those of texts that were trained on, by permutation.

    The effect is 1 less the cosine of both samples' mean embeddings in the kernel's space: 0 for alike ones.
    """
    name = "embeddings of new texts"
    advice = "To the encoder these texts are unlike those that it was trained on: train on the newer catalogue."
    if len(new) < LEAST_TEXTS:
        return Reading(name, f"{len(new):,} texts are new or changed, too few for a comparison.", advice, TRAIN)
    random = np.random.default_rng(config.seed)
    before, now = (_some(one, random) for one in (trained, new))
    both = np.concatenate([now, before]).astype(float)
    squared = _squared(both)
    kernel = np.exp(-squared / max(1e-12, float(np.median(squared[np.triu_indices(len(both), 1)]))))
    np.fill_diagonal(kernel, 0.0)
    m, n = len(now), len(before)
    found = _discrepancy(kernel, m)[0]
    drawn = beyond = 0
    while drawn < PERMUTATIONS and beyond < ENOUGH:
        orders = random.permuted(np.tile(np.arange(m + n), (_BATCH, 1)), axis=1)
        beyond += int((_discrepancy(kernel, m, orders) >= found - 1e-12).sum())
        drawn += _BATCH
    chance = (1 + beyond) / (1 + drawn)
    inside = [kernel[:m, :m].sum() / (m * (m - 1)), kernel[m:, m:].sum() / (n * (n - 1))]
    effect = 1 - float(kernel[:m, m:].mean() / math.sqrt(max(1e-12, inside[0] * inside[1])))
    return Reading(
        name,
        f"The vectors of {len(new):,} new or changed texts are apart from those trained on by MMD² {found:.3f}.",
        advice,
        TRAIN,
        figure=float(found),
        expected=0.0,
        p=chance,
        effect=max(0.0, effect),
        least_effect=config.vector_change,
    )


def _waves(vectors: NDArray[np.float32], random: np.random.Generator) -> Floats:
    """Return random Fourier features of the Gaussian kernel, (items, ``FEATURES``)."""
    squared = _squared(_some(vectors, random).astype(float))
    width = float(np.median(squared[np.triu_indices(len(squared), 1)])) if len(squared) > 1 else 1.0
    frequencies = random.normal(0, math.sqrt(2 / max(1e-12, width)), (vectors.shape[1], FEATURES))
    phases = random.uniform(0, 2 * math.pi, FEATURES)
    found: Floats = math.sqrt(2 / FEATURES) * np.cos(vectors @ frequencies.astype(np.float32) + phases)
    return found


def _projections(vectors: NDArray[np.float32]) -> Floats:
    """Return the items' places along their principal axes, (items, ``PROJECTIONS``)."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh((centred.T @ centred).astype(float))
    found: Floats = centred @ axes[:, ::-1][:, :PROJECTIONS]
    return found


def _apart(own: Floats, known: Floats, waves: Floats, projections: Floats) -> tuple[float, float, float]:
    """Return how far two samples of items, given by their counts, are apart; see the module.

    Returns:
        MMD² over what it is for two samples of the same, ``(1/n + 1/N) tr Σ``; the largest stability index of a
        projection; and ``(tr Σ)² / tr Σ²``, by which the first varies.
    """
    n, total = own.sum(), known.sum()
    mean = known @ waves / total
    spread = (waves - mean) * np.sqrt(known / total)[:, None]
    covariance = spread.T @ spread
    trace = float(np.trace(covariance))
    shift = own @ waves / n - mean
    ratio = float(shift @ shift) / max(1e-12, (1 / n + 1 / total) * trace)
    indices = []
    for places in projections.T:
        order = np.argsort(places, kind="stable")
        share = np.cumsum(known[order]) / total
        bins = np.minimum((share * BINS).astype(int), BINS - 1)
        p, q = (np.bincount(bins, counts[order], BINS) + 0.5 for counts in (own, known))
        p, q = p / p.sum(), q / q.sum()
        indices.append(float(((p - q) * np.log(p / q)).sum()))
    return ratio, max(indices), max(1.0, trace**2 / max(1e-12, float((covariance**2).sum())))


def _discrepancy(kernel: Floats, m: int, orders: NDArray[np.int64] | None = None) -> Floats:
    """Return the unbiased MMD² of the first ``m`` of both samples to the others, for each order of all."""
    size = len(kernel)
    orders = np.arange(size)[None, :] if orders is None else orders
    first = np.zeros((len(orders), size))
    np.put_along_axis(first, orders[:, :m], 1.0, axis=1)
    products = first @ kernel
    inside = (products * first).sum(axis=1)
    across = products.sum(axis=1) - inside
    outside = kernel.sum() - inside - 2 * across
    n = size - m
    found: Floats = inside / (m * (m - 1)) + outside / (n * (n - 1)) - 2 * across / (m * n)
    return found


def _some(vectors: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    if len(vectors) <= MOST_VECTORS:
        return vectors
    return vectors[np.sort(random.choice(len(vectors), MOST_VECTORS, replace=False))]


def _squared(vectors: Floats) -> Floats:
    norms = (vectors**2).sum(axis=1)
    return np.maximum(0.0, norms[:, None] + norms[None, :] - 2 * vectors @ vectors.T)
