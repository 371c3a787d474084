"""Batches for the two models: token batches of similar length for BERT, padded histories for the user tower.

Texts are tokenised once. Batches are cut by a token budget, so that memory does not follow the longest text.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.models.backbone import Backbone, autocast, mean_pool
from recsys.sequences import Sequences

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Tokens:
    """Texts as token ids, one array a text."""

    ids: list[NDArray[np.int64]]
    padding: int

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: NDArray[np.integer], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the ids and the mask of some texts, both (texts, longest), padded on the right."""
        rows = [self.ids[index] for index in indices]
        width = max(len(row) for row in rows)
        ids = np.full((len(rows), width), self.padding, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)

    def buckets(self, indices: NDArray[np.integer], budget: int) -> Iterator[NDArray[np.integer]]:
        """Cut texts into batches of similar length whose padded size is at most ``budget`` tokens."""
        lengths = np.array([len(self.ids[index]) for index in indices])
        order = indices[np.lexsort((indices, lengths))]
        start = 0
        for end in range(1, len(order) + 1):
            full = end == len(order) or len(self.ids[order[end]]) * (end + 1 - start) > budget
            if full:
                yield order[start:end]
                start = end


def tokenize(backbone: Backbone, texts: Sequence[str], max_tokens: int) -> Tokens:
    """Tokenise texts, each cut to ``max_tokens`` tokens, the special ones included."""
    if not texts:
        return Tokens([], 0)
    encoded = backbone.tokenizer(list(texts), truncation=True, max_length=max_tokens, padding=False)["input_ids"]
    padding = backbone.tokenizer.pad_token_id or 0
    return Tokens([np.asarray(row, dtype=np.int64) for row in encoded], padding)  # type: ignore[union-attr,call-overload]


def embed(
    backbone: Backbone, tokens: Tokens, progress: Progress | None = None, budget: int = 8192
) -> NDArray[np.float32]:
    """Return the pooled vectors of all texts, (texts, hidden) float32, in their own order.

    Raises:
        FloatingPointError: a vector is not finite or is zero.
    """
    vectors = np.zeros((len(tokens), backbone.hidden_size), dtype=np.float32)
    done = 0
    backbone.model.eval()
    with torch.inference_mode(), autocast(backbone.device):
        for indices in tokens.buckets(np.arange(len(tokens)), budget):
            vectors[indices] = forward(backbone, tokens, indices).cpu().numpy()
            done += len(indices)
            if progress:
                progress(done, len(tokens))
    norms = np.linalg.norm(vectors, axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        raise FloatingPointError(f"Text {bad[0]} got a vector that is zero or not finite; the weights are broken.")
    return vectors


def forward(backbone: Backbone, tokens: Tokens, indices: NDArray[np.integer]) -> torch.Tensor:
    """Run BERT over some texts and pool: (texts, hidden) fp32, with gradient where that is enabled."""
    ids, mask = tokens.batch(indices, backbone.device)
    return mean_pool(backbone.model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)


@dataclass(frozen=True)
class HistoryBatch:
    """Histories for the user tower.

    Attributes:
        items: (rows, length) int64, oldest first, aligned right; -1 is padding.
        targets: (positions, future) int64, the items that follow each real position.
        weights: (positions, future) float32, each row sums to 1; 0 where the history has ended.
    """

    items: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


def pad_histories(histories: Sequences, length: int) -> NDArray[np.int64]:
    """Return the newest ``length`` items of every row, (rows, longest) int64, aligned right, padded with -1."""
    recent = histories.last(length)
    width = max(int(recent.lengths.max(initial=0)), 1)
    padded = np.full((len(recent), width), -1, dtype=np.int64)
    padded[recent.rows(), width - 1 - recent.ages()] = recent.items
    return padded


def training_windows(train: Sequences, length: int) -> Sequences:
    """Cut every row into windows of at most ``length + 1`` items that overlap by one, so that each event but the first is a target once."""
    starts, ends = [], []
    for start, end in zip(train.offsets[:-1], train.offsets[1:], strict=True):
        while end - start >= 2:
            begin = max(start, end - length - 1)
            starts.append(begin)
            ends.append(end)
            end = begin + 1
    return train.slice(np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64))


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
    for step in range(future):
        following = np.full_like(inputs, -1)
        following[:, : inputs.shape[1] - step] = whole[:, 1 + step :]
        chosen = following[real]
        targets[:, step] = np.maximum(chosen, 0)
        weights[:, step] = (chosen >= 0) * decay**step
    weights /= weights.sum(axis=1, keepdims=True)
    return HistoryBatch(*(torch.from_numpy(array).to(device) for array in (inputs, targets, weights)))
