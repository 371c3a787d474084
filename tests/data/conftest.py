"""What several tests of the data floor start from: a small good catalogue, and MovieLens itself."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.data.movielens import fetch_movielens_100k, fetch_movielens_100k_users

NOW = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def movielens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Events and items of MovieLens 100K, downloaded once in a session."""
    return fetch_movielens_100k(tmp_path_factory.mktemp("movielens"))


@pytest.fixture(scope="session")
def movielens_users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The users of MovieLens 100K, downloaded once in a session."""
    return fetch_movielens_100k_users(tmp_path_factory.mktemp("movielens-users"))


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def good_events() -> pl.DataFrame:
    """Two hundred events of ten users on twenty items, all good."""
    return pl.DataFrame(
        {
            "user_id": [f"u{n % 10}" for n in range(200)],
            "item_id": [f"i{n % 20}" for n in range(200)],
            "timestamp": [datetime(2024, 1, 1 + n // 10, n % 24, tzinfo=UTC) for n in range(200)],
            "event_type": ["view"] * 200,
        }
    )


@pytest.fixture
def good_items() -> pl.DataFrame:
    """Twenty items, all good."""
    return pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(20)],
            "title": [f"Item number {n}" for n in range(20)],
            "genres": [["Comedy", "Drama"][: n % 3] for n in range(20)],
            "year": [1990 + n for n in range(20)],
        }
    )
