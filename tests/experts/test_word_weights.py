"""Word weights: BM25 as the index of words computes it, and what share of a query that is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.experts.lexical import WORD
from recsys.experts.word_weights import WordWeights, asked
from recsys.ranking.candidates import VectorSource
from recsys.store.index import build_index

TEXTS = ["red kettle XR 200", "red lamp", "blue lamp lamp", "blue carpet long halls old houses", "green kettle"]
WORDS = st.sampled_from([*{word for text in TEXTS for word in WORD.findall(text.lower())}, "unheard", "the", "please"])


def words_of(texts):
    return [WORD.findall(text.lower()) for text in texts]


@pytest.fixture(scope="module")
def weights():
    return WordWeights([TEXTS[:2], TEXTS[2:]])


def test_texts_may_be_given_in_any_pieces(weights):
    whole = WordWeights([TEXTS])
    assert (whole.texts, whole.mean_length, whole.holding) == (weights.texts, weights.mean_length, weights.holding)
    assert (whole.texts, whole.holding["lamp"], whole.holding["red"]) == (5, 2, 2)
    empty = WordWeights([])
    assert empty.idf("any") > 0
    assert len(empty.shares("any", np.empty(0), [])) == 0


def test_the_own_bm25_is_the_indexs(weights, tmp_path):
    source = VectorSource(tmp_path, build_index(tmp_path, list("abcde"), np.eye(5, 8, dtype=np.float32), TEXTS))
    for query in ("red lamp", "XR", "blue kettle 200", "green unheard"):
        found = source.worded(query, 5, np.ones(5, dtype=bool))
        own = weights.shares(query, weights.scores(query, words_of(TEXTS)), words_of(TEXTS))
        assert found.rows.tolist() == sorted(np.flatnonzero(own), key=lambda row: (-own[row], row))
        np.testing.assert_allclose(found.shares, own[found.rows], atol=1e-5)


@given(st.lists(WORDS, max_size=6))
def test_a_share_is_one_where_everything_is_held_and_falls_with_what_is_not(words):
    weights, query = WordWeights([TEXTS]), " ".join(words)
    texts = words_of(TEXTS)
    shares = weights.shares(query, weights.scores(query, texts), texts)
    assert ((shares >= 0) & (shares <= 1)).all()
    for share, text in zip(shares, texts, strict=True):
        held = [word in text for word in asked(query)]
        assert (share > 0) == any(held)
        if held and all(held):
            assert share > 0.5
    lengthened = weights.shares(f"{query} never", weights.scores(query, texts), texts)
    assert (lengthened <= shares).all()


def test_words_that_nobody_looks_for_weigh_nothing(weights):
    texts = words_of(TEXTS)
    bare, wrapped = "red kettle", "Where can I get the red kettle, please?"
    assert asked(wrapped) == ["red", "kettle"]
    scores = weights.scores(bare, texts)
    np.testing.assert_array_equal(weights.shares(bare, scores, texts), weights.shares(wrapped, scores, texts))
    assert asked("What is that") == ["what", "is", "that"]  # there is nothing else to look for
