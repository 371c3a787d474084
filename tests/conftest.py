"""What tests of flows and services share: a small data set, a Prefect server, a home with a served generation."""

import os

# Read as numpy and torch are first imported, here or in a child: sums over other numbers of threads end in other bits.
# Tiny tensors: a second thread would only wait for the first.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from object_store import Store, serving
from processes import end, wait_until_healthy
from synthetic import SMALL, Dataset, write_dataset

from flows.server import CLIENT_SECRET, LEASES, closed, new_secret
from recsys.home import Home
from services.serve import free_port

# On a busy machine any example may take long. All else is as Hypothesis has it, which knows where it is in CI.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """60 users, 80 items with titles, genres and years, and a habit to be learnt."""
    folder = tmp_path_factory.mktemp("dataset")
    events, items = write_dataset(folder)
    return Dataset(folder, str(events), str(items))


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's URL of a real server, closed, with a state of its own; this process and its children run against it."""
    folder = tmp_path_factory.mktemp("prefect")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    secret = new_secret()
    settings = {
        **closed(secret, port),
        **LEASES,
        CLIENT_SECRET: secret,
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "MPLCONFIGDIR": str(folder / "matplotlib"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.delenv("PREFECT_API_URL", raising=False)
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with (folder / "server.log").open("wb") as log:
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until_healthy(server, url, folder / "server.log")
            patch.setenv("PREFECT_API_URL", url)  # for children
            from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings

            # for this process, in which Prefect may have been imported before
            with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: secret, PREFECT_HOME: folder}):
                yield url
        finally:
            end(server)


@pytest.fixture(scope="session")
def home(dataset: Dataset, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose served generation the real pipeline has made; copy it before changing it."""
    from flows.pipeline import pipeline

    place = Home(tmp_path_factory.mktemp("home"))
    pipeline(dataset.events, dataset.items, str(place.root), model=SMALL)
    return place


@pytest.fixture
def object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A server that speaks S3, which the environment names."""
    with serving(tmp_path / "store") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        yield store
