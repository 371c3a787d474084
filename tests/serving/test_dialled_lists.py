"""Boosts, an objective and new items in lists of a real generation: what is proposed, added, and said of it."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.data.snapshot import open_snapshot
from recsys.experts.popularity import Popularity
from recsys.ranking.blend import Blend
from recsys.ranking.candidates import NO_PREFETCH, VectorSource
from recsys.ranking.exploration import EVENTS, Exposure
from recsys.ranking.system import System
from recsys.selection.dials import Boost, Dials, Objective
from recsys.selection.selection import Promotion
from recsys.serving import listing as module
from recsys.serving import user_ranking
from recsys.serving.adjustments import Adjustments
from recsys.serving.alike import Alike
from recsys.serving.answers import ListRequest, NewItems
from recsys.serving.explanation import without_history
from recsys.serving.recommender import Recommender
from recsys.serving.user_ranking import UserRanking
from recsys.store.generations import current_id, read_generation

COMEDY = {"field": "genres", "contains": "Comedy"}
OLD = {"field": "year", "lt": 1975}


@pytest.fixture(scope="module")
def blended(home):
    """A generation with every component in its blend, and a column of margins."""
    opened = Recommender.open(home)
    system = System.load(read_generation(home, current_id(home))[0])
    names = sorted(system.components)
    powers = {name: 1.0 if name in ("towers", "content") else 0.5 for name in names}
    blended = replace(system, blend=Blend(dict.fromkeys(names, 0.7), powers))
    items = open_snapshot(home, opened.snapshot_id).items()
    margins = np.random.default_rng(3).normal(size=len(items)).round(2)
    items = items.with_columns(margin=pl.Series(margins))
    return Recommender.of(opened.manifest, blended, opened.scoring.source, items, opened.users)


@pytest.fixture(scope="module")
def histories(blended):
    return [blended.history(user_id) for user_id in list(blended.users.rows)[:12]]


def ids(answer):
    return [item.item_id for item in answer.items]


DIALS = {
    "boost": {"boosts": [Boost(OLD, 1.0)]},
    "bury": {"boosts": [Boost(COMEDY, -2.0)]},
    "several": {"boosts": [Boost(OLD, 1.5), Boost(COMEDY, -0.5), Boost({"field": "year", "gte": 1990}, 0.25)]},
    "objective": {"objective": Objective("margin", 0.6)},
    "all": {"boosts": [Boost(OLD, -1.5), Boost(COMEDY, 0.5)], "objective": Objective("margin", 1.0)},
}


def scanned(recommender, history, options):
    """Return the ten best of all items that were not seen, with their scores, found without candidates."""
    seen = set(history)
    rows = [row for row, item in enumerate(recommender.catalogue.ids) if item not in seen]
    everything = recommender.rank(history, [recommender.catalogue.ids[row] for row in rows])
    own = {item.item_id: item.score for item in everything.items}
    dials = Dials.of(recommender.catalogue, options.get("boosts", ()), options.get("objective"))
    unit = recommender.scoring.unit if history else recommender.scoring.unit_of_counts
    total = np.array([own[recommender.catalogue.ids[row]] + unit * dials.total[row] for row in rows])
    best = np.lexsort((rows, -total))[:10]
    return [recommender.catalogue.ids[rows[place]] for place in best], total[best]


@pytest.mark.parametrize("name", DIALS)
@pytest.mark.parametrize("exact", [True, False], ids=["all products", "by bands"])
def test_few_candidates_hold_what_dials_bring_into_the_list(blended, histories, monkeypatch, name, exact):
    monkeypatch.setattr(module, "CANDIDATES", 20)
    if not exact:
        monkeypatch.setattr(VectorSource, "prefetch", lambda self, queries, *_: [NO_PREFETCH] * len(queries))
    for history in [*histories, []]:
        answer = blended.recommend(history, k=10, **DIALS[name])
        expected, scores = scanned(blended, history, DIALS[name])
        np.testing.assert_allclose([item.score for item in answer.items], scores, rtol=1e-4, atol=1e-4)
        assert set(ids(answer)[:8]) <= set(expected)
        ranked = blended.rank(history, ids(answer), **DIALS[name])
        assert [item.score for item in ranked.items] == [item.score for item in answer.items]


def test_a_boost_that_matters_and_one_that_does_not(blended, histories):
    for history in [*histories[:4], []]:
        plain = blended.recommend(history, k=15)
        nothing = [Boost(COMEDY, 0.0), Boost({"field": "title", "eq": "no such title"}, 3.0)]
        assert blended.recommend(history, k=15, boosts=nothing, objective=Objective("margin", 0.0)) == plain
        strengths = [-3.0, -1.0, 1.0, 3.0]
        answers = [blended.recommend(history, k=15, boosts=[Boost(OLD, one)], fields=["year"]) for one in strengths]
        shares = [np.mean([item.fields["year"] < 1975 for item in answer.items]) for answer in answers]
        assert shares == sorted(shares)
        assert shares[0] < shares[-1]
        again = blended.recommend(history, k=15, boosts=[Boost(OLD, 3.0)], fields=["year"])
        assert again == answers[-1]


def test_what_dials_add_is_a_part_of_the_score_and_is_said(blended, histories):
    options = {"boosts": [Boost(OLD, 2.0), Boost(COMEDY, -1.0)], "objective": Objective("margin", 0.5)}
    for history in [histories[0], []]:
        answer = blended.recommend(
            history, k=80, exclude_seen=False, explain=True, fields=["year", "genres", "margin"], **options
        )
        said = set()
        for item in answer.items:
            parts = {one.name: one for one in item.explanation.components}
            assert sum(one.score for one in parts.values()) == pytest.approx(item.score, rel=1e-4, abs=1e-4)
            summed = item.explanation.baseline + item.explanation.other_history
            summed += sum(one.score for one in item.explanation.history)
            assert summed == pytest.approx(item.score, rel=1e-4, abs=1e-4)
            unit = blended.scoring.unit if history else blended.scoring.unit_of_counts
            expected = unit * (2.0 * (item.fields["year"] < 1975) - ("Comedy" in item.fields["genres"]))
            found = parts["boosts"].score if "boosts" in parts else 0.0
            assert found == pytest.approx(expected, rel=1e-4)
            for reason in item.explanation.reasons:
                said.add((reason.code, reason.what))
            hidden, told = without_history(item.explanation)
            assert [one for one in told.reasons if one.what] == [one for one in item.explanation.reasons if one.what]
            assert ("boosted by the shop: year below 1975" in hidden) == (expected > 0)
            assert ("favoured by the shop for its margin" in item.reasons) == (
                "objective" in parts and parts["objective"].score > 0
            )
        assert {("boosted", "year below 1975"), ("buried", "genres contains Comedy"), ("favoured", "margin")} <= said


def test_where_people_alike_are_known_a_unit_is_a_deviation_of_what_they_choose(blended):
    everybody = np.log1p(blended.scoring.system.popularity.counts)
    alike = Alike(everybody, {"segment.age": np.linspace(0, 1, len(everybody), dtype=np.float32)}, {}, [], {})
    adjusted = Adjustments(Dials.of(blended.catalogue, [Boost(OLD, 1.0)], None))
    rows = np.arange(len(everybody))
    plain, boosted = (
        UserRanking(blended.catalogue, blended.scoring, blended.words, 80, alike=alike, adjusted=one).scores(rows)
        for one in (Adjustments(), adjusted)
    )
    expected = plain.std() * blended.catalogue.matching(OLD)
    np.testing.assert_allclose(boosted - plain, expected, rtol=1e-4, atol=1e-5)


def test_dials_obey_what_a_list_must_obey(blended, histories):
    history = histories[1]
    boosts = [Boost(OLD, 3.0)]
    plain = ids(blended.recommend(history, k=3, boosts=boosts))
    answer = blended.recommend(
        history, k=30, boosts=boosts, exclude_ids=plain[:1], filter={"field": "year", "lt": 1985}, fields=["year"]
    )
    assert not {plain[0], *history} & set(ids(answer))
    assert all(item.fields["year"] < 1985 for item in answer.items)
    pages = [blended.recommend(history, k=5, offset=start, boosts=boosts) for start in range(0, 30, 5)]
    found = [item for page in pages for item in ids(page)]
    assert found == ids(blended.recommend(history, k=30, boosts=boosts))
    many = blended.recommend_many([history, [], histories[2]], ListRequest(k=12, boosts=boosts, diversity=0.4))
    for one, alone in zip(many, (history, [], histories[2]), strict=True):
        assert ids(one) == ids(blended.recommend(alone, k=12, boosts=boosts, diversity=0.4))


def test_levelled_dials_move_no_single_item(blended, histories):
    history = histories[0]
    plain = blended.recommend(history, k=20)
    third = plain.items[2].item_id
    only = [Boost({"field": "title", "eq": blended.catalogue.titles[blended.catalogue.row(third)]}, 3.0)]
    assert ids(blended.recommend(history, k=20, boosts=only))[0] == third
    assert ids(blended.recommend(history, k=20, boosts=only, least_alike=10)) == ids(plain)


@pytest.fixture(scope="module")
def with_new_items(blended):
    """The same where nobody has ever used every fourth item."""
    counts = blended.scoring.system.popularity.counts.copy()
    counts[::4] = 0
    system = replace(blended.scoring.system, popularity=Popularity(counts))
    return Recommender.of(blended.manifest, system, blended.scoring.source, blended.catalogue.items, blended.users)


def new_ids(recommender):
    counts = recommender.scoring.system.popularity.counts
    return {item for item, count in zip(recommender.catalogue.ids, counts, strict=True) if count < EVENTS}


def test_new_items_that_suit_get_the_places_kept_for_them(with_new_items, histories, monkeypatch):
    monkeypatch.setattr(user_ranking, "FITS", 0.3)  # of 80 items few are nearer
    new, found = new_ids(with_new_items), 0
    for history in histories:
        plain = with_new_items.recommend(history, k=10)
        wish = NewItems(slots=2)
        answer = with_new_items.recommend(history, k=10, new_items=wish, explain=True)
        places = [place for place, item in enumerate(answer.items, 1) if item.new]
        assert set(places) <= {3, 8}
        found += len(places)
        added = [item for item in answer.items if item.new]
        assert {item.item_id for item in added} <= new - set(history) - set(ids(plain))
        assert [one for one in ids(answer) if one not in {item.item_id for item in added}] == ids(plain)[
            : 10 - len(added)
        ]
        for item in added:
            (why,) = [reason for reason in item.explanation.reasons if reason.code == "new"]
            assert why.item_id in history
            assert f"new, and near to {why.title} that you liked" in item.reasons
            hidden, _ = without_history(item.explanation)
            assert "new, and near to an earlier choice that you liked" in hidden
        pages = [with_new_items.recommend(history, k=10, offset=start, new_items=wish) for start in (0, 10, 20)]
        everything = [item for page in pages for item in ids(page)]
        assert len(set(everything)) == len(everything)
        assert not any(item.new for page in pages[1:] for item in page.items)
        promoted = with_new_items.recommend(history, k=10, new_items=wish, promotions=[Promotion(ids(plain)[0], 3)])
        assert [place for place, item in enumerate(promoted.items, 1) if item.new] in ([], [8])
        assert promoted.items[2].promoted
        spent = NewItems(slots=2, exposures={item.item_id: Exposure(100, 0) for item in added})
        after = with_new_items.recommend(history, k=10, new_items=spent)
        assert not {item.item_id for item in added} & {item.item_id for item in after.items if item.new}
    assert found > 10
    monkeypatch.setattr(user_ranking, "FITS", 50.0)
    assert with_new_items.recommend(histories[0], k=10, new_items=NewItems(slots=5)) == with_new_items.recommend(
        histories[0], k=10
    )


def test_strength_moves_new_items_up_by_a_part_of_their_score(with_new_items, histories, monkeypatch):
    monkeypatch.setattr(module, "CANDIDATES", 20)
    new = new_ids(with_new_items)
    for history in histories[:6]:
        plain = with_new_items.recommend(history, k=10)
        assert with_new_items.recommend(history, k=10, new_items=NewItems()) == plain
        shares = []
        for strength in (0.5, 1.5, 3.0):
            wish = NewItems(strength=strength)
            answer = with_new_items.recommend(history, k=10, new_items=wish)
            whole = with_new_items.recommend(history, k=80, new_items=wish, explain=True)
            assert ids(answer)[:8] == ids(whole)[:8]
            shares.append(len(new & set(ids(answer))))
            for item in whole.items:
                parts = {one.name: one.score for one in item.explanation.components}
                assert sum(parts.values()) == pytest.approx(item.score, rel=1e-4, abs=1e-4)
                assert 0 <= parts.get("exploration", 0.0) <= strength * with_new_items.scoring.unit * 1.0001
                assert item.item_id in new or "exploration" not in parts
        assert shares == sorted(shares)
        spent = NewItems(strength=3.0, exposures={item: Exposure(100, 0) for item in new})
        assert with_new_items.recommend(history, k=10, new_items=spent) == plain
    wish = ListRequest(k=10, new_items=NewItems(strength=3.0, slots=3))
    assert with_new_items.recommend_many([[]], wish) == with_new_items.recommend_many([[]], ListRequest(k=10))
