"""What a list shall be like, from a real generation with every component in its blend."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.data.snapshot import open_snapshot
from recsys.ranking.blend import Blend
from recsys.ranking.stages import unmeasured
from recsys.ranking.system import System
from recsys.selection.selection import Promotion
from recsys.serving import listing as module
from recsys.serving.answers import FILLED, POPULAR, ListRequest
from recsys.serving.recommender import Recommender
from recsys.store.generations import current_id, read_generation


@pytest.fixture(scope="module")
def opened(home):
    return Recommender.open(home)


@pytest.fixture(scope="module")
def system(home):
    return System.load(read_generation(home, current_id(home))[0])


@pytest.fixture(scope="module")
def snapshot(home, opened):
    return open_snapshot(home, opened.snapshot_id)


@pytest.fixture(scope="module")
def made(opened, system, snapshot):
    """Makes a recommender over the same index, with some weights and some more columns."""

    def make(weights, **columns):
        powers = {name: 1.0 if name in ("towers", "content") else 0.5 for name in weights}
        blended = replace(system, blend=Blend(weights, powers))
        items = snapshot.items().with_columns(**columns)
        return Recommender.of(opened.manifest, blended, opened.scoring.source, items, opened.users)

    return make


@pytest.fixture(scope="module")
def blended(made, system):
    return made(dict.fromkeys(sorted(system.components), 0.7))


@pytest.fixture(scope="module")
def histories(opened, snapshot):
    return [opened.history(user_id) for user_id in snapshot.user_ids()]


def ids(answer):
    return [item.item_id for item in answer.items]


def test_many_people_get_what_each_would_get_alone(blended, histories):
    people = [*histories[:40], [], ["no such item"], histories[3][:1]]
    for request in (ListRequest(k=15), ListRequest(k=15, diversity=0.5, limits={"genres": 6}, exclude_seen=False)):
        for history, answer in zip(people, blended.recommend_many(people, request), strict=True):
            (single,) = blended.recommend_many([history], request)
            assert ids(answer) == ids(single)
            expected = [item.score for item in single.items]
            np.testing.assert_allclose([item.score for item in answer.items], expected, atol=1e-5)
            assert (answer.fallback, answer.missing_ids) == (single.fallback, single.missing_ids)


def test_equal_items_tie_in_the_order_of_the_catalogue(blended, histories):
    source = blended.scoring.source
    vectors = source.vectors.copy()
    vectors[40:] = vectors[7]
    (person,) = blended._prepared([blended.catalogue.split(histories[0])[0]], unmeasured)
    try:
        source.vectors, before = vectors, source.vectors
        parts = person.parts(np.arange(len(vectors)))
        assert all(len(set(parts[name][[7, *range(40, len(vectors))]].tolist())) == 1 for name in ("towers", "content"))
    finally:
        source.vectors = before


def test_ranked_items_have_the_scores_of_a_recommendation(blended, histories):
    everything = blended.recommend(histories[0], k=80, exclude_seen=False)
    ranked = blended.rank(histories[0], [*reversed(ids(everything)), "no such item", ids(everything)[0]])
    assert ids(ranked) == ids(everything)
    assert [item.score for item in ranked.items] == [item.score for item in everything.items]
    assert ranked.missing_ids == ["no such item"]


def test_what_is_not_available_is_offered_to_nobody(made, system, histories):
    gone = pl.Series([number % 3 > 0 for number in range(80)])
    recommender = made(dict.fromkeys(sorted(system.components), 0.7), available=gone)
    missing = {recommender.catalogue.ids[row] for row in range(0, 80, 3)}
    everybody = recommender.recommend_many([histories[0], []], ListRequest(k=80, exclude_seen=False))
    for answer in [*everybody, recommender.similar(recommender.catalogue.ids[0], k=80)]:
        assert answer.items
        assert not missing & set(ids(answer))
    promoted = recommender.recommend(histories[0], promotions=[Promotion(min(missing), 1)])
    assert not promoted.items[0].promoted
    assert missing <= set(ids(recommender.rank(histories[0], recommender.catalogue.ids)))


def test_limits_are_met_by_looking_further(blended, histories, monkeypatch):
    monkeypatch.setattr(module, "CANDIDATES", 5)
    for history in histories[:10]:
        answer = blended.recommend(history, k=12, limits={"genres": 3}, fields=["genres"])
        counts = Counter(item.fields["genres"][0] for item in answer.items)
        assert set(counts.values()) == {3}
        assert len(counts) == 4
        scores = [item.score for item in answer.items]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"diversity": 0.6},
        {"limits": {"genres": 9}},
        {"limits": {"genres": 9}, "diversity": 0.4},
        {"exclude_seen": False, "filter": {"field": "genres", "contains": "Comedy"}},
    ],
)
@pytest.mark.parametrize("candidates", [module.CANDIDATES, 30])
def test_pages_are_parts_of_one_list(blended, histories, monkeypatch, options, candidates):
    monkeypatch.setattr(module, "CANDIDATES", candidates)
    for history in (*histories[:4], []):
        first = ids(blended.recommend(history, k=3, **options))
        promotions = [Promotion(first[2], 2), Promotion(first[1], 3)]
        for more in ({}, {"promotions": promotions}):
            pages = [blended.recommend(history, k=3, offset=start, **options, **more) for start in range(0, 30, 3)]
            found = [item for page in pages for item in ids(page)]
            assert len(set(found)) == len(found)
            behind = ids(blended.recommend(history, k=3, offset=30, **options, **more))
            assert not set(behind) & set(found)
            if candidates > 60:  # as many as a list of 30 looks at
                whole = blended.recommend(history, k=30, **options, **more)
                assert set(found) == set(ids(whole))
                if "diversity" in options or "limits" not in options:  # limits look further behind the end of a page
                    assert found == ids(whole)


def test_a_page_says_how_it_was_filled(made, histories):
    rules = made({"rules": 1.0})
    (person,) = rules._prepared([rules.catalogue.split(histories[0])[0]], unmeasured)
    named = len(person.candidates(500, rules.catalogue.allowed(None)))
    assert rules.recommend(histories[0], k=1, offset=0, exclude_seen=False).fallback is None
    assert rules.recommend(histories[0], k=1, offset=named, exclude_seen=False).fallback == FILLED


def test_pages_of_similar_items_are_parts_of_one_list(blended):
    whole = ids(blended.similar(blended.catalogue.ids[0], k=79))
    pages = [ids(blended.similar(blended.catalogue.ids[0], k=10, offset=start)) for start in range(0, 90, 10)]
    assert [item for page in pages for item in page] == whole
    assert [len(page) for page in pages] == [10] * 7 + [9, 0]


def test_promotions_obey_exclusions_and_count_for_limits(blended, histories):
    history = histories[0]
    seen, first, *_ = [history[0], *ids(blended.recommend(history))]
    answer = blended.recommend(history, k=5, promotions=[Promotion(seen, 2), Promotion(first, 5), Promotion("x", 1)])
    assert [item.item_id for item in answer.items if item.promoted] == [seen, first]
    assert (ids(answer)[1], ids(answer)[4], answer.missing_ids) == (seen, first, ["x"])
    genre = blended.rank(history, [first], fields=["genres"]).items[0].fields["genres"][0]
    elsewhere = {"not": {"field": "genres", "contains": genre}}
    assert first not in ids(blended.recommend(history, promotions=[Promotion(first, 1)], filter=elsewhere))
    limited = blended.recommend(history, k=4, promotions=[Promotion(first, 3)], limits={"genres": 1}, fields=["genres"])
    assert len({item.fields["genres"][0] for item in limited.items}) == 4


def test_diversity_spreads_the_list(blended, histories):
    def closeness(dial):
        total = 0.0
        for answer in blended.recommend_many(histories[:10], ListRequest(k=8, diversity=dial)):
            vectors = blended.scoring.system.item_vectors[[blended.catalogue.row(item) for item in ids(answer)]]
            total += (vectors @ vectors.T).sum()
        return total

    assert ids(blended.recommend(histories[2], k=8, diversity=0)) == ids(blended.recommend(histories[2], k=8))
    assert closeness(0.9) < closeness(0.6) < closeness(0)


def test_every_link_of_the_chain_says_that_it_answered(blended, made, histories):
    assert blended.recommend(histories[0], k=70).fallback is None
    assert blended.recommend([], k=5).fallback == POPULAR
    rules = made({"rules": 1.0})
    (person,) = rules._prepared([rules.catalogue.split(histories[0])[0]], unmeasured)
    named = len(person.candidates(500, np.ones(80, dtype=bool)))
    assert 0 < named < 80
    answer = rules.recommend(histories[0], k=80, exclude_seen=False)
    assert answer.fallback == FILLED
    assert len(set(ids(answer))) == 80
    filling = [rules.catalogue.row(item) for item in ids(answer)[named:]]
    counts = rules.scoring.system.popularity.counts[filling]
    assert (np.diff(counts) <= 0).all()
    assert rules.recommend(histories[0], k=3).fallback is None


def test_parts_of_a_score_add_up(blended, histories):
    answers = [blended.recommend(history, k=20, explain=True, exclude_seen=False) for history in histories[:5]]
    for item in [*answers[0].items, *answers[3].items, *blended.recommend([], explain=True).items]:
        parts = item.explanation
        assert sum(one.score for one in parts.components) == pytest.approx(item.score, abs=1e-4)
        for whole, one in [(item.score, parts), *((one.score, one) for one in parts.components)]:
            shares = one.baseline + one.other_history + sum(part.score for part in one.history)
            assert shares == pytest.approx(whole, abs=1e-4)
    top = answers[0].items[0].explanation
    assert {one.item_id for one in top.history} <= set(histories[0])
    by_name = {one.name: one for one in top.components}
    assert by_name["popularity"].history == []
    assert by_name["content"].baseline == pytest.approx(0, abs=1e-6)


def test_words_are_those_that_both_texts_hold_and_few_others(blended, histories, snapshot):
    titles = dict(snapshot.items().select("item_id", "title").iter_rows())
    genres = {item: genre[0].lower() for item, genre in snapshot.items().select("item_id", "genres").iter_rows()}
    found = 0
    for history in histories[:10]:
        for item in blended.recommend(history, k=5, explain=True).items:
            words = item.explanation.words
            assert [word.weight for word in words] == sorted((word.weight for word in words), reverse=True)
            for word in words:
                assert word.word in f"{titles[item.item_id]} {genres[item.item_id]}".lower() or word.word.isdigit()
                assert word.word != "genres"  # every item has it, so it says nothing
                found += 1
    assert found
