"""Histories for the user tower: padded for scoring, cut into windows and batches with soft targets for training."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.data.sequences import Sequences


@dataclass(frozen=True)
class HistoryBatch:
    """Histories for the user tower.

    Attributes:
        items: (rows, length) int64, oldest first, aligned right; -1 is padding.
        targets: (positions, future) int64, the items that follow each real position.
        weights: (positions, future) float32, each row sums to 1; 0 where the history has ended.
        kinds: (rows, length) int64, what each event is, or None where all are the same.
        importance: (positions,) float32 with mean 1, what each position counts in the loss; None: all the same.
    """

    items: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    kinds: torch.Tensor | None = None
    importance: torch.Tensor | None = None

    def part(self, start: int, stop: int) -> "HistoryBatch":
        """Return some rows with their targets."""
        lengths = (self.items >= 0).sum(1)
        first, count = int(lengths[:start].sum()), int(lengths[start:stop].sum())
        positions = slice(first, first + count)
        return HistoryBatch(
            self.items[start:stop],
            self.targets[positions],
            self.weights[positions],
            None if self.kinds is None else self.kinds[start:stop],
            None if self.importance is None else self.importance[positions],
        )


def pad_histories(histories: Sequences, length: int) -> NDArray[np.int64]:
    """Return the newest ``length`` items of every row, (rows, longest) int64, aligned right, padded with -1."""
    recent = histories.last(length)
    return _padded(recent, recent.items)


def pad_kinds(histories: Sequences, length: int) -> NDArray[np.int64] | None:
    """Return what the events of ``pad_histories`` are, padded with 0; None where all are the same."""
    recent = histories.last(length)
    return None if recent.signals is None else np.maximum(_padded(recent, recent.signals.kinds), 0)


def _padded(recent: Sequences, values: NDArray[np.integer]) -> NDArray[np.int64]:
    width = max(int(recent.lengths.max(initial=0)), 1)
    padded = np.full((len(recent), width), -1, dtype=np.int64)
    padded[recent.rows(), width - 1 - recent.ages()] = values
    return padded


def training_windows(train: Sequences, length: int) -> Sequences:
    """Cut every row into windows of at most ``length + 1`` items that overlap by one.

    Each event of a row but the first is then a target exactly once.
    """
    starts, ends, _ = _window_bounds(train, length)
    return train.slice(starts, ends)


def newer_windows(train: Sequences, learnt: NDArray[np.int64], length: int) -> tuple[Sequences, Sequences]:
    """Cut rows as ``training_windows`` does; return the windows that hold something new, and all others.

    Args:
        train: a row a user.
        learnt: (rows,) how many events from the beginning of each row are not new.
        length: of the history behind the last target of a window, at most.
    """
    starts, ends, rows = _window_bounds(train, length)
    newer = ends - train.offsets[rows] > learnt[rows]
    return train.slice(starts[newer], ends[newer]), train.slice(starts[~newer], ends[~newer])


def _window_bounds(train: Sequences, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return where each window starts and ends, and its row."""
    starts, ends, rows = [], [], []
    for row, (start, end) in enumerate(zip(train.offsets[:-1], train.offsets[1:], strict=True)):
        while end - start >= 2:
            begin = max(start, end - length - 1)
            starts.append(begin)
            ends.append(end)
            rows.append(row)
            end = begin + 1
    return np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), np.array(rows, dtype=np.int64)


def history_batches(
    windows: Sequences, batch_tokens: int, future: int, decay: float, rng: np.random.Generator, device: torch.device
) -> Iterator[HistoryBatch]:
    """Yield one epoch of training batches, each of about ``batch_tokens`` positions, in random order.

    Rows of similar length share a batch; which ones, and the order of the batches, is drawn from ``rng``.
    """
    order = np.argsort(windows.lengths + rng.random(len(windows)), kind="stable")
    edges = np.flatnonzero(np.diff(np.cumsum(windows.lengths[order] - 1) // batch_tokens)) + 1
    chunks = [chunk for chunk in np.split(order, edges) if len(chunk)]
    for number in rng.permutation(len(chunks)):
        yield _history_batch(windows.take(chunks[number]), future, decay, device)


def _history_batch(windows: Sequences, future: int, decay: float, device: torch.device) -> HistoryBatch:
    whole = pad_histories(windows, int(windows.lengths.max()))
    inputs = whole[:, :-1]
    real = inputs >= 0
    targets = np.zeros((int(real.sum()), future), dtype=np.int64)
    weights = np.zeros((int(real.sum()), future), dtype=np.float32)
    for step in range(min(future, inputs.shape[1])):  # beyond the longest row there is nothing more to foretell
        following = np.full_like(inputs, -1)
        following[:, : inputs.shape[1] - step] = whole[:, 1 + step :]
        chosen = following[real]
        targets[:, step] = np.maximum(chosen, 0)
        weights[:, step] = (chosen >= 0) * decay**step
    importance: NDArray[np.float32] | None = None
    if windows.signals is not None:
        importance = _weigh(windows, weights, real)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    kinds = pad_kinds(windows, whole.shape[1])
    said = (None if kinds is None else kinds[:, :-1], importance)
    return HistoryBatch(
        *(torch.from_numpy(array).to(device) for array in (inputs, targets, weights)),
        *(None if array is None else torch.from_numpy(array).to(device) for array in said),
    )


def _weigh(windows: Sequences, weights: NDArray[np.float32], real: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Multiply the targets' weights by what their events count, in place; return what each position counts by that.

    A position counts by the weighted mean of its targets; dislikes are never to be foretold.
    """
    assert windows.signals is not None
    counted = np.zeros((len(windows), real.shape[1] + 1), dtype=np.float32)
    counted[windows.rows(), real.shape[1] - windows.ages()] = np.maximum(windows.signals.weights, 0)
    before = weights.sum(axis=1)
    for step in range(min(weights.shape[1], real.shape[1])):
        following = np.zeros_like(counted[:, 1:])
        following[:, : real.shape[1] - step] = counted[:, 1 + step :]
        weights[:, step] *= following[real]
    importance = weights.sum(axis=1) / np.maximum(before, 1e-12)
    return np.asarray(importance / max(float(importance.mean()), 1e-12), dtype=np.float32)
