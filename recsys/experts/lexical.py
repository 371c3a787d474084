"""Words in common: the cosine between items' texts as bags of words, rare words weighing more.

Word weights are those of BM25 (Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009):
``idf · tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length))`` with ``idf = ln(items / items that hold the word)``.
Names of brands and of models, which an encoder has never read, count here; and an item needs no event to be found.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import sparse

from recsys.callbacks import Progress
from recsys.experts.sparse import ItemMatrixScorer, keep_largest

WORD = re.compile(r"\w+")
SATURATION, LENGTH_SHARE = 1.2, 0.75  # k1 and b
LEAST_ITEMS = 2  # that hold a word
LARGEST_SHARE, LARGEST_COUNT = 0.05, 100  # of items that hold it, whichever is more: common words cost most, say least
NEIGHBOURS = 128  # kept of each item; four times as many rank no better
ROWS_AT_ONCE = 1_024


class Lexicon:
    """The words of a catalogue, and its items as unit vectors over them.

    Attributes:
        words: column of each word.
        idf: (words,) float32.
        mean_length: words of an item's text, on average.
        vectors: (items, words) sparse float32; an item without any known word has an empty row.
    """

    def __init__(
        self, words: dict[str, int], idf: NDArray[np.float32], mean_length: float, vectors: sparse.csr_matrix
    ) -> None:
        self.words = words
        self.idf = idf
        self.mean_length = mean_length
        self.vectors = vectors

    @classmethod
    def fit(cls, texts: Sequence[str]) -> "Lexicon":
        """Learn words and their weights from a catalogue's texts; nothing else is read."""
        bags = [_bag(text) for text in texts]
        frequency = Counter(word for bag in bags for word in bag)
        most = max(LARGEST_COUNT, LARGEST_SHARE * len(texts))
        kept = sorted(word for word, count in frequency.items() if LEAST_ITEMS <= count <= most)
        idf = np.log(len(texts) / np.array([frequency[word] for word in kept], dtype=np.float64)).astype(np.float32)
        mean_length = sum(bag.total() for bag in bags) / max(1, len(bags))
        lexicon = cls({word: column for column, word in enumerate(kept)}, idf, mean_length, sparse.csr_matrix((0, 0)))
        lexicon.vectors = lexicon._vectors(bags)
        return lexicon

    def encode(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Return (texts, words) unit vectors of any texts; words that the catalogue does not hold are left out."""
        return self._vectors([_bag(text) for text in texts])

    def _vectors(self, bags: list[Counter[str]]) -> sparse.csr_matrix:
        found = [[(self.words[word], count) for word, count in bag.items() if word in self.words] for bag in bags]
        ends = np.concatenate([[0], np.cumsum([len(pairs) for pairs in found])]).astype(np.int64)
        columns = np.array([column for pairs in found for column, _ in pairs], dtype=np.int32)
        counts = np.array([count for pairs in found for _, count in pairs], dtype=np.float32)
        lengths = np.array([bag.total() for bag in bags], dtype=np.float32)
        damping = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * lengths / max(self.mean_length, 1e-12))
        rows = np.repeat(np.arange(len(bags)), np.diff(ends))
        weights = self.idf[columns] * counts * (SATURATION + 1) / (counts + damping[rows])
        norms = np.sqrt(np.bincount(rows, weights.astype(np.float64) ** 2, len(bags)))
        weights = (weights / np.maximum(norms[rows], 1e-12)).astype(np.float32)
        vectors = sparse.csr_matrix((weights, columns, ends), shape=(len(bags), len(self.words)))
        vectors.sort_indices()
        return vectors

    def save(self, folder: Path, name: str) -> None:
        """Write ``name.json`` and ``name.safetensors``."""
        (folder / f"{name}.json").write_text(json.dumps(list(self.words), ensure_ascii=False) + "\n")
        tensors = {
            "idf": self.idf,
            "mean_length": np.array([self.mean_length]),
            "data": self.vectors.data,
            "indices": self.vectors.indices.astype(np.int32),
            "indptr": self.vectors.indptr.astype(np.int64),
        }
        save_file(tensors, folder / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: Path, name: str) -> "Lexicon":
        """Read what ``save`` wrote."""
        words = {word: column for column, word in enumerate(json.loads((folder / f"{name}.json").read_text()))}
        tensors = load_file(folder / f"{name}.safetensors")
        shape = (len(tensors["indptr"]) - 1, len(words))
        vectors = sparse.csr_matrix((tensors["data"], tensors["indices"], tensors["indptr"]), shape=shape)
        return cls(words, tensors["idf"], float(tensors["mean_length"][0]), vectors)


def fit_lexical(lexicon: Lexicon, decay: float, progress: Progress | None = None) -> ItemMatrixScorer:
    """Return a scorer by the ``NEIGHBOURS`` items with the largest cosines to each item of a history.

    Time grows with the square of the catalogue. ``progress`` is called with items done and items in all.
    """
    everything = np.arange(lexicon.vectors.shape[0])
    return ItemMatrixScorer(nearest(lexicon.vectors, lexicon.vectors, everything, progress), decay)


def nearest(
    vectors: sparse.csr_matrix,
    others: sparse.csr_matrix,
    itself: NDArray[np.integer],
    progress: Progress | None = None,
) -> sparse.csr_matrix:
    """Return (rows, others) cosines, the ``NEIGHBOURS`` largest of each row.

    Args:
        vectors: (rows, words) unit vectors.
        others: (others, words) unit vectors.
        itself: (rows,) the place of each row among the others, which is left out.
        progress: called with rows done and rows in all.
    """
    columns = others.T.tocsr()
    parts = []
    for start in range(0, vectors.shape[0], ROWS_AT_ONCE):
        cosines = sparse.coo_matrix(vectors[start : start + ROWS_AT_ONCE] @ columns)
        different = (cosines.data > 0) & (cosines.col != itself[start + cosines.row])
        entries = (cosines.data[different], (cosines.row[different], cosines.col[different]))
        parts.append(keep_largest(sparse.csr_matrix(entries, shape=cosines.shape), NEIGHBOURS))
        if progress is not None:
            progress(min(start + ROWS_AT_ONCE, vectors.shape[0]), vectors.shape[0])
    if not parts:
        return sparse.csr_matrix((0, others.shape[0]), dtype=np.float32)
    return sparse.csr_matrix(sparse.vstack(parts, format="csr"))


def extended(
    scorer: ItemMatrixScorer, lexicon: Lexicon, texts: Sequence[str], rewritten: NDArray[np.int64]
) -> ItemMatrixScorer:
    """Return a scorer that knows items with new texts as well; what it says of the others stays as it is.

    Args:
        scorer: made by ``fit_lexical`` from the lexicon.
        lexicon: whose words and weights do not change.
        texts: those of the rewritten items, then those of new items.
        rewritten: rows of the catalogue whose text has changed.
    """
    count, changed = lexicon.vectors.shape[0], len(rewritten)
    live = np.concatenate([rewritten, np.arange(count, count + len(texts) - changed)])
    made = lexicon.encode(texts)
    place = np.arange(count + len(texts) - changed)
    place[count:] += changed
    place[rewritten] = count + np.arange(changed)
    new = nearest(made, sparse.vstack([lexicon.vectors, made], format="csr")[place], live).tocoo()
    rows, columns = live[new.row], new.col
    mirrored = ~np.isin(columns, live)  # of two new texts each has the other in its own row
    old = scorer.matrix.tocoo()
    kept = ~(np.isin(old.row, rewritten) | np.isin(old.col, rewritten)) if changed else slice(None)
    entries = (
        np.concatenate([old.data[kept], new.data, new.data[mirrored]]),
        (
            np.concatenate([old.row[kept], rows, columns[mirrored]]),
            np.concatenate([old.col[kept], columns, rows[mirrored]]),
        ),
    )
    return ItemMatrixScorer(sparse.csr_matrix(entries, shape=(len(place), len(place))), scorer.decay)


def _bag(text: str) -> Counter[str]:
    return Counter(WORD.findall(text.lower()))
