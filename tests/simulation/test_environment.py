"""People who are shown lists do what the truth says: positions, needs, memory, and the same luck for the same."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.errors import DataError
from recsys.simulation.behaviour import KINDS
from recsys.simulation.config import SimulationConfig
from recsys.simulation.environment import Environment
from recsys.simulation.frames import EVENT_SCHEMA
from recsys.simulation.world import Context, World

DAY = 200


def looks(events: pl.DataFrame) -> set[tuple[str, str]]:
    return set(events.filter(pl.col("event_type") == "view").select("user_id", "item_id").iter_rows())


def some_lists(world: World, length: int, seed: int = 0) -> list[list[str]]:
    random = np.random.default_rng(seed)
    rows = np.argsort(random.random((world.config.users, world.config.items)), axis=1)[:, :length]
    return [[world.items[item] for item in row] for row in rows]


def test_answers_are_events_of_the_contract(world: World) -> None:
    users, lists = world.users(), some_lists(world, 10)
    events = Environment(world).respond(users, lists, DAY)
    assert dict(events.schema) == EVENT_SCHEMA
    assert set(events["event_type"].unique()) == set(KINDS)
    assert not events["event_id"].is_duplicated().any()
    shown = {user: set(items) for user, items in zip(users, lists, strict=True)}
    placed = events.drop_nulls("position")
    assert all(item in shown[user] for user, item in placed.select("user_id", "item_id").iter_rows())
    # a basket's complements were not shown, and later events have no position
    assert set(events.filter(pl.col("position").is_null())["event_type"].unique()) == {"purchase", "rating", "return"}
    assert events.filter(pl.col("event_type") == "view")["timestamp"].dt.date().n_unique() <= 2


def test_the_same_list_in_another_order_is_looked_at_by_the_known_curve(world: World) -> None:
    users, lists = world.users(), some_lists(world, 10)
    turned = [one[::-1] for one in lists]
    there, back = (Environment(world).respond(users, shown, DAY) for shown in (lists, turned))
    total = [
        of.filter(pl.col("event_type") == "view").group_by("position").len().sort("position") for of in (there, back)
    ]
    curve = np.arange(1, 11) ** -world.config.behaviour.position_bias
    for counts in total:
        share = counts["len"].to_numpy() / counts["len"].sum()
        np.testing.assert_allclose(share, curve / curve.sum(), rtol=0.25)
    # luck is the item's: who looks at the last place looks at it in the first place too
    place = {(user, item): number for user, one in zip(users, lists, strict=True) for number, item in enumerate(one)}
    lower_half = {pair for pair in looks(there) if place[pair] >= 5}
    assert len(lower_half) > 200
    assert lower_half <= looks(back)


def test_better_lists_are_bought_from(world: World) -> None:
    users = world.users()
    order = np.argsort(-world.preference(users, day=DAY), axis=1)
    best = [[world.items[item] for item in row[:10]] for row in order]
    middle = [[world.items[item] for item in row[200:210]] for row in order]
    bought, regretted = [], []
    for shown in (best, middle):
        types = Environment(world).respond(users, shown, DAY)["event_type"]
        bought.append(int((types == "purchase").sum()))
        regretted.append(int(types.is_in(["dislike", "return"]).sum()))
    assert bought[0] > 5 * bought[1] > 0
    assert regretted[0] < regretted[1]


def test_the_same_day_again_is_the_same_and_another_seed_is_not(world: World) -> None:
    users, lists = world.users(), some_lists(world, 6)
    one, same = (Environment(world).respond(users, lists, DAY, seed=4) for _ in range(2))
    assert one.equals(same)
    other = Environment(world).respond(users, lists, DAY, seed=5)
    assert looks(one) != looks(other)
    assert not set(one["event_id"]) & set(other["event_id"])
    # alone, or in another order of people
    alone = Environment(world).act("u7", lists[7], DAY, seed=4)
    assert alone.equals(one.filter(pl.col("user_id") == "u7"))
    turned = Environment(world).respond(users[::-1], lists[::-1], DAY, seed=4)
    assert turned.sort("event_id").equals(one.sort("event_id"))


def test_what_was_bought_is_remembered(world: World) -> None:
    """A lasting good is not bought twice; a consumable not at once, but gladly when its time has come."""
    users = world.users()
    preference = world.preference(users, day=DAY)
    lasting = np.isinf(world.intervals())
    for kind in (lasting, ~lasting):
        best = np.argsort(np.where(kind, -preference, np.inf), axis=1)[:, :8]
        lists = [[world.items[item] for item in row] for row in best]
        environment = Environment(world)
        first = environment.respond(users, lists, DAY)
        bought = first.filter(pl.col("event_type") == "purchase", pl.col("position") > 0).select("user_id", "item_id")
        assert len(bought) > 150
        again = {}
        for later in (3, 75):
            shown = environment.respond(users, lists, DAY + later)
            orders = shown.filter(pl.col("event_type") == "purchase").join(
                bought, on=["user_id", "item_id"], how="semi"
            )
            again[later] = len(orders) / len(bought)
        assert again[3] == 0
        assert again[75] == 0 if kind is lasting else again[75] > 0.15


def test_the_memory_begins_with_what_files_tell(world: World, events: pl.DataFrame) -> None:
    bought = events.filter(
        pl.col("event_type") == "purchase", pl.col("item").is_in(np.flatnonzero(np.isinf(world.intervals())).tolist())
    )
    held = bought.group_by("user_id", maintain_order=True).agg("item_id").filter(pl.col("item_id").list.len() < 40)
    users, lists = held["user_id"].to_list(), held["item_id"].to_list()
    known = Environment(world, events).respond(users, lists, DAY)
    new = Environment(world).respond(users, lists, DAY)
    assert len(looks(new)) > 100
    assert len(looks(known)) < 0.05 * len(looks(new))
    assert "purchase" not in known.drop_nulls("position")["event_type"]


def test_a_satisfied_category_sells_less_for_a_while() -> None:
    """Two worlds that differ in satiation alone meet the same luck: what was just bought sells less in the second."""
    config = SimulationConfig(users=800, items=100, events=1_000, seed=2)
    sold = {}
    for satiation in (0.0, 5.0):
        world = World(replace(config, behaviour=replace(config.behaviour, satiation=satiation, basket=0.0)))
        environment, users = Environment(world), world.users()
        names = np.array(world.catalogue.names)
        chosen = [world.items[item] for item in np.flatnonzero(names[world.catalogue.category] == "Kitchen")]
        counts = [
            (environment.respond(users, [chosen] * len(users), DAY + day)["event_type"] == "purchase").sum()
            for day in (0, 1)
        ]
        sold[satiation] = counts
    assert sold[0.0][0] == sold[5.0][0] > 10
    assert sold[5.0][1] < sold[0.0][1]


def test_what_is_needed_that_day_sells_more() -> None:
    """Needs are drawn by taste, so worlds with and without their pull are compared, on the same lists and luck."""
    config = SimulationConfig(users=1_500, items=200, events=1_000, seed=2)
    shares = {}
    for need in (0.0, 2.0):
        world = World(replace(config, behaviour=replace(config.behaviour, need=need, basket=0.0)))
        users = world.users()
        events = Environment(world).respond(users, some_lists(world, 12), DAY)
        needs = dict(zip(users, world.needs(users, DAY), strict=True))
        category = dict(zip(world.items, np.array(world.catalogue.names)[world.catalogue.category], strict=True))
        bought = events.filter(pl.col("event_type") == "purchase").select("user_id", "item_id").rows()
        shares[need] = np.mean([needs[user] == category[item] for user, item in bought])
    assert shares[2.0] > 1.5 * shares[0.0] > 0


def test_context_is_the_events(world: World) -> None:
    users, lists = world.users(), some_lists(world, 6)
    found = {
        device: Environment(world).respond(users, lists, DAY, Context(device, 9)) for device in ("phone", "desktop")
    }
    for device, events in found.items():
        now = events.filter(pl.col("event_type").is_in(["view", "cart"]))
        assert now["device"].unique().to_list() == [device]
        assert set(now["hour"]) <= {9, 10}  # a visit that began at 9:59
    assert looks(found["phone"]) != looks(found["desktop"])


def test_visitors_come_as_often_as_on_their_own(world: World, events: pl.DataFrame) -> None:
    environment = Environment(world)
    days = [environment.visitors(day) for day in range(170, 180)]
    assert days[0] != days[1]
    assert days[0] == environment.visitors(170)
    own = events.filter(pl.col("day") >= 170).select("user_id", pl.col("day").floor()).n_unique()
    assert sum(map(len, days)) == pytest.approx(own, rel=0.35)


@pytest.mark.parametrize(
    ("users", "lists", "message"),
    [
        (["u1"], [], "There are 0 lists for 1 users"),
        (["u1", "u1"], [["i1"], ["i2"]], "A user stands there twice"),
        (["u1"], [["i1", "i1"]], "A list names an item twice"),
        (["u1"], [["i400"]], "'i400' is not in this world"),
        (["bob"], [["i4"]], "'bob' is not in this world"),
    ],
)
def test_a_list_that_cannot_be_shown_is_told(
    world: World, users: list[str], lists: list[list[str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Environment(world).respond(users, lists, DAY)


def test_a_list_may_be_empty_and_nobody_may_come(world: World) -> None:
    environment = Environment(world)
    assert environment.respond([], [], DAY).is_empty()
    assert environment.respond(["u1"], [[]], DAY).is_empty()
    assert set(environment.respond(["u1", "u2"], [[], world.items[:30]], DAY)["user_id"]) <= {"u2"}
