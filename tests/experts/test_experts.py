"""One conformance suite over every expert, and what each formula says on a small example."""

import numpy as np
import pytest
from scipy import sparse

from recsys.data.sequences import Sequences
from recsys.experts import lexical
from recsys.experts.content import Content
from recsys.experts.ease import fit_ease
from recsys.experts.ials import fit_ials
from recsys.experts.knn import SHRINKAGE, fit_knn
from recsys.experts.lexical import Lexicon, extended, fit_lexical
from recsys.experts.popularity import Popularity
from recsys.experts.rules import fit_rules
from recsys.experts.sparse import ItemMatrixScorer, history_matrix, keep_largest

CATALOGUE = 12
VECTORS = np.vstack([np.eye(CATALOGUE - 1, CATALOGUE), np.eye(1, CATALOGUE, CATALOGUE - 1)]).astype(np.float32)
FITS = {
    "popularity": lambda train: Popularity.fit(train, CATALOGUE),
    "rules": lambda train: fit_rules(train, CATALOGUE, window=5, neighbours=50, decay=0.8),
    "knn": lambda train: fit_knn(train, CATALOGUE, neighbours=50, decay=0.8),
    "ease": lambda train: fit_ease(train, CATALOGUE, ridge=10.0, neighbours=50, decay=0.8),
    "lexical": lambda train: fit_lexical(Lexicon.fit(TEXTS), decay=0.8),
    "content": lambda train: Content(VECTORS, decay=0.8),
    "ials": lambda train: fit_ials(train, CATALOGUE, confidence=10.0, ridge=1.0, decay=0.8, seed=0),
}
MATRICES = ("rules", "knn", "ease", "lexical")
TEXTS = [f"{colour} {thing}" for colour in ("red", "blue", "red red") for thing in ("chair", "table", "lamp", "Sofa")]
TEXTS[-1] = "unique"


@pytest.fixture(scope="module")
def train():
    rng = np.random.default_rng(0)
    return Sequences.from_lists([rng.choice(CATALOGUE - 1, rng.integers(2, 8), replace=False) for _ in range(40)])


@pytest.fixture(params=sorted(FITS))
def scorer(request, train):
    return FITS[request.param](train)


def test_scores_are_finite_with_a_column_for_every_item(scorer):
    scores = scorer.score(Sequences.from_lists([[1, 2], [], [3]]))
    assert scores.shape == (3, CATALOGUE)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_a_score_does_not_depend_on_its_batch(scorer):
    rows = [[1, 2, 3], [], [4, 4, 5]]
    alone = np.concatenate([scorer.score(Sequences.from_lists([row])) for row in rows])
    np.testing.assert_allclose(scorer.score(Sequences.from_lists(rows)), alone, rtol=1e-6, atol=1e-6)


def test_an_item_never_seen_gets_nothing(scorer):
    assert scorer.score(Sequences.from_lists([[1, 2, 3]]))[0, CATALOGUE - 1] == 0


@pytest.mark.parametrize("name", MATRICES)
def test_fitting_twice_gives_the_same(name, train):
    first, second = FITS[name](train), FITS[name](train)
    assert (first.matrix != second.matrix).nnz == 0


@pytest.mark.parametrize("name", MATRICES)
def test_save_and_load_keep_every_score(name, train, tmp_path):
    scorer = FITS[name](train)
    scorer.save(tmp_path, name)
    histories = Sequences.from_lists([[1, 2, 3], []])
    again = ItemMatrixScorer.load(tmp_path, name)
    np.testing.assert_array_equal(again.score(histories), scorer.score(histories))
    assert (again.decay, again.window) == (scorer.decay, scorer.window)


@pytest.mark.parametrize("name", MATRICES)
def test_contributions_add_up_to_the_score(name, train):
    scorer = FITS[name](train)
    history = np.array([1, 2, 5, 2, 7, 3, 4, 6], dtype=np.int32)
    scores = scorer.score(Sequences.from_lists([history]))[0]
    found = scorer.contributions(history, np.unique(history), np.arange(CATALOGUE))
    np.testing.assert_allclose(found.sum(axis=0), scores, atol=1e-5)


def test_content_is_the_cosine_to_the_decayed_mean(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((CATALOGUE, 5)).astype(np.float32)
    content = Content(vectors, decay=0.5)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = 0.5 * unit[3] + unit[8]
    histories = Sequences.from_lists([[3, 8]])
    np.testing.assert_allclose(content.score(histories)[0], unit @ mean / np.linalg.norm(mean), rtol=1e-5)
    parts = content.contributions(histories.items, histories.items, np.arange(CATALOGUE))
    np.testing.assert_allclose(parts.sum(axis=0), unit @ mean, rtol=1e-4, atol=1e-6)
    content.save(tmp_path, "content")
    np.testing.assert_array_equal(Content.load(tmp_path, "content").score(histories), content.score(histories))


def test_rules_count_near_followers_more():
    rules = fit_rules(Sequences.from_lists([[0, 1, 2], [0, 1]]), 3, window=2, neighbours=3, decay=1.0).matrix.toarray()
    root = np.sqrt(2)  # items 0 and 1 occur twice
    np.testing.assert_allclose(rules, [[0, 2 / root, 0.5 / root], [0, 0, 1 / root], [0, 0, 0]], rtol=1e-6)


def test_knn_is_the_shrunk_cosine():
    knn = fit_knn(Sequences.from_lists([[0, 1], [0, 1], [0, 2]]), 3, neighbours=3, decay=1.0).matrix.toarray()
    assert knn[0, 1] == pytest.approx(2 / (np.sqrt(6) + SHRINKAGE))
    np.testing.assert_allclose(knn, knn.T)
    assert np.diag(knn).tolist() == [0, 0, 0]


def test_ease_is_the_closed_form(train):
    ridge = 10.0
    users = history_matrix(train, CATALOGUE, 1.0).toarray()
    inverse = np.linalg.inv(users.T @ users + ridge * np.eye(CATALOGUE))
    expected = np.eye(CATALOGUE) - inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(FITS["ease"](train).matrix.toarray(), expected, atol=1e-5)


def test_ease_takes_items_that_nobody_touched():
    ease = fit_ease(Sequences.from_lists([[], []]), 3, ridge=1.0, neighbours=2, decay=1.0)
    assert ease.matrix.nnz == 0


def bm25(texts, catalogue):
    """Unit vectors by the formula, word by word, of words that two texts of the catalogue hold."""
    bags = [text.lower().split() for text in catalogue]
    words = sorted({word for bag in bags for word in bag if sum(word in other for other in bags) > 1})
    mean = np.mean([len(bag) for bag in bags])
    vectors = np.zeros((len(texts), len(words)))
    for row, text in enumerate(texts):
        bag = text.lower().split()
        for column, word in enumerate(words):
            count, idf = bag.count(word), np.log(len(bags) / sum(word in other for other in bags))
            vectors[row, column] = idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(bag) / mean))
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def test_lexical_is_the_cosine_of_bm25_vectors(tmp_path):
    lexicon = Lexicon.fit(TEXTS)
    other = ["RED lamp of no word known", "nothing"]
    np.testing.assert_allclose(lexicon.encode(TEXTS).toarray(), bm25(TEXTS, TEXTS), atol=1e-6)
    np.testing.assert_allclose(lexicon.encode(other).toarray(), bm25(other, TEXTS), atol=1e-6)
    cosines = bm25(TEXTS, TEXTS) @ bm25(TEXTS, TEXTS).T
    np.fill_diagonal(cosines, 0)
    np.testing.assert_allclose(fit_lexical(lexicon, 1.0).matrix.toarray(), cosines, atol=1e-6)
    lexicon.save(tmp_path, "words")
    again = Lexicon.load(tmp_path, "words")
    assert (again.encode(other) != lexicon.encode(other)).nnz == (again.vectors != lexicon.vectors).nnz == 0


def test_lexical_keeps_the_nearest_and_ignores_very_common_words(monkeypatch):
    monkeypatch.setattr(lexical, "NEIGHBOURS", 2)
    assert np.diff(fit_lexical(Lexicon.fit(TEXTS), 1.0).matrix.indptr).max() == 2
    monkeypatch.setattr(lexical, "LARGEST_COUNT", 2)
    assert "red" not in Lexicon.fit(TEXTS).words


def test_lexical_knows_new_and_rewritten_texts_as_if_they_had_been_there():
    lexicon = Lexicon.fit(TEXTS)
    old = fit_lexical(lexicon, 0.8)
    written = ["blue lamp", "red table", "red sofa"]
    new = extended(old, lexicon, written, np.array([5]))
    texts = [*TEXTS[:5], "blue lamp", *TEXTS[6:], *written[1:]]
    cosines = bm25(texts, TEXTS) @ bm25(texts, TEXTS).T
    np.fill_diagonal(cosines, 0)
    np.testing.assert_allclose(new.matrix.toarray(), cosines, atol=1e-6)
    others = [row for row in range(CATALOGUE) if row != 5]
    np.testing.assert_array_equal(new.matrix[others][:, others].toarray(), old.matrix[others][:, others].toarray())
    none = extended(old, lexicon, [], np.array([], dtype=np.int64))
    assert (none.matrix != old.matrix).nnz == 0


def test_popularity_forgets_with_its_half_life():
    day = 86_400
    train = Sequences(np.array([0, 1], np.int32), np.array([0, 2]), np.array([0, 10 * day]))
    assert Popularity.fit(train, 2, half_life_days=10).counts.tolist() == [0.5, 1.0]
    with pytest.raises(ValueError, match="needs events with times"):
        Popularity.fit(Sequences.from_lists([[0]]), 1, half_life_days=1)


def test_a_repeated_item_keeps_its_newest_weight():
    weights = history_matrix(Sequences.from_lists([[3, 1, 3]]), 4, decay=0.5).toarray()
    assert weights.tolist() == [[0, 0.5, 0, 1.0]]


def test_a_window_drops_older_events():
    weights = history_matrix(Sequences.from_lists([[0, 1, 2]]), 3, decay=1.0, window=2).toarray()
    assert weights.tolist() == [[0, 1, 1]]


def test_keep_largest_breaks_ties_by_column():
    matrix = sparse.csr_matrix(np.array([[1.0, 3.0, 1.0, 2.0], [0.0, 0.0, 5.0, 0.0]]))
    assert keep_largest(matrix, 3).toarray().tolist() == [[1, 3, 0, 2], [0, 0, 5, 0]]


def test_ials_folds_a_history_in_by_its_normal_equations(train):
    scorer = FITS["ials"](train)
    items = scorer._model.item_factors
    weights = history_matrix(Sequences.from_lists([[1, 2, 3]]), CATALOGUE, decay=0.8).toarray()[0]
    confidence = 1 + 10.0 * weights
    liked = weights > 0
    gram = items.T @ (items * confidence[:, None]) + np.eye(items.shape[1])
    user = np.linalg.solve(gram.astype(np.float64), (items * (confidence * liked)[:, None]).sum(axis=0))
    np.testing.assert_allclose(scorer.score(Sequences.from_lists([[1, 2, 3]]))[0], items @ user, atol=2e-3)
