"""Who may read what below a home, whatever the umask of whoever writes: the table of all that is written there."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import pytest

from flows import runtime
from recsys.artifacts import commit_folder, staged_folder, write_json
from recsys.data.quality import QUARANTINE_SCHEMA
from recsys.data.snapshot import write_snapshot
from recsys.database.engine import Database
from recsys.database.events import Event
from recsys.database.live_items import ItemStore
from recsys.home import Home
from recsys.models.checkpoints import Checkpoint
from recsys.ranking.candidates import VectorSource
from recsys.serving.users import Users
from recsys.store.adapters import save_adapter
from recsys.store.generations import commit_generation, promote
from recsys.store.index import build_index, indexing
from recsys.store.manifests import AdapterCard, GenerationManifest
from recsys.store.shadow import begin_shadow
from services import serve
from services.edge.exposure import warn_if_open
from services.edge.keys import create_key
from services.worker.live_items import LiveItems

PRIVATE, CLOSED, READABLE, ROOM = 0o600, 0o700, 0o644, 0o755
# The first that matches a path holds. What is below a closed folder nobody else gets to, whatever its own mode is.
MODES = {
    r"\.": CLOSED,
    r"events\.db(-wal|-shm)?": PRIVATE,
    r"keys\.(json|lock)": PRIVATE,
    r"forgotten\.(salt|lock)": PRIVATE,
    r"\.(encoding|prune)\.lock": PRIVATE,
    r"runs|prefect": CLOSED,
    r"(runs|prefect)/.*": None,
    r"(snapshots|adapters|encoders|generations|lance|cache)(/.*)?/": ROOM,
    r"(snapshots|adapters|encoders|generations|lance|cache)/.*": READABLE,
}


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_everything(home: Home) -> Database:
    """Write one of everything that is kept below a home; return its open database."""
    with mock.patch.dict(os.environ):
        os.environ.pop("PREFECT_API_URL", None), os.environ.pop("PREFECT_HOME", None)
        runtime.prepare(home)
    items = pl.DataFrame({"item_id": ["x", "y"], "title": ["X", "Y"]})
    events = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "timestamp": [datetime(2026, 1, 1, tzinfo=UTC)]})
    snapshot = write_snapshot(home, events, items, pl.DataFrame(schema=QUARANTINE_SCHEMA))

    def weights(folder: Path) -> None:
        (folder / "more").mkdir()
        (folder / "more" / "weights").write_text("x")

    adapter = save_adapter(home, weights, AdapterCard(base="b"))
    for room in (home.encoders, home.cache / "deeper"):
        with staged_folder(room) as staging:
            weights(staging)
            commit_folder(staging, room / "made")
    with indexing(home.lance):
        index = build_index(home.lance, ["x", "y"], np.eye(2, dtype=np.float32), ["X", "Y"])
        VectorSource(home.lance, index)
    with staged_folder(home.generations) as staging:
        weights(staging)
        made = GenerationManifest(snapshot=snapshot.id, adapter=adapter, index=index, settings={})
        generation = commit_generation(home, staging, made)
    promote(home, generation)
    begin_shadow(home, generation, 0.5)
    write_json(home.runs / "train-1.json", {})
    Checkpoint(home.runs / "state" / "towers.checkpoint", "key").save({})
    serve._prepare(home, "localhost", serve.free_port(), 1)
    create_key(home, "shop", ["recommend"])
    database = Database.of(home)
    Users(database).events.add([Event("a", "x", datetime(2026, 1, 2, tzinfo=UTC))])
    with LiveItems(home, ItemStore(database), mock.Mock())._one_encodes():
        return database


@pytest.mark.parametrize("mask", [0o022, 0o000], ids=oct)
def test_every_file_has_the_mode_of_its_kind(tmp_path: Path, mask: int) -> None:
    home = Home(tmp_path / "home")
    with umask(mask):
        database = write_everything(home)
        found = [home.root, *home.root.rglob("*")]
        seen = set()
        for path in found:
            name = path.relative_to(home.root).as_posix() + ("/" if path.is_dir() else "")
            kind = next((kind for kind in MODES if re.fullmatch(kind, name) or re.fullmatch(kind, name[:-1])), None)
            assert kind is not None, f"{name} has no line in the table"
            seen.add(kind)
            assert MODES[kind] in (None, mode_of(path)), f"{name} has mode {mode_of(path):o}"
        assert seen == set(MODES)
    database.close()


@pytest.mark.parametrize(
    "make",
    [
        Home.make,
        lambda home: runtime.open_home(str(home.root)),
        lambda home: Database.of(home).close(),
        lambda home: create_key(home, "shop", ["recommend"]),
        lambda home: serve._prepare(home, "localhost", serve.free_port(), 1),
        lambda home: save_adapter(home, lambda folder: (folder / "weights").touch(), AdapterCard(base="b")),
    ],
    ids=["home", "flow", "database", "key", "service", "adapter"],
)
def test_whoever_is_first_makes_the_home_private(tmp_path: Path, make: Callable[[Home], object]) -> None:
    home = Home(tmp_path / "above" / "home")
    with umask(0):
        make(home)
    assert mode_of(home.root) == CLOSED


def test_the_mode_of_a_home_that_exists_is_an_operators(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    home.root.chmod(0o750)
    home.events_database.touch(0o660)
    home.events_database.chmod(0o660)
    database = Database.of(home)
    Users(database)
    assert mode_of(home.root) == 0o750
    assert {mode_of(path) for path in home.root.glob("events.db*")} == {0o660}  # what SQLite adds has the same
    database.close()


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o664])
def test_a_database_that_everybody_could_read_is_closed_to_them(tmp_path: Path, mode: int) -> None:
    home = Home(tmp_path / "home")
    before = Database.of(home)
    Users(before)
    for path in home.root.glob("events.db*"):  # as older versions have made them
        path.chmod(mode)
    database = Database.of(home)
    Users(database)
    found = {path.name: mode_of(path) for path in home.root.glob("events.db*")}
    assert len(found) == 3
    assert set(found.values()) == {PRIVATE}
    before.close()
    database.close()


def test_an_open_home_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = Home(tmp_path / "home")
    for folder in (*tmp_path.parents, tmp_path):
        if folder.owner() == tmp_path.owner() and folder.name.startswith(("pytest-", tmp_path.name)):
            folder.chmod(0o755)
    home.make()
    create_key(home, "shop", ["recommend"])
    home.keys.chmod(0o644)
    warn_if_open(home)
    assert not caplog.records  # nobody gets in
    home.root.chmod(0o755)
    warn_if_open(home)
    (record,) = caplog.records
    assert record.getMessage().endswith(f"chmod o-rwx {home.root} {home.keys}")
    with mock.patch("services.edge.exposure.server_context.worker_index", 2):
        warn_if_open(home)
    home.root.chmod(0o750)  # an operator's group may
    warn_if_open(home)
    assert len(caplog.records) == 1


def test_a_lock_empties_no_file_that_a_link_leads_to(tmp_path: Path) -> None:
    home, precious = Home(tmp_path / "home").make(), tmp_path / "precious"
    precious.write_text("x")
    home.keys.with_suffix(".lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic link"):
        create_key(home, "shop", ["recommend"])
    assert precious.read_text() == "x"
