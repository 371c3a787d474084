"""What the people of a world do on their own follows its truth, by statistics on fixed seeds."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World


def of(events: pl.DataFrame, kind: str) -> pl.DataFrame:
    return events.filter(pl.col("event_type") == kind)


def test_orders_are_few_and_tied_to_taste_and_looks_are_many_and_loosely(world: World, events: pl.DataFrame) -> None:
    assert len(of(events, "view")) > 5 * len(of(events, "purchase")) > 5 * len(of(events, "return"))
    fits = {kind: float(of(events, kind)["fit"].mean()) for kind in ("view", "cart", "purchase")}  # type: ignore[arg-type]
    everything = float(world.fit(world.users(0, 500)).mean())
    assert fits["view"] < everything + 0.9
    assert everything + 0.1 < fits["view"] < fits["cart"] - 0.4 < fits["purchase"] - 0.6


def test_what_is_bought_tells_more_of_a_taste_than_what_is_looked_at(world: World, events: pl.DataFrame) -> None:
    """Correlation, over all items, of how often each was bought or looked at and how well it fits, by user."""
    fits = world.fit(world.users())
    told = {}
    for kind in ("view", "purchase"):
        counts = np.zeros_like(fits)
        found = of(events, kind)
        np.add.at(counts, (found["user"].to_numpy(), found["item"].to_numpy()), 1)
        some = np.flatnonzero(counts.sum(axis=1) >= 4)
        # as many of either: four of each user
        random = np.random.default_rng(0)
        hits = [random.choice(np.repeat(np.arange(400), counts[user].astype(int)), 4, replace=False) for user in some]
        told[kind] = float(np.mean([fits[user][row].mean() for user, row in zip(some, hits, strict=True)]))
    assert told["purchase"] > told["view"] + 0.5


def test_regret_follows_bad_fit(world: World, events: pl.DataFrame) -> None:
    edge = world.config.behaviour.regret
    disliked, looked = of(events, "dislike"), of(events, "view")
    assert len(disliked) > 200
    assert (disliked["fit"] < edge + 0.5).mean() > 0.7
    assert (looked["fit"] < edge + 0.5).mean() < 0.3
    returned, bought = of(events, "return"), of(events, "purchase")
    assert float(returned["fit"].mean()) < float(bought["fit"].mean()) - 1  # type: ignore[arg-type]
    ratings = of(events, "rating")
    assert set(ratings["value"].unique()) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert np.corrcoef(ratings["value"], ratings["fit"])[0, 1] > 0.6
    assert events.filter(pl.col("event_type") != "rating")["value"].null_count() == len(events) - len(ratings)


@pytest.mark.parametrize("zipf", [0.5, 1.1])
def test_looks_by_rank_fall_as_zipf_says(zipf: float) -> None:
    config = SimulationConfig(users=800, items=200, events=40_000, seed=1)
    dials = replace(config.catalogue, zipf=zipf, born_later=0.0, quality_sells=0.0, trends=0)
    people = replace(config.people, activity_spread=0.2)
    world = World(replace(config, catalogue=dials, people=people, behaviour=replace(config.behaviour, look_slope=0.0)))
    looks = of(world.events(world.users()), "view")["item_id"].value_counts()
    counts = np.zeros(200)
    counts[world.item_rows(looks["item_id"])] = looks["count"]
    ranked = counts[np.argsort(-world.catalogue.popularity)]
    # categories are shown by taste, so that single items stray: means over ten ranks, from the tenth on
    means = ranked[10:].reshape(-1, 10).mean(axis=1)
    ranks = np.exp(np.log(np.arange(11, 201)).reshape(-1, 10).mean(axis=1))
    slope = np.polyfit(np.log(ranks), np.log(means + 1e-9), 1)[0]
    assert slope == pytest.approx(-zipf, abs=0.2)


def test_consumables_come_back_after_the_interval_of_item_and_user(world: World, events: pl.DataFrame) -> None:
    bought = of(events, "purchase").sort("user", "item", "day")
    gap = pl.col("day").diff().over("user", "item")
    gaps = bought.with_columns(gap.alias("gap")).drop_nulls("gap")
    pace = world.people.some(gaps["user"].to_numpy()).pace
    ratio = gaps["gap"].to_numpy() / (world.intervals()[gaps["item"].to_numpy()] * pace)
    assert len(ratio) > 300
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    # the end of the days cuts long ones off, so the spread is a little less than the setting's
    assert np.log(ratio).std() == pytest.approx(world.config.behaviour.repeat_spread, abs=0.04)


def test_due_tells_when_orders_come_again(world: World, events: pl.DataFrame) -> None:
    users, day = world.users(), 100.0
    due = world.due(users, day)
    assert due["last_day"].max() < day  # type: ignore[operator]
    assert due.equals(world.due(users, day, events))
    later = of(events, "purchase").filter(pl.col("day") >= day).group_by("user_id", "item_id").agg(pl.col("day").min())
    found = due.filter(pl.col("due_day") >= day).join(later, on=["user_id", "item_id"])
    ahead = found["due_day"] < day + 40
    assert len(found) > 40
    assert (found.filter(ahead)["day"] - found.filter(ahead)["due_day"]).abs().median() < 5  # type: ignore[operator]
    # who does not come back had the lower probability
    came = due.join(later, on=["user_id", "item_id"], how="semi")["probability"].mean()
    stayed = due.join(later, on=["user_id", "item_id"], how="anti")["probability"].mean()
    assert came > stayed + 0.05  # type: ignore[operator]


def test_lasting_goods_are_bought_once(world: World, events: pl.DataFrame) -> None:
    bought = of(events, "purchase").filter(pl.col("item").is_in(np.flatnonzero(np.isinf(world.intervals())).tolist()))
    assert not bought.select("user", "item").is_duplicated().any()


def test_complements_are_bought_together(world: World, events: pl.DataFrame) -> None:
    bought = of(events, "purchase").with_columns(pl.col("day").floor().cast(pl.Int64).alias("on"))
    pairs = bought.join(bought, on=["user", "on"]).filter(pl.col("item") != pl.col("item_right"))
    goes = np.zeros((400, 400), bool)
    goes[np.arange(400)[:, None], world.catalogue.complements] = True
    popular = np.bincount(bought["item"].to_numpy(), minlength=400) / len(bought)
    by_luck = float((popular @ (goes | goes.T)) @ popular)
    found = (goes | goes.T)[pairs["item"].to_numpy(), pairs["item_right"].to_numpy()].mean()
    assert len(pairs) > 300
    assert found > 5 * by_luck


def test_positions_are_looked_at_by_the_known_curve(world: World, events: pl.DataFrame) -> None:
    looks = of(events, "view")["position"].value_counts().sort("position")
    share = looks["count"].to_numpy() / looks["count"][0]
    curve = np.arange(1, 13) ** -world.config.behaviour.position_bias
    # a place may be empty where a visit would have shown an item twice
    np.testing.assert_allclose(share, curve, rtol=0.3)


def test_nobody_acts_before_coming_and_no_item_is_seen_before_it_is_born(world: World, events: pl.DataFrame) -> None:
    assert (events["day"] < world.config.days).all()
    assert (events["day"].to_numpy() >= world.people.joined(events["user"].to_numpy())).all()
    assert (events["day"].to_numpy() >= world.catalogue.born[events["item"].to_numpy()]).all()
    assert (world.catalogue.born[events["item"].to_numpy()] > 0).sum() > 1_000


def test_what_is_in_season_or_in_fashion_is_looked_at_more(world: World, events: pl.DataFrame) -> None:
    looks = of(events, "view").with_columns((pl.col("day") // 7).cast(pl.Int64).alias("week"))
    weeks, items = looks["week"].to_numpy(), looks["item"].to_numpy()
    counts = np.zeros((26, len(world.catalogue.names)))
    np.add.at(counts, (weeks, world.catalogue.category[items]), 1)
    share = np.log(counts[:25] / counts[:25].sum(axis=1, keepdims=True))
    season = world.catalogue.seasonal(7.0 * np.arange(25))
    strong = world.catalogue.season > 0.3
    by_week = [(of - of.mean(axis=0))[:, strong].ravel() for of in (share, season)]
    assert np.corrcoef(*by_week)[0, 1] > 0.5
    modish = [world.item_rows(world.trending(7 * week)) for week in range(25)]
    now = sum(np.isin(items[weeks == week], rows).sum() for week, rows in enumerate(modish))
    then = sum(np.isin(items[weeks == week], modish[week - 9]).sum() for week in range(25))
    assert now > 2 * then


def test_segments_buy_what_their_truth_says(world: World, events: pl.DataFrame) -> None:
    ages = world.people.table(np.arange(1_500)).select("user_id", "age_group")
    bought = of(events, "purchase").join(ages, on="user_id")
    all_items = pl.DataFrame({"item_id": world.items})
    truths, counts = [], []
    for age in ("18-24", "65+"):
        truth = world.segment_popularity("age_group", age, day=90.0)
        assert truth["share"].sum() == pytest.approx(1)
        assert truth["share"].is_sorted(descending=True)
        truths.append(all_items.join(truth, on="item_id", how="left")["share"].fill_null(0).to_numpy())
        orders = bought.filter(pl.col("age_group") == age)["item_id"].value_counts()
        found = all_items.join(orders, on="item_id", how="left")["count"].fill_null(0).to_numpy()
        counts.append(found / found.sum())
        assert np.corrcoef(truths[-1], counts[-1])[0, 1] > 0.6
    assert np.corrcoef(truths[0] - truths[1], counts[0] - counts[1])[0, 1] > 0.4


@pytest.mark.parametrize(("users", "count"), [(2_000, 1_000), (200, 4_000)])
def test_about_as_many_events_come_as_were_asked_for(users: int, count: int) -> None:
    world = World(SimulationConfig(users=users, items=200, events=count, seed=5))
    assert len(world.events(world.users())) == pytest.approx(count, rel=0.15)


def test_what_somebody_does_is_the_same_in_any_company(world: World, events: pl.DataFrame) -> None:
    some = ["u700", "u3", "u1499"]
    for user, found in world.events(some).partition_by("user_id", as_dict=True).items():
        assert found.equals(events.filter(pl.col("user_id") == user[0]).select(found.columns))
