"""The words that an item's text shares with the items of a history that carried it, rare ones first."""

import threading
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import polars as pl

from recsys.experts.lexical import WORD
from recsys.serving.explanation import Word

MAX_WORDS = 5
CARRIERS = 10  # items of the history, those that added most


class SharedWords:
    """Weighs shared words by ``idf(word) · share of the carriers that hold it``, idf = ln(items / items that hold it).

    This compares texts; it does not ask the encoder. Document frequencies are counted when they are first needed.
    """

    def __init__(self, texts: Callable[[], list[str]]) -> None:
        self._read = texts
        self._lock = threading.Lock()

    def between(self, item: int, carriers: Mapping[int, float]) -> list[Word]:
        """Return the words that say most, best first.

        Args:
            item: row of the recommended item.
            carriers: what items of the history added to its score, by row; only what is positive counts.
        """
        best = sorted(((share, row) for row, share in carriers.items() if share > 0), reverse=True)[:CARRIERS]
        whole = sum(share for share, _ in best)
        with self._lock:
            texts, frequency = self._texts, self._frequency
        own = _words(texts[item])
        weights: dict[str, float] = {}
        for share, row in best:
            for word in own & _words(texts[row]):
                weights[word] = weights.get(word, 0.0) + share / whole
        scored = [
            Word(word, round(float(weight * np.log(len(texts) / frequency[word])), 6))
            for word, weight in weights.items()
        ]
        # what most texts hold, names of fields above all, says nothing about one of them
        kept = [word for word in scored if 2 * frequency[word.word] <= len(texts)]
        return sorted(kept, key=lambda one: (-one.weight, one.word))[:MAX_WORDS]

    @cached_property
    def _texts(self) -> list[str]:
        return self._read()

    @cached_property
    def _frequency(self) -> dict[str, int]:
        words = pl.Series([sorted(_words(text)) for text in self._texts], dtype=pl.List(pl.String)).explode()
        counts = words.drop_nulls().value_counts(name="items")
        return dict(counts.iter_rows())


def _words(text: str) -> set[str]:
    return set(WORD.findall(text.lower()))
