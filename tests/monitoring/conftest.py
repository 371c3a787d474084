"""A made-up shop, and a home that has trained on all of it but its last week."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deliveries import Files

from infra.benchmarks.monitoring import Shop
from recsys.data import columns
from recsys.data.ingest import ingest
from recsys.home import Home
from recsys.monitoring.monitor import Watched
from recsys.simulation.config import SimulationConfig

LAST_WEEK = 39


@pytest.fixture(scope="session")
def shop() -> Shop:
    """1,000 users, 800 items, about 50,000 events of 40 weeks."""
    return Shop.of(SimulationConfig(users=1_000, items=800, events=50_000, days=280, seed=5))


@pytest.fixture(scope="session")
def watched(shop: Shop) -> Watched:
    """The shop's last week, beside a training on all before it."""
    return shop.week(LAST_WEEK, age=7)


@pytest.fixture
def files(watched: Watched, tmp_path: Path) -> Files:
    """A home of one's own that has ingested the shop but its last week."""
    home = Home(tmp_path / "home")
    ingest(watched.events, watched.items, home)
    written: list[Path] = []

    def write(table: pl.DataFrame) -> str:
        written.append(tmp_path / f"table-{len(written)}.parquet")
        table.write_parquet(written[-1])
        return str(written[-1])

    newer: Any = watched.newer
    catalogue: Any = watched.catalogue
    everything = pl.concat([watched.events, newer]).sort(columns.TIMESTAMP)
    return Files(home, watched.until.isoformat(), everything, catalogue, write)
