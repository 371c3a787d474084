"""The truth of a world: its formulas, what texts and attributes tell of it, and who may ask."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.artifacts import ArtifactError
from recsys.config import from_dict
from recsys.errors import DataError, SettingError
from recsys.simulation.config import CatalogueConfig, PeopleConfig, SimulationConfig
from recsys.simulation.words import ATTRIBUTES, AXES
from recsys.simulation.world import Context, World
from recsys.simulation.writing import write_world


def small(**settings: object) -> World:
    return World(replace(SimulationConfig(users=400, items=300, events=2_000), **settings))  # type: ignore[arg-type]


def test_preference_is_the_sum_of_its_parts(world: World) -> None:
    users, items = world.users(5, 4), world.items[10:30]
    rows = world.item_rows(items)
    crowd = world.people.some(world.user_rows(users))
    tastes, vectors = crowd.tastes(40.0), world.catalogue.vectors[rows]
    fit = np.sqrt(world.config.dimensions) * tastes @ vectors.T + 0.5 * world.catalogue.quality[rows]
    np.testing.assert_allclose(world.fit(users, items, 40.0), fit, rtol=1e-4, atol=1e-4)
    season = world.catalogue.seasonal(np.array([40.0]))[0][world.catalogue.category[rows]]
    price = crowd.price[:, None] * world.catalogue.price_score[rows]
    np.testing.assert_allclose(world.preference(users, items, 40.0), fit + season - price, rtol=1e-4, atol=1e-4)
    everywhere = [world.preference(users, items, 40.0, Context(device, 9)) for device in ("phone", "desktop")]
    moved = everywhere[0] - everywhere[1]
    assert moved.dtype == np.float32
    assert np.abs(moved).max() > 0.1
    # a device adds to categories, the same for everybody
    np.testing.assert_allclose(moved - moved[0], 0, atol=1e-4)


def test_a_taste_turns_by_the_drift_and_stays_without(world: World) -> None:
    crowd = world.people.some(np.arange(200))
    cosine = (crowd.tastes(0.0) * crowd.tastes(150.0)).sum(axis=1)
    np.testing.assert_allclose(cosine, np.cos(world.config.people.drift * 150 / 365), atol=1e-4)
    still = small(people=PeopleConfig(drift=0.0))
    np.testing.assert_array_equal(still.fit(["u1"], day=0.0), still.fit(["u1"], day=150.0))


@pytest.mark.parametrize(("tells", "low", "high"), [(0.0, -0.05, 0.05), (0.9, 0.5, 1.0)])
def test_people_with_the_same_attributes_are_alike_by_the_dial(tells: float, low: float, high: float) -> None:
    people = small(users=3_000, people=PeopleConfig(attributes_tell=tells)).people
    rows = np.arange(3_000)
    tastes = people.some(rows).first
    groups = np.stack([people.attribute(rows, name) for name in ATTRIBUTES], axis=1)
    alike = [
        float((tastes[chosen] @ tastes[chosen].T)[np.triu_indices(chosen.sum(), 1)].mean())
        for group in np.unique(groups, axis=0)
        if (chosen := (groups == group).all(axis=1)).sum() >= 10
    ]
    assert len(alike) > 20
    assert low < np.mean(alike) < high


@pytest.mark.parametrize(("tells", "low", "high"), [(0.0, -0.1, 0.1), (0.9, 0.4, 1.0)])
def test_words_follow_the_vector_by_the_dial(tells: float, low: float, high: float) -> None:
    world = small(items=2_000, catalogue=CatalogueConfig(text_tells=tells))
    words = world.catalogue.table()["description"].str.split(" ")
    size = world.config.dimensions
    counts = np.zeros((2_000, size))
    for axis in range(size):
        for sign, pole in zip((1, -1), AXES[axis], strict=True):
            counts[:, axis] += (
                sign * words.list.eval(pl.element().is_in(list(pole))).list.sum().cast(pl.Float64).to_numpy()
            )
    correlation = np.corrcoef(counts.ravel(), world.catalogue.vectors.ravel())[0, 1]
    assert low < correlation < high


def test_complements_are_of_other_categories_and_dear_ones_are_bought_less(world: World) -> None:
    for item in world.items[:50]:
        category = world.catalogue.category[world.item_rows([item])[0]]
        others = world.complements(item)
        assert others
        assert category not in world.catalogue.category[world.item_rows(others)]
    chance = world.purchase_probability(["u1"])[0]
    wish = world.preference(["u1"])[0]
    assert (np.diff(chance[np.argsort(wish)]) >= 0).all()
    bought = [world.purchase_probability(world.users(0, 200), day=3.0).mean(axis=0)]
    fits = world.fit(world.users(0, 200), day=3.0).mean(axis=0)
    rest = bought[0] - np.polyval(np.polyfit(fits, bought[0], 2), fits)
    assert np.corrcoef(rest, world.catalogue.price_score)[0, 1] < -0.2


def test_a_part_of_the_categories_is_used_up(world: World) -> None:
    intervals = world.intervals()
    consumable = world.truth()["consumable_categories"]
    names = np.array(world.catalogue.names)[world.catalogue.category]
    assert len(consumable) == 5
    assert (np.isfinite(intervals) == np.isin(names, consumable)).all()
    short, long = world.config.catalogue.interval_days
    assert short <= intervals[np.isfinite(intervals)].min() <= intervals[np.isfinite(intervals)].max() <= long


def test_disliked_is_what_fits_badly(world: World) -> None:
    users = world.users(0, 100)
    disliked = world.disliked(users)
    assert 0.05 < disliked.mean() < 0.25
    assert world.fit(users)[disliked].max() < world.config.behaviour.regret <= world.fit(users)[~disliked].min()


def test_a_written_world_is_found_again(tmp_path: Path) -> None:
    world = small(seed=9)
    write_world(world, tmp_path / "shop")
    again = World.opened(tmp_path / "shop")
    assert again.config == world.config
    np.testing.assert_array_equal(again.preference(["u3", "u4"], day=2.0), world.preference(["u3", "u4"], day=2.0))
    (tmp_path / "shop" / "truth.json").write_text('{"format": 0}')
    with pytest.raises(DataError, match="no truth of format 1"):
        World.opened(tmp_path / "shop")
    with pytest.raises(ArtifactError, match="missing"):
        World.opened(tmp_path)


def test_another_seed_is_another_world() -> None:
    one, other = small(seed=1), small(seed=2)
    assert np.corrcoef(one.fit(["u1"])[0], other.fit(["u1"])[0])[0, 1] < 0.5
    assert not one.catalogue.table()["title"].equals(other.catalogue.table()["title"])


def test_what_is_not_in_a_world_is_told(world: World) -> None:
    for ask, message in (
        (lambda: world.fit(["u1", "u1500"]), "'u1500' is not in this world; its ids go from u0 to u1499"),
        (lambda: world.fit(["u1"], ["i01"]), "'i01' is not in this world; its ids go from i0 to i399"),
        (lambda: world.segment_popularity("height", "tall"), "no such segment. There are age_group, country"),
        (lambda: world.segment_popularity("country", "XX"), "no such segment. There are DE, FR"),
        (lambda: world.preference(["u1"], context=Context("toaster")), "'toaster' is no device"),
    ):
        with pytest.raises(DataError, match=message):
            ask()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"users": 0}, "users is 0; it takes a whole number, at least 1"),
        ({"start": "2024-02-30"}, "start is '2024-02-30', which no calendar has"),
        ({"start": "yesterday"}, 'start is "yesterday"; it takes a date as YYYY-MM-DD'),
        ({"items": 12}, "items is 12 for 20 categories"),
        ({"users": 10, "events": 200_000}, "events is 200,000 for 10 users; at most 10,000 each"),
        ({"dimensions": 99}, "dimensions is 99; it takes a whole number, at least 2 and at most 16"),
        ({"catalogue": {"consumable_share": 0.9}}, "18 that are used up and 2 that last; there are 12 and 24"),
        ({"catalogue": {"interval_days": [9.0, 3.0]}}, "interval_days takes two numbers, the shorter first"),
        ({"behaviour": {"basket": 1.5}}, "behaviour.basket is 1.5; it takes a number, at least 0 and at most 1"),
    ],
)
def test_settings_that_make_no_world_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        from_dict(SimulationConfig, values)
