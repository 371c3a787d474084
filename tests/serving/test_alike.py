"""Who has done little is offered what people alike choose; nobody else's list changes."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import people, situations
from variants import describe_users

from recsys.data.sequences import Sequences
from recsys.data.snapshot import open_snapshot
from recsys.errors import RequestError
from recsys.home import Home
from recsys.serving.alike import LONGEST, WEIGHT, weight
from recsys.serving.answers import ListRequest
from recsys.serving.behaviour import DAY, Behaviour
from recsys.serving.explanation import without_history
from recsys.serving.live_attributes import FieldError
from recsys.serving.page import AskedRow, arrange
from recsys.serving.recipes.chance import growth
from recsys.serving.recipes.for_you import ForYou
from recsys.serving.recipes.new_arrivals import NewArrivals
from recsys.serving.recipes.popular import Popular
from recsys.serving.recipes.trending import Trending
from recsys.serving.recommender import Recommender


@pytest.fixture(scope="module")
def plain(home: Home) -> Recommender:
    return Recommender.open(home)


@pytest.fixture(scope="module")
def recommender(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """The same generation of a snapshot whose users have attributes."""
    ignored = shutil.ignore_patterns("prefect", "runs", "cache")
    copied = Home(Path(shutil.copytree(home.root, tmp_path_factory.mktemp("described") / "home", ignore=ignored)))
    happened = situations(open_snapshot(home, Recommender.open(home).snapshot_id).events())
    return Recommender.open(copied, describe_users(copied, people(), happened))


def _known(recommender: Recommender, user_id: str) -> dict:
    assert recommender.users.audience is not None
    return recommender.users.audience.attributes(user_id)


def test_who_has_done_nothing_is_offered_what_people_alike_choose(recommender, plain):
    for genre, user in (("Western", "new0"), ("Horror", "new2")):
        attributes = _known(recommender, user)
        assert attributes["taste"] == genre
        answer = recommender.recommend([], attributes, k=10, explain=True, fields=("genres",))
        assert answer.fallback == "segment"
        genres = [item.fields["genres"][0] for item in answer.items]
        everybody = plain.recommend([], k=10, fields=("genres",)).items
        assert genres.count(genre) >= 9 > [item.fields["genres"][0] for item in everybody].count(genre)
        best = answer.items[0]
        assert best.reasons[0] == f"popular among people of taste {genre}"
        assert {one.name for one in best.explanation.components} == {"popularity", "segment.taste"}
        for item in answer.items:
            assert sum(one.score for one in item.explanation.components) == pytest.approx(item.score, abs=1e-4)
            assert item.explanation.baseline == pytest.approx(item.score, abs=1e-4)


def test_nothing_changes_for_whom_nothing_is_known_or_much(recommender, plain):
    assert recommender.recommend([], k=20).items == plain.recommend([], k=20).items
    assert recommender.recommend([], k=20).fallback == "popular"
    history = plain.history("u001")
    assert len(history) >= LONGEST
    longer = [*history, *plain.history("u005")][: LONGEST + 1]
    told = recommender.recommend(longer, _known(recommender, "u001"), k=20, explain=True)
    assert told.items == plain.recommend(longer, k=20, explain=True).items
    assert plain.recommend([], _known(recommender, "new0"), k=20).items == plain.recommend([], k=20).items


def test_beside_a_short_history_it_counts_less_with_every_event(recommender, plain):
    history, attributes = plain.history("u002")[:3], _known(recommender, "u001")
    told = recommender.recommend(history, attributes, k=20, explain=True)
    assert told.fallback is None
    before = {item.item_id: item.score for item in plain.rank(history, plain.catalogue.ids).items}
    for item in told.items:
        parts = {one.name: one.score for one in item.explanation.components}
        assert parts["segment.taste"] == pytest.approx(item.score - before[item.item_id], abs=1e-3)
        assert sum(parts.values()) == pytest.approx(item.score, abs=1e-3)
    assert WEIGHT >= weight(1) > weight(2) > weight(LONGEST) > weight(LONGEST + 1) == 0
    assert weight(0) == 1


def test_given_items_have_the_scores_of_the_list(recommender):
    for history in ([], recommender.history("u003")[:2]):
        attributes = _known(recommender, "new3")
        listed = recommender.recommend(history, attributes, k=15)
        ids = [item.item_id for item in listed.items]
        ranked = recommender.rank(history, ids[::-1], attributes=attributes)
        assert [(item.item_id, item.score) for item in ranked.items] == [
            (item.item_id, item.score) for item in listed.items
        ]
        assert ranked.fallback == listed.fallback


def test_filters_and_pages_hold_for_people_alike(recommender):
    attributes = _known(recommender, "new1")
    whole = recommender.recommend([], attributes, k=20)
    pages = [recommender.recommend([], attributes, k=10, offset=start).items for start in (0, 10)]
    assert [item.item_id for page in pages for item in page] == [item.item_id for item in whole.items]
    filtered = recommender.recommend([], attributes, k=5, filter={"field": "genres", "contains": "Western"})
    assert len(filtered.items) == 5
    assert filtered.fallback == "segment"


def test_a_value_that_nobody_has_learnt_from_is_said(recommender, plain):
    told = recommender.recommend([], {"taste": "Opera", "town": "Graz"}, k=5)
    assert told.unused_attributes == ["taste"]  # the town says nothing about anybody, whatever it is
    assert told.fallback == "popular"
    assert told.items == plain.recommend([], k=5).items
    assert recommender.recommend([], {"taste": 7}, k=5).unused_attributes == ["taste"]


def test_an_attribute_is_not_told_to_who_may_not_read_histories(recommender):
    answer = recommender.recommend([], _known(recommender, "new0"), k=1, explain=True)
    sentences, parts = without_history(answer.items[0].explanation)
    assert sentences[0] == "popular among people of the same kind"
    assert not any("Western" in str(one) for one in (sentences, parts))
    assert sum(one.score for one in parts.components) == pytest.approx(answer.items[0].score, abs=1e-4)


def test_attributes_from_before_somebody_was_forgotten_are_not_read(recommender):
    audience = recommender.users.audience
    assert audience is not None
    assert audience.attributes("new0", after=0) == {}  # nothing says that they are newer
    assert audience.attributes("nobody") == {}
    assert set(audience.schema) == {"taste", "age", "town"}
    assert set(audience.audience.fields) == {"taste", "context.device"}


def _odd(answer) -> int:
    return sum(int(item.item_id[-1]) % 2 for item in answer.items)


def test_what_is_popular_in_a_situation_moves_every_list(recommender, plain):
    known = plain.history("u001")
    for history in ([], known[:2], [*known, *plain.history("u005")]):
        phone, desk = (recommender.recommend(history, k=20, context={"device": name}) for name in ("phone", "desk"))
        assert _odd(phone) > _odd(plain.recommend(history, k=20)) >= _odd(desk)
        assert phone.fallback == (None if history else "segment")
        assert phone.unused_context == {}
        assert (
            recommender.recommend(history, k=20, context={"device": None}).items == plain.recommend(history, k=20).items
        )
    told = recommender.recommend([], context={"device": "phone"}, k=3, explain=True)
    assert "popular in this situation" in told.items[0].reasons
    for item in told.items:
        parts = {one.name: one.score for one in item.explanation.components}
        assert set(parts) == {"popularity", "context.device"}
        assert sum(parts.values()) == pytest.approx(item.score, abs=1e-4)
    ids = [item.item_id for item in told.items]
    assert [item.item_id for item in recommender.rank([], ids[::-1], context={"device": "phone"}).items] == ids


def test_attributes_and_situation_come_together(recommender):
    both = recommender.recommend([], _known(recommender, "new0"), k=5, context={"device": "phone"}, explain=True)
    names = {one.name for one in both.items[0].explanation.components}
    assert names == {"popularity", "segment.taste", "context.device"}


def test_what_of_a_situation_is_not_used_is_said(recommender, plain):
    told = recommender.recommend([], k=5, context={"device": "fridge", "hour": 20})
    assert told.unused_context == {"device": "fridge", "hour": 20}  # nobody has one; and the hour does not pay
    assert told.items == plain.recommend([], k=5).items
    assert told.fallback == "popular"


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"devise": "phone"}, "there is no such field; did you mean 'device'?"),
        ({"moon": "full"}, "there are device, hour."),
        ({"hour": "late"}, "hour: a whole number"),
        ({"device": 7}, "device: a text"),
    ],
)
def test_what_is_not_declared_is_refused(recommender, context, said):
    with pytest.raises(FieldError, match=re.escape(said)):
        recommender.recommend([], context=context)
    with pytest.raises(FieldError, match=re.escape(said)):
        recommender.rank([], [], context=context)


def test_without_a_declaration_no_context_is_taken(plain):
    with pytest.raises(FieldError, match="declares no context"):
        plain.recommend([], context={"device": "phone"})
    assert plain.recommend([], context={}).fallback == "popular"


def test_new_items_can_stand_in_such_a_list(recommender):
    assert recommender.users.audience is not None
    counts = np.concatenate([recommender.scoring.system.popularity.counts, np.zeros(3, np.float32)])
    segments, _ = recommender.users.audience.audience.known({"taste": "Comedy"})
    assert np.isfinite(recommender.users.audience.audience.scores(segments, counts)).all()


def test_rows_of_a_page_and_new_arrivals_know_it_too(recommender: Recommender) -> None:
    attributes = _known(recommender, "new0")
    page = arrange(recommender, [AskedRow(ForYou(), ListRequest(k=5))], [], attributes=attributes)
    (row,) = page.rows
    alone = recommender.recommend([], attributes, k=5)
    assert (row.answer.items, row.answer.fallback) == (alone.items, "segment")
    history = recommender.history("u001")[:2]
    whole = {one.item_id: one.score for one in recommender.recommend(history, attributes, k=80).items}
    new = recommender.listed(NewArrivals(days=400), history, ListRequest(k=20), attributes=attributes).items
    assert new
    assert all(one.score == whole[one.item_id] for one in new)


def test_popular_among_people_alike_asks_nothing_of_a_history(recommender: Recommender, plain: Recommender) -> None:
    attributes, history = _known(recommender, "new0"), recommender.history("u001")
    assert len(history) >= LONGEST
    seen = recommender.listed(Popular(segment=True), history, ListRequest(k=5, explain=True), attributes=attributes)
    alone = recommender.recommend([], attributes, k=5, explain=True, exclude_ids=history)
    assert (seen.items, seen.fallback) == (alone.items, "segment")
    unknown = plain.listed(Popular(segment=True), [], ListRequest(k=5), attributes=attributes)
    assert (unknown.items, unknown.fallback) == (plain.recommend([], k=5).items, "popular")
    with pytest.raises(RequestError, match="days or segment"):
        Popular(days=7, segment=True)


def test_what_trends_among_people_alike_is_told_apart(recommender: Recommender) -> None:
    """Every day everybody chooses something else. One item comes into fashion with those who like Westerns, as it goes
    out of fashion with all others."""
    assert recommender.users.audience is not None
    western = set(recommender.users.audience.members(_segment(recommender, "Western")).tolist())
    tastes = {row: _known(recommender, user)["taste"] for user, row in recommender.users.rows.items()}
    assert western == {row for row, taste in tastes.items() if taste == "Western"}
    rows = [[(4 + (row + day) % 70, day) for day in range(35)] for row in range(len(tastes))]
    for row in range(len(rows)):
        rows[row].append((3, 34 if row in western else 20))
    histories = Sequences.from_lists([[item for item, _ in row] for row in rows])
    times = np.array([day * DAY for row in rows for _, day in row], dtype=np.int64)
    users = replace(recommender.users, histories=replace(histories, times=times))
    made = replace(recommender, behaviour=Behaviour(users, len(recommender.catalogue)))

    def asked(taste: str, **options: bool):
        attributes = {"taste": taste, "town": "Graz"}
        return made.listed(Trending(**options), [], ListRequest(k=5, explain=True), attributes=attributes)

    own = asked("Western", segment=True)
    people = len(western)  # each chooses another item every day
    bound, likely = growth(np.array([people]), people * 7 + people, np.array([0]), people * 28)
    said = f"up {np.exp(likely[0]):.1f}× in 7 days among people of"
    assert own.items[0].item_id == "i003"
    assert own.items[0].score == pytest.approx(bound[0])
    assert own.items[0].reasons == (f"{said} taste Western: {people} people",)
    everybody = asked("Western")
    for others in (everybody, asked("Horror", segment=True)):
        assert "i003" not in {one.item_id for one in others.items if one.score > 0}
    unknown = asked("Opera", segment=True)
    assert (unknown.items, unknown.unused_attributes) == (everybody.items, ["taste"])
    (hidden,), _ = without_history(own.items[0].explanation)
    assert hidden == f"{said} the same kind: {people} people"


def _segment(recommender: Recommender, taste: str):
    assert recommender.users.audience is not None
    ((segment,), _) = recommender.users.audience.audience.known({"taste": taste})
    return segment
