"""How much of what a query asks for in words a text holds: BM25, on a scale that does not depend on the query.

BM25 alone says which text is best, not whether it is good: of a question whose words are nowhere some text is the best,
too. Divided by what the query's words weigh in all, unknown ones included, it says what share of the query was found.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.experts.lexical import LENGTH_SHARE, SATURATION, WORD

KEPT_FROM = 100_000  # texts; of more, words that one in so many holds are not told from unknown ones
FUNCTION_WORDS = frozenset(  # they are about what is looked for; the index leaves out most of them
    WORD.findall(
        """a about after again all am an and any are aren as at be because been before being below between both but by
        can could d did didn do does doing don down during each few find for from further get give got had has have
        having he her here hers him his how i if in into is isn it its itself just know let like ll look looking m
        many may me might more most much must my need no nor not now of off on one or other our ours out over own
        please re s same search searching see shall she should show so some such t tell than that the their theirs
        them then there these they this those through to too under until up us ve very want was we were what when
        where which while who whom why will with won would you your yours"""
    )
)


class WordWeights:
    """Word weights of some texts: ``idf = ln(1 + (texts - n + 1/2) / (n + 1/2))`` of a word that n of them hold.

    Attributes:
        texts: how many there are.
        mean_length: words of a text, on average.
        holding: how many texts hold a word; words that next to none of many texts holds are left out.
    """

    def __init__(self, pieces: Iterable[Sequence[str]]) -> None:
        """Count the words of texts, which are given in pieces: many need not be in memory at once."""
        self.texts, words = 0, 0
        counts: pl.DataFrame | None = None
        for piece in pieces:
            found = pl.Series("word", list(piece), dtype=pl.String).str.to_lowercase().str.extract_all(WORD.pattern)
            self.texts += len(piece)
            words += int(found.list.len().sum())
            own = found.list.unique().explode().drop_nulls().value_counts(name="texts")
            counts = own if counts is None else pl.concat([counts, own]).group_by("word").agg(pl.col("texts").sum())
        self.mean_length = words / max(1, self.texts)
        least = self.texts // KEPT_FROM
        kept = () if counts is None else counts.filter(pl.col("texts") > least).iter_rows()
        self.holding: dict[str, int] = dict(kept)

    def idf(self, word: str) -> float:
        """Return a word's weight; one that no text holds weighs most."""
        holding = self.holding.get(word, 0)
        return math.log(1 + (self.texts - holding + 0.5) / (holding + 0.5))

    def shares(self, query: str, scores: NDArray[np.floating], texts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Return what share of a query some texts hold, (texts,), from 0 to 1: the mean of two ways to say that.

        Words that a text of mean length holds once add their idf to its BM25, so their sum is what the query asks for
        in all, and BM25 is a share of it: less in a long text, as much for a word of the same stem. The other is the
        weight of the words that a text holds as they are, however long it is.

        Args:
            query: free text.
            scores: (texts,) BM25.
            texts: the words of each.
        """
        words = [(word, self.idf(word)) for word in asked(query)]
        whole = sum(idf for _, idf in words)
        if not whole > 0:
            return np.zeros(len(scores))
        known = np.clip(np.asarray(scores, dtype=np.float64) / whole, 0.0, 1.0)
        held = [sum(idf for word, idf in words if word in text) / whole for text in map(set, texts)]
        return (known + np.array(held, dtype=np.float64)) / 2

    def scores(self, query: str, texts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Return the BM25 of some other texts, (texts,), each given by its words; it knows no stems of words."""
        words = [(word, self.idf(word)) for word in asked(query)]
        return np.array([self._score(words, text) for text in texts], dtype=np.float64)

    def _score(self, words: list[tuple[str, float]], text: Sequence[str]) -> float:
        damping = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * len(text) / max(self.mean_length, 1e-12))
        counts = [(idf, text.count(word)) for word, idf in words]
        return sum(idf * count * (SATURATION + 1) / (count + damping) for idf, count in counts)


def asked(query: str) -> list[str]:
    """Return the different words of a query that say what is looked for, in their order; all where none does."""
    words = list(dict.fromkeys(WORD.findall(query.lower())))
    return [word for word in words if word not in FUNCTION_WORDS] or words
