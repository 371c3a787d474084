"""A real server process over a copy of the published generation, and what is in it."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from live_world import Eventually, World
from processes import PATIENCE_SECONDS
from synthetic import SMALL_CLASSIFIER, TICKETS, write_labelled

from recsys.data import snapshot
from recsys.home import Home
from recsys.store.generations import current_id, read_generation
from recsys.texts.vectors import TextVectors
from services.edge.metrics import Metrics
from services.serve import running
from services.worker.wording import REASONS

GERMAN = {
    "rules": "folgt oft auf {title}",
    "knn": "mögen alle, die {title} mögen",
    "ease": "passt zu {title}",
    "towers": "in Text und Gebrauch nah an {title}",
    "ids": "wird zusammen mit {title} gewählt",
    "content": "beschrieben wie {title}",
    "lexical": "teilt Wörter mit {title}",
    "popularity": "beliebt",
    "unnamed": "einer früheren Wahl",
}


@pytest.fixture(scope="session")
def german() -> dict[str, str]:
    """The table of sentences in German that the shared service has."""
    return GERMAN


@pytest.fixture(scope="session")
def copy_of_home(home: Home) -> Callable[[Path], Home]:
    """Copies everything that is published, and no event, to a new place; the encoders, exported once, are linked."""
    TextVectors.of_adapter(home, read_generation(home, str(current_id(home)))[1].adapter)

    def copy(root: Path) -> Home:
        ignored = shutil.ignore_patterns("runs", "cache", "events.db*", "encoders")
        copied = Home(Path(shutil.copytree(home.root, root, ignore=ignored, dirs_exist_ok=True)))
        unlocked = shutil.ignore_patterns(".lock")
        shutil.copytree(home.encoders, copied.encoders, ignore=unlocked, copy_function=os.link, dirs_exist_ok=True)
        return copied

    return copy


@pytest.fixture(scope="session")
def metrics() -> Metrics:
    """A worker's numbers; a process registers them once."""
    return Metrics()


@pytest.fixture(scope="session")
def classifying_home(
    copy_of_home: Callable[[Path], Home], prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Home:
    """A copy with a classifier of tickets, which the shared service serves."""
    from flows.classify import train_text_classifier

    served = copy_of_home(tmp_path_factory.mktemp("served"))
    learnt, judged = write_labelled(tmp_path_factory.mktemp("tickets"), TICKETS)
    train_text_classifier(str(learnt), str(judged), home=str(served.root), config=SMALL_CLASSIFIER)
    return served


@pytest.fixture(scope="session")
def service(classifying_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a running service, which gives reasons in German too; tests that write use users of their own."""
    table = tmp_path_factory.mktemp("languages") / "reasons.json"
    table.write_text(json.dumps({"de": GERMAN}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(REASONS, str(table))
        with running(classifying_home) as url, httpx.Client(base_url=url, timeout=30) as client:
            yield client


@pytest.fixture(scope="session")
def catalogue(service: httpx.Client) -> list[str]:
    """All item ids: an unknown person's list is the whole catalogue while that is small."""
    answer = service.post("/v1/recommend", json={"user_id": "stranger", "k": 200}).json()
    ids = [item["item_id"] for item in answer["items"]]
    assert 20 <= len(ids) < 200
    return ids


@pytest.fixture(scope="session")
def known_user(home: Home) -> str:
    """A user of the snapshot with a history."""
    generation_id = current_id(home)
    assert generation_id is not None
    _, manifest = read_generation(home, generation_id)
    return snapshot.open_snapshot(home, manifest.snapshot).user_ids()[3]


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Waits for what another process does by itself; fails when it does not."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.05)

    return wait


@pytest.fixture(scope="module")
def world(
    copy_of_home: Callable[[Path], Home],
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Callable[[Callable[[], bool]], None],
) -> Iterator[World]:
    """A service of two workers, a module's own, into which live items are put."""
    home = copy_of_home(tmp_path_factory.mktemp("live"))
    with running(home, workers=2) as url:
        yield World(home, url, eventually)
