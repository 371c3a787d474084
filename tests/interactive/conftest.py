"""A home that a notebook has trained and published, and a working folder with the tables beside it."""

from pathlib import Path

import polars as pl
import pytest
from synthetic import SMALL, Dataset

import recsys
from recsys.home import Home


@pytest.fixture(scope="session")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose served generation was trained without Prefect; tests that change it take a copy."""
    place = Home(tmp_path_factory.mktemp("notebook"))
    snapshot = recsys.ingest(pl.read_parquet(dataset.events), pl.read_parquet(dataset.items), home=place)
    training = recsys.train(snapshot, SMALL, home=place)
    recsys.publish(training, home=place)
    return place


@pytest.fixture
def notebook(trained: Home, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The trained home as the environment's, and the folder of the tables as the working folder."""
    monkeypatch.setenv("RECSYS_HOME", str(trained.root))
    monkeypatch.delenv("RECSYS_DATABASE_URL", raising=False)
    monkeypatch.chdir(Path(dataset.folder))
    return trained
