"""Every named list obeys what all lists have in common, and each holds what it says."""

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from recsys.config import SignalConfig
from recsys.data.sequences import Sequences
from recsys.data.signals import Signals
from recsys.errors import ColumnError, UntimedError
from recsys.selection.catalogue import Catalogue
from recsys.selection.selection import LimitError, Promotion
from recsys.serving.answers import FILLED, POPULAR, ListRequest
from recsys.serving.behaviour import DAY, Behaviour
from recsys.serving.history import History
from recsys.serving.recipes.because_you_liked import BecauseYouLiked
from recsys.serving.recipes.bought_together import BoughtTogether
from recsys.serving.recipes.buy_again import BuyAgain
from recsys.serving.recipes.chance import growth, lift
from recsys.serving.recipes.new_arrivals import NewArrivals
from recsys.serving.recipes.popular import Popular
from recsys.serving.recipes.recently_viewed import RecentlyViewed
from recsys.serving.recipes.trending import Trending
from recsys.serving.recommender import Recommender
from recsys.serving.similar_users import similar_users
from recsys.serving.users import SnapshotUsers

RECIPES = [
    BecauseYouLiked(),
    BecauseYouLiked("i003", by="text"),
    BoughtTogether(["i003", "i012"], days=90),
    BuyAgain(),
    NewArrivals(days=400),
    NewArrivals(days=20_000, column="year"),
    Popular(),
    Popular(days=30),
    RecentlyViewed(),
    Trending(days=30),
]


@pytest.fixture(scope="module")
def opened(home):
    return Recommender.open(home)


@pytest.fixture(scope="module")
def histories(opened):
    return [opened.history(user_id) for user_id in list(opened.users.rows)[:6]]


@pytest.fixture(params=RECIPES, ids=str)
def recipe(request):
    return request.param


@pytest.fixture
def listed(recipe, opened):
    """Asks for one of the lists."""

    def ask(history=(), **options):
        return opened.listed(recipe, history, ListRequest(**options))

    return ask


def ids(answer):
    return [item.item_id for item in answer.items]


def test_it_is_the_same_whenever_it_is_asked_for(listed, histories):
    for history in (histories[0], []):
        one, other = listed(history, k=20, explain=True), listed(history, k=20, explain=True)
        assert one == other
        assert len(set(ids(one))) == len(one.items)
        scores = [item.score for item in one.items]
        assert scores == sorted(scores, reverse=True)


def test_what_is_filtered_out_excluded_or_seen_is_not_in_it(recipe, listed, histories):
    comedy = {"field": "genres", "contains": "Comedy"}
    for history in (*histories, []):
        found = listed(history, k=80, filter=comedy, fields=["genres"])
        assert all(item.fields["genres"] == ["Comedy"] for item in found.items)
        assert recipe.lists_seen or not set(ids(found)) & set(history)
        assert not set(ids(found)) & set(recipe.item_ids)
        if found.items and not recipe.lists_seen:
            seen = listed([*history, ids(found)[0]], k=80, filter=comedy)
            assert ids(found)[0] not in ids(seen)
        left = listed(history, k=80, exclude_ids=[*ids(found), "nothing"])
        assert not set(ids(left)) & set(ids(found))
        assert "nothing" in left.missing_ids


def test_pages_are_parts_of_one_list(listed, histories):
    for history in (histories[0], []):
        for options in ({}, {"diversity": 0.5}, {"promotions": [Promotion("i071", 2)]}):
            whole = ids(listed(history, k=24, **options))
            pages = [ids(listed(history, k=6, offset=start, **options)) for start in range(0, 24, 6)]
            assert [item for page in pages for item in page] == whole


def test_promotions_and_limits_hold(listed, histories):
    history = histories[1]
    wanted = [Promotion("i007", 1), Promotion("i070", 3)]
    answer = listed(history, k=5, promotions=wanted, limits={"genres": 2}, fields=["genres"], explain=True)
    assert [item.item_id for item in answer.items if item.promoted] == ["i007", "i070"]
    assert ids(answer)[0] == "i007"
    assert max(Counter(item.fields["genres"][0] for item in answer.items).values()) <= 2
    with pytest.raises(LimitError):
        listed(history, limits={"colour": 1})
    with pytest.raises(KeyError):
        listed(history, fields=["colour"])


def test_parts_add_up_to_the_score_and_reasons_are_whole_sentences(listed, histories):
    for item in [*listed(histories[2], k=30, explain=True).items, *listed(k=30, explain=True).items]:
        parts = item.explanation
        assert sum(one.score for one in parts.components) == pytest.approx(item.score, abs=1e-4)
        for whole, one in [(item.score, parts), *((one.score, one) for one in parts.components)]:
            shares = one.baseline + one.other_history + sum(part.score for part in one.history)
            assert shares == pytest.approx(whole, abs=1e-4)
        assert not any("{" in reason for reason in item.reasons)
        hidden = item.without_history()
        assert not hidden.explanation.history
        assert all(reason.title is None for reason in hidden.explanation.reasons)


def test_popular_counts_people(opened):
    histories, items = opened.users.histories, opened.catalogue.ids
    people = Counter(items[item] for row in range(len(histories)) for item in set(histories.row(row).tolist()))
    answer = opened.listed(Popular(), [], ListRequest(k=80, explain=True))
    assert {item.item_id: item.score for item in answer.items if item.score} == people
    assert answer.items[0].reasons == (f"chosen by {int(answer.items[0].score)} people",)
    since = opened.behaviour.last - 20 * DAY
    late = Counter(items[item] for item, time in zip(histories.items, histories.times, strict=True) if time > since)
    found = opened.listed(Popular(days=20), [], ListRequest(k=80))
    assert {item.item_id: item.score for item in found.items if item.score} == late


def behaviour_of(rows, items):
    """Return the behaviour of users, each a list of (item, day)."""
    histories = Sequences.from_lists([[item for item, _ in row] for row in rows])
    times = np.array([int(day * DAY) for row in rows for _, day in row], dtype=np.int64)
    return Behaviour(users_of(replace(histories, times=times)), items)


def users_of(histories, **told):
    return SnapshotUsers({}, histories, [], **told)


def test_a_day_is_nothing_against_a_window_of_the_same_events(opened):
    flat = [[(item, day)] for day in range(35) for item in range(3) for _ in range(3)]
    rising = [[(3, 34.5)] for _ in range(12)]
    binge = [[(4, 34 + minute / 1440) for minute in range(60)]]
    lucky = [[(5, 34.2)], [(5, 34.3)]]
    made = replace(opened, behaviour=behaviour_of([*flat, *rising, *binge, *lucky], len(opened.catalogue)))
    answer = made.listed(Trending(days=7), [], ListRequest(k=6, explain=True))
    assert ids(answer)[0] == "i003"
    assert answer.items[0].score > 0
    assert all(item.score <= 0 for item in answer.items[1:])  # one person, two people, and what is as ever
    assert answer.fallback == FILLED
    assert made.listed(Trending(days=7), [], ListRequest(k=1)).fallback is None
    (said,) = answer.items[0].reasons
    assert said.startswith("up ")
    assert said.endswith("× in 7 days: 12 people")


def test_a_bound_of_growth_rises_with_what_is_seen():
    counts = np.array([2.0, 20.0, 200.0])
    bound, likely = growth(counts, 1_000.0, counts / 2, 1_000.0)
    assert (np.diff(bound) > 0).all()
    assert (np.diff(likely) > 0).all()
    assert bound[0] < 0 < bound[2]
    assert (likely < np.log(2)).all()
    least, mean = lift(np.array([1.0, 10.0, 100.0]), np.array([0.1, 1.0, 10.0]))
    assert (np.diff(least) > 0).all()
    assert (least < mean).all()
    assert (mean < np.log(10)).all()


def test_without_times_there_is_no_window(opened):
    untimed = Behaviour(users_of(replace(opened.users.histories, times=None)), len(opened.catalogue))
    made = replace(opened, behaviour=untimed)
    assert ids(made.listed(Popular(), [], ListRequest())) == ids(opened.listed(Popular(), [], ListRequest()))
    for recipe in (Popular(days=7), Trending()):
        with pytest.raises(UntimedError, match="no known times"):
            made.listed(recipe, [], ListRequest())
    assert len(untimed.baskets(1)) == len(untimed.users.histories)


def test_baskets_end_where_a_user_pauses():
    made = behaviour_of([[(0, 0), (1, 0.5), (2, 2)], [(0, 0), (0, 0.1)]], 3)
    assert made.baskets(1).by_basket.toarray().tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert made.baskets(1).holding(0).tolist() == [2, 1, 0]
    assert made.baskets(2).by_basket.toarray().tolist() == [[1, 1, 1], [1, 0, 0]]
    assert made.together(0).tolist() == [2, 1, 1]


def test_the_newest_come_first_for_whoever_is_not_known(opened):
    answer = opened.listed(NewArrivals(days=4_000), [], ListRequest(k=80, explain=True))
    first = dict(zip(opened.catalogue.ids, opened.behaviour.first_events, strict=True))
    times = [first[item_id] for item_id in ids(answer)]
    assert times == sorted(times, reverse=True)
    assert len(times) == np.isfinite(list(first.values())).sum()
    age = (opened.behaviour.last - times[3]) / DAY
    assert answer.items[3].score == pytest.approx(-age, abs=1e-3)
    day = datetime.fromtimestamp(times[0], UTC).date()
    assert answer.items[0].reasons == (f"new since {day}",)
    fewer = opened.listed(NewArrivals(days=10), [], ListRequest(k=80))
    assert ids(fewer) == [item for item in ids(answer) if first[item] > opened.behaviour.last - 10 * DAY]


def test_a_column_says_when_items_came(opened):
    year = dict(opened.catalogue.items.select("item_id", "year").iter_rows())
    answer = opened.listed(NewArrivals(days=3_660, column="year"), [], ListRequest(k=80))
    assert answer.items
    years = [year[item] for item in ids(answer)]
    assert years == sorted(years, reverse=True)
    assert set(ids(answer)) == {item for item in year if year[item] >= 2015}
    for column, said in (("colour", "no item column 'colour'"), ("genres", "holds neither dates")):
        with pytest.raises(ColumnError, match=said):
            opened.listed(NewArrivals(column=column), [], ListRequest())
    dated = opened.catalogue.items.with_columns(updated_at=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)))
    untimed = Behaviour(users_of(replace(opened.users.histories, times=None)), len(opened.catalogue))
    made = replace(opened, catalogue=Catalogue(dated), behaviour=untimed)
    assert len(made.listed(NewArrivals(), [], ListRequest(k=80)).items) == 80
    with pytest.raises(UntimedError, match="none of them is new"):
        replace(opened, behaviour=untimed).listed(NewArrivals(), [], ListRequest())


def test_new_items_are_ranked_for_whoever_is_known(opened, histories):
    answer = opened.listed(NewArrivals(days=110), histories[0], ListRequest(k=80, explain=True))
    own = opened.recommend(histories[0], k=80)
    new = set(ids(answer))
    assert ids(answer) == [item for item in ids(own) if item in new]
    assert [item.score for item in answer.items] == [item.score for item in own.items if item.item_id in new]
    assert all(item.reasons[0].startswith("new since ") for item in answer.items)
    assert len(answer.items[0].reasons) > 1


def test_what_was_viewed_last_stands_first(opened, histories):
    history = [*histories[0], histories[0][2]]
    answer = opened.listed(RecentlyViewed(), history, ListRequest(k=3, explain=True))
    assert ids(answer) == [history[-1], history[-2], history[-3]]
    assert [item.score for item in answer.items] == pytest.approx([1, 1 / 2, 1 / 3])
    past = opened.past(next(iter(opened.users.rows)))
    dated = opened.listed(RecentlyViewed(), past, ListRequest(k=1, explain=True))
    assert dated.items[0].reasons == (f"last seen on {datetime.fromtimestamp(past.times[-1] / 1e6, UTC).date()}",)
    assert opened.listed(RecentlyViewed(), [], ListRequest()).items == []


def test_what_is_liked_is_named_and_nobody_gets_what_is_popular(opened, histories):
    heading = BecauseYouLiked().heading(opened, opened.known(histories[0])[0])
    assert heading.item_id in histories[0]
    assert heading.title == f"Because you liked {heading.item_title}"
    chosen = opened.listed(BecauseYouLiked(), histories[0], ListRequest(explain=True))
    given = opened.listed(BecauseYouLiked(heading.item_id), histories[0], ListRequest(explain=True))
    assert chosen == given
    assert all(heading.item_title in reason for item in chosen.items for reason in item.reasons)
    unknown = opened.listed(BecauseYouLiked(), ["nothing"], ListRequest())
    assert unknown.fallback == POPULAR
    assert ids(unknown) == ids(opened.listed(Popular(), [], ListRequest()))


def test_alike_by_text_by_behaviour_and_by_both(opened):
    item, catalogue = "i004", opened.catalogue
    row = catalogue.row(item)
    vectors = opened.scoring.source.vectors[:, opened.scoring.block("content")]
    cosines = vectors @ vectors[row]
    by_text = opened.similar(item, k=79, by="text")
    assert ids(by_text) == [catalogue.ids[one] for one in np.lexsort((np.arange(80), -cosines)) if one != row]
    assert by_text.items[0].score == pytest.approx(np.sort(cosines)[-2])
    chosen = opened.users.histories
    holding = [set(chosen.row(user).tolist()) for user in range(len(chosen))]
    both = [sum({row, other} <= own for own in holding) for other in range(80)]
    counts = [sum(other in own for own in holding) for other in range(80)]
    expected = np.array(counts) * counts[row] / len(holding)
    least, _ = lift(np.array(both, dtype=float), expected, 10.0)
    behaviour = {one.item_id: one.score for one in opened.similar(item, k=79, by="behaviour").items}
    assert behaviour == pytest.approx({catalogue.ids[one]: least[one] for one in range(80) if one != row}, abs=1e-5)
    together = {one.item_id: one.score for one in opened.similar(item, k=79, by="both").items}
    for one in by_text.items:
        assert together[one.item_id] == pytest.approx(behaviour[one.item_id] + 0.5 * one.score, abs=1e-5)
    genre = dict(catalogue.items.select("item_id", "genres").iter_rows())
    nearest = ids(opened.similar(item, k=5, by="behaviour"))
    assert [genre[one] for one in nearest].count(genre[item]) >= 4


@contextmanager
def texts_alike(recommender, rows):
    """Let some items say the same, and all others nothing in common with any."""
    source, before = recommender.scoring.source, recommender.scoring.source.vectors
    block, vectors = recommender.scoring.block("content"), before.copy()
    vectors[:, block] = 0
    vectors[rows, block.start] = 1
    source.vectors = vectors
    try:
        yield
    finally:
        source.vectors = before


def test_what_goes_together_is_not_what_is_looked_at_instead(opened):
    """Phones are bought one at a time, each with a case; who looks at one looks at others of the same words."""
    phones, case, other = [0, 1, 2], 3, 4
    baskets = [[(phone, 2 * number), (case, 2 * number)] for number in range(40) for phone in phones]
    alone = [[(other, 100)] for _ in range(400)]
    pairs = [[(0, 300), (1, 300)] for _ in range(4)]  # now and then two of them
    made = replace(opened, behaviour=behaviour_of([*baskets, *alone, *pairs], len(opened.catalogue)))
    with texts_alike(opened, phones):
        answer = made.listed(BoughtTogether(["i000"]), [], ListRequest(explain=True))
    assert ids(answer) == ["i003"]
    (said,) = answer.items[0].reasons
    assert said.startswith(f"in 40 baskets together with {opened.catalogue.titles[0]}, ")
    with texts_alike(opened, [case, 0]):
        parts = made.listed(BoughtTogether(["i000"]), [], ListRequest(explain=True)).items[0].explanation.components
    assert {one.name: one.score for one in parts} == pytest.approx(
        {"together": answer.items[0].score, "alike": -0.5}, abs=1e-5
    )


def test_what_is_missing_from_a_short_list_does_not_tell(opened):
    few = {"filter": {"field": "item_id", "in": [f"i{item:03}" for item in range(6)]}, "k": 80}
    whole = ids(opened.listed(Popular(), [], ListRequest(**few)))
    assert len(whole) == 6
    assert set(ids(opened.listed(Popular(), whole[:1], ListRequest(**few)))) == set(whole[1:])
    assert set(ids(opened.listed(Popular(), whole[:1], ListRequest(**few, least_offered=10)))) == set(whole)
    many = opened.listed(Popular(), whole[:1], ListRequest(k=80, least_offered=10))
    assert not set(ids(many)) & set(whole[:1])


def test_what_events_mean_is_counted(opened):
    """Bought together is what was bought; what is looked at together and not bought is taken instead."""
    signals = Signals((SignalConfig("target", "buy"), SignalConfig("seen", "look"), SignalConfig("negative", "return")))
    rows = [[(0, "buy"), (1, "buy"), (2, "look")] for _ in range(8)] + [[(0, "look"), (2, "look")] for _ in range(30)]
    rows += [[(3, "buy"), (4, "return")] for _ in range(30)] + [[(0, "buy"), (5, "buy")] for _ in range(8)]
    rows += [[(0, "look"), (5, "look")] for _ in range(30)] + [[(6, "look")] for _ in range(300)]
    histories = Sequences.from_lists([[item for item, _ in row] for row in rows])
    histories = replace(histories, times=np.arange(len(histories.items), dtype=np.int64))
    names = ["buy", "look", "return"]
    types = np.array([names.index(name) for row in rows for _, name in row], dtype=np.int16)
    users = users_of(histories, types=types, type_names=names)
    made = replace(opened, behaviour=Behaviour(users, len(opened.catalogue), signals))
    behaviour = made.behaviour
    assert behaviour.people()[:6].tolist() == [16, 8, 0, 30, 0, 8]
    assert behaviour.baskets(1).holding(0)[:6].tolist() == [16, 8, 0, 0, 0, 8]
    assert behaviour.looks(1).holding(2)[:3].tolist() == [30, 0, 38]
    with texts_alike(opened, []):
        answer = made.listed(BoughtTogether(["i000"]), [], ListRequest())
    assert ids(answer) == ["i001"]  # and not i005, bought as often, but compared with i000 more than combined
    disliked = History(["i007", "i008"], [None, None], ["buy", "return"], [None, None])
    made.__dict__["signals"] = signals
    assert ids(made.listed(RecentlyViewed(), disliked, ListRequest())) == ["i007"]


def test_users_who_chose_the_same_rare_things_are_alike(opened):
    rows = [[0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 5], [0, 6, 7], [8], [1, 2, 8, 9]]
    histories = Sequences.from_lists(rows)
    users = SnapshotUsers({f"u{row}": row for row in range(len(rows))}, histories, opened.catalogue.ids)
    made = replace(opened, users=users, behaviour=Behaviour(users, len(opened.catalogue)))
    asked = made.known([f"i{item:03}" for item in (0, 1, 2, 3)])[0]
    found = similar_users(made, asked, 10, {"u0"})
    assert [one.user_id for one in found] == ["u1", "u5", "u2", "u3"]  # u4 has nothing in common
    weights = {item: np.log(6 / sum(item in row for row in rows)) for item in range(10)}
    dot = sum(weights[item] ** 2 for item in (0, 1, 2, 3))
    cosine = dot / np.sqrt(dot * sum(weights[item] ** 2 for item in rows[1]))
    assert found[0].score == pytest.approx(cosine * 4 / 9)
    assert (found[0].shared, found[0].items) == (4, ("i003", "i001", "i002", "i000"))
    assert similar_users(made, made.known([])[0], 10) == []
    assert len(similar_users(made, asked, 1)) == 1


def test_what_is_due_is_bought_again(opened):
    """Coffee every week, soap every month; who has both from eight days ago needs coffee."""
    weekly = [[(0, day) for day in range(start, 100, 7)] for start in range(7)]
    monthly = [[(1, day) for day in range(start, 100, 30)] for start in range(20)]
    once = [[(2, 50), (item, 60)] for item in range(3, 9)]
    made = replace(opened, behaviour=behaviour_of([*weekly, *monthly, *once], len(opened.catalogue)))
    assert opened.scoring.system.again is None  # so that the snapshot teaches it
    day = 1_000_000 * DAY
    history = History(["i001", "i000", "i002"], [92 * day, 92 * day, 92 * day], [None] * 3, [None] * 3)
    answer = made.listed(BuyAgain(), history, ListRequest(now=100 * DAY, explain=True))
    assert ids(answer)[0] == "i000"
    assert set(ids(answer)) == {"i000", "i001", "i002"}
    assert answer.items[0].reasons == ("you come back to this about every 7 days; last 8 days ago",)
    assert ids(opened.listed(BuyAgain(), history, ListRequest())) == []  # here nobody takes anything twice
