"""A world of some size and all that its people did on their own, made once."""

import numpy as np
import polars as pl
import pytest

from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World


@pytest.fixture(scope="session")
def world() -> World:
    """1,500 users, 400 items, about 60,000 events of 180 days."""
    return World(SimulationConfig(users=1_500, items=400, events=60_000, seed=3))


@pytest.fixture(scope="session")
def events(world: World) -> pl.DataFrame:
    """What everybody did, with the row numbers of user and item, the day, and the true fit and utility of the day."""
    found = world.events(world.users())
    first = pl.lit(np.datetime64(world.config.start, "us")).dt.replace_time_zone("UTC")
    users, items = world.user_rows(found["user_id"]), world.item_rows(found["item_id"])
    days = found.select((pl.col("timestamp") - first).dt.total_seconds() / 86_400).to_series()
    fits = world.fit(world.users())
    return found.with_columns(
        pl.Series("user", users), pl.Series("item", items), days.alias("day"), pl.Series("fit", fits[users, items])
    )
