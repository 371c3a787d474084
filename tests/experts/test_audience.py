"""Conditional popularity: its formula, which fields it uses, and what it makes of values that nobody knows."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.experts.audience import UNSEEN, Audience, Conditional, fit_audience
from recsys.experts.segments import LEAST_USERS, MOST_BINS, Codes, Field, read_field

ITEMS = 40


def _read(name: str, rows: list, users: NDArray | None = None) -> Codes | None:
    values = list(dict.fromkeys(rows))
    places = np.array([values.index(row) for row in rows])
    return read_field(name, values, places, np.arange(len(rows)) if users is None else users)


@pytest.fixture(scope="module")
def world() -> tuple[NDArray, NDArray, dict[str, list]]:
    """Two hundred users with twenty events each: the old like the first half of the items; the colour says nothing."""
    random = np.random.default_rng(5)
    ages = random.integers(18, 80, 200)
    colours = random.choice(["red", "green", "blue"], 200)
    liked = np.where(np.arange(ITEMS) < ITEMS // 2, 3.0, 1.0)
    events = [random.choice(ITEMS, 20, p=(taste := liked if age >= 50 else liked[::-1]) / taste.sum()) for age in ages]
    return np.concatenate(events), np.repeat(np.arange(200), 20), {"age": ages.tolist(), "colour": colours.tolist()}


def _fitted(world: tuple[NDArray, NDArray, dict[str, list]]) -> Audience:
    items, users, attributes = world
    read = [_read(name, rows) for name, rows in attributes.items()]
    codes = [Codes(one.field, one.segments[users]) for one in read if one is not None]
    return fit_audience(items, users, codes, ITEMS)


def test_the_score_is_the_formula() -> None:
    items, users = np.array([0, 0, 1, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    field = Field("sex", ("F", "M"))
    audience = fit_audience(items, users, [Codes(field, np.array([0, 0, 0, 1, 1, -1], dtype=np.int32))], 3)
    assert audience.fields == {}  # of two users nothing can be held out
    counts = np.array([3.0, 3.0, 0.0])
    assert audience.counts.tolist() == counts.tolist()
    shares = (counts + UNSEEN) / (counts + UNSEEN).sum()
    assert np.allclose(audience.scores([]), np.log(shares * 3))


def test_what_pays_is_used_and_noise_is_not(world: tuple[NDArray, NDArray, dict[str, list]]) -> None:
    audience = _fitted(world)
    assert list(audience.fields) == ["age"]
    assert audience.gains["age"][0] > 3 * audience.gains["age"][1]
    segments, unknown = audience.known({"age": 75, "colour": "red", "height": 180})
    assert [one.field for one in segments] == ["age"]
    assert unknown == {"colour": "red", "height": 180}
    best = np.argsort(-audience.scores(segments))[:10]
    assert (best < ITEMS // 2).all()
    young, _ = audience.known({"age": 19})
    assert (np.argsort(-audience.scores(young))[:10] >= ITEMS // 2).all()


def test_parts_add_up_and_shrink_towards_nothing(world: tuple[NDArray, NDArray, dict[str, list]]) -> None:
    audience = _fitted(world)
    segments, _ = audience.known({"age": 75})
    (part,) = audience.parts(segments).values()
    assert np.allclose(audience.scores(segments), audience.everybody() + part, rtol=0, atol=1e-12)
    one = audience.fields["age"]
    own = one.counts[segments[0].number].toarray()[0]
    shares = (audience.counts + UNSEEN) / (audience.counts + UNSEEN).sum()
    wanted = np.log((own + one.shrinkage * shares) / (own.sum() + one.shrinkage) / shares)
    assert np.allclose(part, wanted)
    shrunk = Conditional(one.field, one.counts, one.totals, 1e12)
    assert np.abs(shrunk.log_ratios(0, shares)).max() < 1e-6
    # it stays a distribution: what is likelier somewhere is unlikelier elsewhere
    assert math.isclose(float((shares * np.exp(part)).sum()), 1.0, rel_tol=1e-9)


def test_new_items_stand_behind_and_can_be_scored(world: tuple[NDArray, NDArray, dict[str, list]]) -> None:
    audience = _fitted(world)
    segments, _ = audience.known({"age": 75})
    scores = audience.scores(segments, np.concatenate([audience.counts, np.zeros(2)]))
    assert len(scores) == ITEMS + 2
    assert np.isfinite(scores).all()
    assert scores[-1] == scores[-2] < scores[:-2].min()


def test_the_same_events_choose_the_same(world: tuple[NDArray, NDArray, dict[str, list]]) -> None:
    first, second = _fitted(world), _fitted(world)
    assert first.gains == second.gains
    assert first.fields["age"].shrinkage == second.fields["age"].shrinkage


def test_numbers_are_parted_at_their_quantiles() -> None:
    read = _read("age", [18.0 + n % 50 for n in range(400)])
    assert read is not None
    sizes = np.bincount(read.segments)
    assert len(sizes) == MOST_BINS == len(read.field.labels)
    assert sizes.max() < 2 * sizes.min()
    assert read.field.labels[0] == "18–23"
    assert [read.field.segment(value) for value in (3, 18, 500, 67.5)] == [0, 0, MOST_BINS - 1, MOST_BINS - 1]
    assert [read.field.segment(value) for value in ("18", True, None, math.nan, [1])] == [None] * 5
    few = _read("stars", [1, 2, 3, 3] * 10)
    assert few is not None
    assert few.field.labels == ("1", "2", "3")


def test_flags_and_texts_are_segments_unless_few_have_them() -> None:
    flags = _read("pays", [True, False, None] * 10)
    assert flags is not None
    assert flags.field.labels == ("false", "true")
    assert (flags.field.segment(True), flags.field.segment(None)) == (1, None)
    towns = _read("town", ["a"] * 10 + ["b"] * LEAST_USERS + ["c"] * (LEAST_USERS - 1))
    assert towns is not None
    assert towns.field.labels == ("a", "b")
    assert towns.segments.tolist() == [0] * 10 + [1] * LEAST_USERS + [-1] * (LEAST_USERS - 1)
    assert towns.field.segment("c") is None
    assert _read("town", ["a"] * 20) is None
    assert _read("nothing", [None] * 20) is None
    one_man = np.array([0] * 30 + list(range(1, 11)))  # many events of one user are one user
    assert _read("device", ["phone"] * 30 + ["desk"] * 10, one_man) is None


def test_what_makes_events_hardly_likelier_is_left_out(
    world: tuple[NDArray, NDArray, dict[str, list]], monkeypatch: pytest.MonkeyPatch
) -> None:
    gain, _ = _fitted(world).gains["age"]
    monkeypatch.setattr("recsys.experts.audience.LEAST_GAIN", gain + 1e-6)
    assert _fitted(world).fields == {}
    monkeypatch.setattr("recsys.experts.audience.LEAST_GAIN", gain - 1e-6)
    assert list(_fitted(world).fields) == ["age"]
