"""Seen items in answers: what is left out and when, what is due and why, and what of it is told to whom."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from repeating import write_shop
from synthetic import SMALL

from recsys.config import SignalConfig, to_dict
from recsys.data.ingest import ingest
from recsys.data.signals import Signals
from recsys.evaluation.held_out import make_split
from recsys.home import Home
from recsys.ranking.blend import Blend
from recsys.ranking.candidates import NO_PREFETCH, best_rows, exact_products
from recsys.ranking.system import AGAIN
from recsys.selection.catalogue import Catalogue
from recsys.serving.again import due
from recsys.serving.answers import Seen
from recsys.serving.history import History, KnownHistory
from recsys.serving.recommender import Recommender
from recsys.serving.users import SnapshotUsers
from recsys.store.manifests import GenerationManifest, IndexReference
from recsys.training.fit_system import fit_system

DAY = 86_400
TYPED = (SignalConfig("target", "buy"), SignalConfig("positive", "view", weight=0.1), SignalConfig("negative", "hide"))


class InMemory:
    """A candidate source that compares everything."""

    kind = "exact"

    def __init__(self, vectors):
        self.vectors = vectors

    def prefetch(self, queries, count, allowed):
        return exact_products(self.vectors, queries)

    def search(self, query, count, allowed, prefetched=NO_PREFETCH):
        return best_rows(self.vectors, query, count, np.flatnonzero(allowed), prefetched.products)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    return ingest(*map(str, write_shop(folder)), Home(folder / "home"))


@pytest.fixture(scope="module")
def recommender(shop):
    items = shop.items()
    features = np.random.default_rng(1).normal(size=(len(items), 6)).astype(np.float32)
    split = make_split(shop.sequences(), len(items), "temporal", SMALL)
    system = fit_system(split, items["title"].to_list(), features, features, SMALL)
    return answering(system, shop)


def answering(system, shop, config=SMALL):
    vectors = np.concatenate(list(system.dense_vectors().values()), axis=1)
    index = IndexReference("t", 1, len(vectors), vectors.shape[1], "d")
    manifest = GenerationManifest(id="g", snapshot=shop.id, adapter="a", index=index, settings=to_dict(config))
    return Recommender.of(manifest, system, InMemory(vectors), shop.items(), SnapshotUsers.of(shop))


def ids(answer):
    return [item.item_id for item in answer.items]


def test_answers_are_the_evaluated_ranking_with_seen_items_among_them(recommender, shop):
    system, sequences = recommender.scoring.system, shop.sequences()
    assert AGAIN in system.blend.weights
    offered = 0
    for user, user_id in enumerate(shop.user_ids()[:20]):
        history = sequences.take(np.array([user]))
        scores = system.score(history)[0]
        expected = np.lexsort((np.arange(len(scores)), -scores))[:10]
        answer = recommender.recommend(recommender.past(user_id), k=10)
        np.testing.assert_allclose([item.score for item in answer.items], scores[expected], rtol=1e-3, atol=1e-3)
        offered += len(set(ids(answer)) & set(recommender.history(user_id)))
        assert set(ids(recommender.recommend(recommender.past(user_id), k=10, exclude_seen=True))).isdisjoint(
            recommender.history(user_id)
        )
    assert offered > 60


@pytest.fixture(scope="module")
def loud(recommender, shop):
    """The same with little else than what is due in its blend."""
    blend = Blend(recommender.scoring.weights | {AGAIN: 30.0}, recommender.scoring.system.blend.powers)
    return answering(replace(recommender.scoring.system, blend=blend), shop)


def test_what_was_just_bought_goes_down_and_comes_back_when_it_is_due(loud):
    monthly, weekly = "i003", "i007"
    days = sorted([(day, monthly) for day in (0, 30, 60)] + [(day, weekly) for day in range(0, 57, 7)])
    bought = History([one for _, one in days], [day * DAY * 1_000_000 for day, _ in days], *[[None] * len(days)] * 2)
    for day, first, then in ((62, weekly, monthly), (90, monthly, weekly)):
        assert ids(loud.recommend(bought, k=1, now=day * DAY)) == [first]
        assert ids(loud.rank(bought, [weekly, monthly], now=day * DAY)) == [first, then]
        known, _ = KnownHistory.of(bought, loud.catalogue)
        found = due(loud.scoring.system.again, loud.catalogue, known, day * DAY)
        assert [loud.catalogue.ids[row] for row in found.rows] == [first, then]
        assert (np.diff(found.scores) < 0).all()
        assert {one.item_id: one.ago_days for one in found.reasons} == {monthly: day - 60, weekly: day - 56}


def test_reasons_say_how_often_and_how_long_ago_and_only_to_whom_they_may(loud, shop):
    told = 0
    for user_id in shop.user_ids()[:10]:
        history = loud.past(user_id)
        now = max(history.times) // 1_000_000 + 3 * DAY
        answer = loud.recommend(history, k=5, explain=True, now=now)
        for item in answer.items:
            parts = {one.name: one.score for one in item.explanation.components}
            assert sum(parts.values()) == pytest.approx(item.score, rel=1e-4)
            hidden = item.without_history()
            assert AGAIN not in {one.name for one in hidden.explanation.components}
            assert sum(one.score for one in hidden.explanation.components) == pytest.approx(item.score, rel=1e-4)
            assert AGAIN not in {one.code for one in hidden.explanation.reasons}
            why = [one for one in item.explanation.reasons if one.code == AGAIN]
            if why and why[0].every_days >= 1:
                told += 1
                newest = max(time for one, time in zip(history, history.times, strict=True) if one == item.item_id)
                ago = (now - newest // 1_000_000) / DAY
                assert why[0].ago_days == pytest.approx(ago, abs=0.1)
                sentence = f"you come back to this about every {round(why[0].every_days)} days"
                assert f"{sentence}; last {round(why[0].ago_days)} days ago" in item.reasons
    assert told > 10


EVENT = st.tuples(
    st.sampled_from(["i000", "i001", "i002", "i003"]),
    st.none() | st.integers(0, 100 * DAY),
    st.sampled_from([None, "buy", "view", "hide"]),
)
FORMS = st.sampled_from([True, False, None]) | st.builds(
    Seen,
    st.none() | st.integers(1, 60),
    st.none() | st.lists(st.sampled_from(["buy", "view", "none"]), min_size=1).map(tuple),
)


@given(st.lists(EVENT, max_size=8), FORMS, st.booleans(), st.booleans(), st.none() | st.just(100 * DAY))
def test_what_is_left_out_is_what_one_would_leave_out_by_hand(shop, events, form, repeats, typed, now):
    catalogue = Catalogue(shop.items())
    history = History(
        [one for one, _, _ in events],
        [None if time is None else time * 1_000_000 for _, time, _ in events],
        [kind for _, _, kind in events],
        [None] * len(events),
    )
    known, _ = KnownHistory.of(history, catalogue, Signals(TYPED) if typed else None)
    newest = {}
    for place, (one, _, kind) in enumerate(events):
        if typed:
            newest.setdefault(one, []).append((place, "hide" if kind == "hide" else "use"))
    disliked = {one for one, uses in newest.items() if uses[-1][1] == "hide"}
    asked = now if now is not None else max((time for _, time, _ in events if time is not None), default=0)
    expected = set(disliked)
    for one, time, kind in events:
        if form is None:
            leaves = not repeats and not (typed and kind in ("view", "hide"))
        elif isinstance(form, bool):
            leaves = form
        else:
            late = form.days is None or time is None or time >= asked - form.days * DAY
            leaves = late and (form.event_types is None or kind in form.event_types)
        expected |= {one} if leaves else set()
    found = {catalogue.ids[row] for row in known.left_out(form, repeats, now)}
    assert found == expected


def test_a_wrong_form_is_told(recommender):
    with pytest.raises(ValueError, match=r"exclude_seen is .*write it as"):
        Seen.of({"dayz": 3})
    with pytest.raises(ValueError, match="event_types"):
        Seen.of({"event_types": "purchase"})
    assert Seen.of({"days": 3}) == Seen(3)
