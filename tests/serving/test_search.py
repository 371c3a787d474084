"""Search over a small catalogue: by both, by meaning, by words; and where words cannot be looked up."""

import numpy as np
import pytest

from recsys.home import Home
from recsys.serving.new_texts import Encoder
from recsys.serving.recommender import Recommender
from recsys.serving.search import BOTH, MEANING, WORDS, TextSearch, nearest
from recsys.store.generations import current_id
from recsys.store.index import UnreadableError

pytestmark = pytest.mark.processor


@pytest.fixture(scope="module")
def search(home: Home) -> TextSearch:
    recommender = Recommender.open(home)
    return TextSearch(recommender, Encoder.open(home, str(current_id(home)), recommender.scoring.system))


def ids(hits):
    return [hit.item_id for hit in hits.items]


def test_meaning_alone_is_the_cosine_of_the_vectors_that_texts_get(home: Home, search: TextSearch) -> None:
    encoder, items = search.encoder, Recommender.open(home).catalogue.items
    width = encoder.vectors.widths[0]
    vectors = encoder.encode([*encoder.item_texts(items), "ghosts at night"])[:, :width]
    cosines = vectors[:-1] @ vectors[-1]
    hits = search.search("ghosts at night", k=10, mode=MEANING)
    assert [hit.score for hit in hits.items] == pytest.approx(np.sort(cosines)[::-1][:10].tolist(), abs=5e-3)
    assert {hit.found_by for hit in hits.items} == {(MEANING,)}


def test_words_alone_find_nothing_else_and_ask_no_encoder(search: TextSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.encoder, "query", lambda text: pytest.fail("the encoder was asked"))
    hits = search.search("haunted wedding", k=80, mode=WORDS)
    titles = [hit.fields["title"].lower() for hit in hits.items]
    assert titles
    assert all("haunted" in title or "wedding" in title for title in titles)
    scores = [hit.score for hit in hits.items]
    assert scores == sorted(scores, reverse=True)
    assert search.search("zzyzx", mode=WORDS).items == []


def test_both_follows_the_words_where_all_of_a_name_is_found_and_else_the_meaning(search: TextSearch) -> None:
    title = search.search("haunted", k=1, mode=WORDS).items[0].fields["title"]
    number = title.split()[-1]
    best = search.search(f"do you have the {number}", k=1, mode=BOTH).items[0]
    assert number in best.fields["title"].split()
    assert WORDS in best.found_by
    wish = "something where a man called desert rides through empty country until a duel at noon"
    assert ids(search.search(wish, k=3)) == ids(search.search(wish, k=3, mode=MEANING))


def test_an_exact_title_comes_first_only_where_both_count(search: TextSearch) -> None:
    wanted = search.search("haunted", k=1).items[0]
    first = search.search(wanted.fields["title"].upper(), k=1).items[0]
    assert (first.item_id, first.found_by[0]) == (wanted.item_id, "title")
    assert "title" not in search.search(wanted.fields["title"], k=1, mode=MEANING).items[0].found_by


def test_without_the_index_of_words_both_falls_back_and_words_say_so(
    search: TextSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UnreadableError("LanceDB cannot read items-x: gone")

    monkeypatch.setattr(search._recommender.scoring.source, "worded", fail)
    hits = search.search("haunted", k=3)
    assert hits.fallback == MEANING
    assert ids(hits) == ids(search.search("haunted", k=3, mode=MEANING))
    assert search.search("haunted", k=3, mode=MEANING).fallback is None
    with pytest.raises(UnreadableError):
        search.search("haunted", k=3, mode=WORDS)


def test_a_filter_and_its_ties_are_kept() -> None:
    cosines = np.array([0.5, 0.9, 0.5, 0.5, 0.1])
    assert sorted(nearest(cosines, np.array([0, 2, 3, 4]), 2).tolist()) == [0, 2]
    assert sorted(nearest(cosines, np.arange(5), 9).tolist()) == [0, 1, 2, 3, 4]
