"""An item × item matrix with few entries a row: what rules, ItemKNN and EASE have in common at scoring time."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import sparse

from recsys.data.sequences import Sequences

ENTRIES_AT_ONCE = 2**23  # of a block of rows before the largest of each are kept: 64 MB, and as much again to sort them


def history_matrix(
    histories: Sequences, catalogue: int, decay: float, window: int | None = None, aversion: float = 1.0
) -> sparse.csr_matrix:
    """Return (rows, catalogue) weights of the items of each history: ``decay`` to the power of the event's age.

    An item that occurs twice keeps its newest weight. ``window`` drops events older than that many. Where events have
    signals the weights are multiplied by theirs: an item keeps the largest since it was last disliked, and one that is
    disliked still a negative one, times ``aversion``.
    """
    histories = histories.taught()
    ages = histories.ages()
    keep = np.ones(len(ages), dtype=bool) if window is None else ages < window
    weights = np.power(decay, ages)
    if histories.signals is not None:
        signs = histories.signals.weights
        stands = np.arange(len(ages)) >= histories.newest_of_item(signs < 0)
        keep &= stands & ((signs > 0) | (signs < 0) & histories.disliked())
        weights = weights * np.where(signs < 0, aversion * signs, signs)
    # Where an item repeats, the larger weight is the newer one: sort by weight and let the last one win.
    rows, columns, weights = histories.rows()[keep], histories.items[keep], weights[keep]
    order = np.lexsort((weights, columns, rows))
    rows, columns, weights = rows[order], columns[order], weights[order]
    last = np.ones(len(rows), dtype=bool)
    last[:-1] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    starts = np.searchsorted(rows[last], np.arange(len(histories) + 1)).astype(np.int32)
    entries = (weights[last].astype(np.float32), columns[last].astype(np.int32), starts)
    return sparse.csr_matrix(entries, shape=(len(histories), catalogue))


def keep_largest(matrix: sparse.csr_matrix, count: int) -> sparse.csr_matrix:
    """Return the matrix with the ``count`` largest entries of each row; ties keep the smaller column."""
    matrix = matrix.tocsr()
    matrix.sort_indices()
    lengths = np.diff(matrix.indptr)
    long = np.flatnonzero(lengths > count)  # the other rows stay as they are
    kept = np.ones(matrix.nnz, dtype=bool)
    if len(long):
        ends = np.cumsum(lengths[long])
        rows = np.repeat(np.arange(len(long)), lengths[long])
        places = np.arange(ends[-1]) + np.repeat(matrix.indptr[long] - (ends - lengths[long]), lengths[long])
        order = np.lexsort((matrix.indices[places], -matrix.data[places], rows))
        behind = np.arange(len(order)) - (ends - lengths[long])[rows] >= count
        kept[places[order[behind]]] = False
    starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, count))]).astype(matrix.indptr.dtype)
    return sparse.csr_matrix((matrix.data[kept], matrix.indices[kept], starts), shape=matrix.shape)


def row_blocks(entries: NDArray[np.integer], most: int | None = None) -> Iterator[slice]:
    """Cut rows, which hold at most so many entries each, into blocks of at most ``most``; a larger row stands alone.

    Args:
        entries: (rows,).
        most: None: ``ENTRIES_AT_ONCE``.
    """
    most = ENTRIES_AT_ONCE if most is None else most
    ends, start = np.cumsum(entries, dtype=np.int64), 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start = stop


def stacked(blocks: Iterable[sparse.csr_matrix], columns: int) -> sparse.csr_matrix:
    """Return the rows of float32 matrices one after the other; each is let go of as soon as it is read."""
    data, indices, lengths = [], [], []
    for block in blocks:
        data.append(block.data.astype(np.float32, copy=False))
        indices.append(block.indices.astype(np.int32, copy=False))
        lengths.append(np.diff(block.indptr))
    starts = np.concatenate([[0], *lengths]).cumsum()
    narrow = np.int32 if starts[-1] <= np.iinfo(np.int32).max else np.int64  # as scipy has it
    values = np.concatenate(data) if data else np.empty(0, np.float32)
    del data
    places = np.concatenate(indices) if indices else np.empty(0, np.int32)
    return sparse.csr_matrix((values, places, starts.astype(narrow)), shape=(len(starts) - 1, columns))


class ItemMatrixScorer:
    """Scores are ``history weights @ matrix``.

    Attributes:
        matrix: (catalogue, catalogue) sparse float32; row: item of the history, column: item that gets the score.
        decay: weight of an event per newer event in the history.
        window: how many of the newest events count; None: all.
        aversion: how much a dislike takes from what is like its item, against what a like gives; 0: nothing.
    """

    def __init__(
        self, matrix: sparse.csr_matrix, decay: float, window: int | None = None, aversion: float = 1.0
    ) -> None:
        self.matrix = matrix.tocsr().astype(np.float32, copy=False)
        self.decay = decay
        self.window = window
        self.aversion = aversion

    def sparse_scores(self, histories: Sequences) -> sparse.csr_matrix:
        """Return (rows, catalogue) scores; an absent entry is 0."""
        weights = history_matrix(histories, self.matrix.shape[0], self.decay, self.window, self.aversion)
        return (weights @ self.matrix).tocsr()

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) dense scores."""
        return np.asarray(self.sparse_scores(histories).todense(), dtype=np.float32)

    def contributions(
        self, history: Sequences | NDArray[np.int32], past: NDArray[np.int32], items: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Return what items of a history add to the scores of some items, (past, items).

        Args:
            history: one row, or its item indices, oldest first.
            past: items of the history, each once; over all of them the columns add up to the scores.
            items: whose scores.
        """
        row = Sequences.single(history)
        weights = history_matrix(row, self.matrix.shape[0], self.decay, self.window, self.aversion)
        weights = weights[0, past].toarray().T
        return np.asarray(weights * self.matrix[past][:, items].toarray(), dtype=np.float32)

    def save(self, folder: Path, name: str) -> None:
        """Write ``name.safetensors`` into a folder."""
        settings = [self.decay, -1 if self.window is None else self.window]
        settings += [] if self.aversion == 1.0 else [self.aversion]
        tensors = {
            "data": self.matrix.data,
            "indices": self.matrix.indices.astype(np.int32),
            "indptr": self.matrix.indptr.astype(np.int64),
            "settings": np.array(settings, dtype=np.float64),
        }
        save_file(tensors, folder / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: Path, name: str) -> "ItemMatrixScorer":
        """Read what ``save`` wrote."""
        tensors = load_file(folder / f"{name}.safetensors")
        size = len(tensors["indptr"]) - 1
        matrix = sparse.csr_matrix((tensors["data"], tensors["indices"], tensors["indptr"]), shape=(size, size))
        decay, window, *aversion = tensors["settings"].tolist()
        return cls(matrix, decay, None if window < 0 else int(window), *aversion)
