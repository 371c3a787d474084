"""`recsys doctor`: a healthy home, and a table of faults with the check that names each; nothing is ever written."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from small_home import make_all
from test_cli import run, shown

import recsys.home
from flows.doctor import checks
from flows.surroundings import known_variables
from recsys.artifacts import read_json, write_json
from recsys.database import schema
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.tombstones import Tombstones
from recsys.health import installation, place
from recsys.health.findings import Check, Finding, examine, fine
from recsys.home import Home
from recsys.store.generations import promote, read_generation
from recsys.store.pointer import POINTER
from recsys.store.standing import Rule
from services.edge.keys import create_key

ABOUT_HOMES = (
    *("home", "disk", "leftovers", "snapshots", "adapters", "generations", "index", "pointer", "prune", "database"),
    "keys",
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two generations, the second served, with events, somebody forgotten, and a key."""
    home = Home(tmp_path_factory.mktemp("healthy") / "home")
    for seed in (1, 2):
        promote(home, make_all(home, seed)[0])
    database = Database.of(home)
    EventStore(database).add([Event("u", "item-1", datetime(2024, 1, 1, tzinfo=UTC))])
    Tombstones(database).forget("gone", [])
    database.close()
    create_key(home, "shop", ["recommend"])
    return home


@pytest.fixture
def home(healthy: Home, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(healthy.root, tmp_path / "home")))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that this shell has set counts."""
    for name in [name for name in os.environ if name.startswith(("RECSYS_", "AWS_"))]:
        monkeypatch.delenv(name)


def seen(home: Home, quick: bool = False, among: tuple[str, ...] = ABOUT_HOMES) -> list[Finding]:
    return examine([check for check in checks(home, quick) if check.name in among])


def troubles(home: Home, quick: bool = False, among: tuple[str, ...] = ABOUT_HOMES) -> set[tuple[str, str]]:
    return {(one.name, one.state) for one in seen(home, quick, among) if one.state != "ok"}


def content(home: Home) -> dict[str, tuple[str, int, int]]:
    """What lies in a home: every file's hash, mode and time."""
    return {
        str(path.relative_to(home.root)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
        )
        for path in [home.root, *sorted(home.root.rglob("*"))]
    }


@pytest.mark.parametrize("quick", [False, True])
def test_a_healthy_home_is_well_and_stays_as_it_is(home: Home, quick: bool) -> None:
    before = content(home)
    found = seen(home, quick)
    assert [one for one in found if one.state != "ok"] == []
    assert {one.name for one in found} == set(ABOUT_HOMES)
    assert content(home) == before


def served(home: Home) -> Path:
    return home.generations / read_json(home.generations / POINTER)["generation"]


def one_of(room: Path) -> Path:
    return sorted(path for path in room.iterdir() if path.is_dir())[0]


def turn_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change(path: Path, **values: object) -> None:
    write_json(path, read_json(path) | values)


def change_key(home: Home, **values: object) -> None:
    keys = read_json(home.keys)["keys"]
    write_json(home.keys, {"keys": [keys[0] | values]}, 0o600)


def execute(home: Home, *statements: str) -> None:
    with closing(sqlite3.connect(home.events_database)) as database, database:
        for statement in statements:
            database.execute(statement)


def damage_database(home: Home) -> None:
    execute(home, "PRAGMA wal_checkpoint(TRUNCATE)")
    pages = home.events_database.read_bytes()
    home.events_database.write_bytes(pages[:4096] + bytes(8192) + pages[12288:])


def lose_a_table(home: Home) -> None:
    shutil.rmtree(home.lance / f"{read_generation(home, served(home).name)[1].index.table}.lance")


def cut_vectors(home: Home) -> None:
    data = next(one_of(home.lance).rglob("data/*.lance"))
    turn_a_bit(data)


@dataclass(frozen=True)
class Fault:
    """What is done to a home, the checks that name it, and a word of what they say; quick ones need no hashes."""

    name: str
    do: Callable[[Home], object]
    named_by: dict[str, str]
    says: str
    quick: bool = True


FAULTS = [
    Fault("no home", lambda home: shutil.rmtree(home.root), {"home": "warning"}, "does not exist"),
    Fault("a room is a file", lambda home: (shutil.rmtree(home.lance), home.lance.touch()),
          {"home": "failed", "index": "failed"}, "is no folder"),
    Fault("a crash", lambda home: (home.snapshots / ".staging-x").mkdir(), {"leftovers": "warning"}, ".staging-x"),
    Fault("snapshot changed", lambda home: turn_a_bit(one_of(home.snapshots) / "events.parquet"),
          {"snapshots": "failed"}, "has changed since it was written", quick=False),
    Fault("snapshot lost a file", lambda home: (one_of(home.snapshots) / "items.parquet").unlink(),
          {"snapshots": "failed"}, "items.parquet is missing"),
    Fault("snapshot lost its manifest", lambda home: (one_of(home.snapshots) / "manifest.json").unlink(),
          {"snapshots": "warning", "generations": "failed"}, "has no manifest.json"),
    Fault("manifest is no JSON", lambda home: (one_of(home.snapshots) / "manifest.json").write_text("{"),
          {"snapshots": "failed", "generations": "failed"}, "is not valid JSON"),
    Fault("adapter changed", lambda home: turn_a_bit(one_of(home.adapters) / "adapter_model.safetensors"),
          {"adapters": "failed"}, "has changed", quick=False),
    Fault("card edited", lambda home: change(one_of(home.adapters) / "card.json", base="another"),
          {"adapters": "failed"}, "has changed", quick=False),
    Fault("adapter gone", lambda home: shutil.rmtree(one_of(home.adapters)),
          {"generations": "failed"}, "There is no adapter"),
    Fault("generation changed", lambda home: turn_a_bit(served(home) / "weights.bin"),
          {"generations": "failed", "pointer": "failed"}, "weights.bin has changed", quick=False),
    Fault("generation lost a file", lambda home: (served(home) / "weights.bin").unlink(),
          {"generations": "failed"}, "weights.bin is missing"),
    Fault("what is served is gone", lambda home: shutil.rmtree(served(home)), {"pointer": "failed"}, "rollback"),
    Fault("no way back", lambda home: shutil.rmtree(next(
        path for path in home.generations.iterdir() if path.is_dir() and path != served(home))),
          {"pointer": "warning"}, "which a rollback goes to, is gone"),
    Fault("pointer is no JSON", lambda home: (home.generations / POINTER).write_text("no"),
          {"pointer": "failed", "prune": "failed"}, "not valid JSON"),
    Fault("no pointer", lambda home: (home.generations / POINTER).unlink(), {"pointer": "warning"}, "recsys publish"),
    Fault("table gone", lose_a_table, {"index": "failed"}, "is missing below"),
    Fault("vectors changed", cut_vectors, {"index": "failed"}, "LanceDB", quick=False),
    Fault("database damaged", damage_database, {"database": "failed"}, "restore the newest backup"),
    Fault("database is none", lambda home: home.events_database.write_text("hello" * 99),
          {"database": "failed"}, "not a database"),
    Fault("database gone", lambda home: home.events_database.unlink(), {"database": "failed"}, "is gone"),
    Fault("database without version", lambda home: execute(home, f"DROP TABLE {schema.VERSION_TABLE}"),
          {"database": "warning"}, "of before they had versions"),
    Fault("database too new", lambda home: execute(home, f"UPDATE {schema.VERSION_TABLE} SET version_num = '0099'"),
          {"database": "failed"}, "version 0099"),
    Fault("salt gone", lambda home: home.salt.unlink(), {"database": "failed"}, "be forgotten is found"),
    Fault("salt of another", lambda home: home.salt.write_text("00" * 32), {"database": "failed"}, "not the salt"),
    Fault("keys open", lambda home: home.keys.chmod(0o640), {"keys": "warning"}, "chmod 600"),
    Fault("keys are none", lambda home: home.keys.write_text("[]"), {"keys": "failed"}, "no list of keys"),
    Fault("a key twice", lambda home: write_json(home.keys, {"keys": read_json(home.keys)["keys"] * 2}, 0o600),
          {"keys": "failed"}, "Two keys have one"),
    Fault("a key without a hash", lambda home: change_key(home, sha256="secret"), {"keys": "failed"}, "no hash"),
    Fault("an old key", lambda home: change_key(home, created=str(datetime.now(UTC) - timedelta(days=500))),
          {"keys": "warning"}, "hand it out"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_named(home: Home, fault: Fault) -> None:
    fault.do(home)
    before = content(home) if home.root.is_dir() else {}
    found = seen(home, quick=fault.quick)
    wrong = [one for one in found if one.state != "ok"]
    assert {one.name: one.state for one in wrong} == fault.named_by
    assert any(fault.says in f"{one.found} {one.todo}" for one in wrong), wrong
    assert (content(home) if home.root.is_dir() else {}) == before


def test_what_every_user_may_enter_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.root.chmod(0o755)
    allowed = recsys.home._allowed
    # pytest closes the folders above, so that nobody could enter
    monkeypatch.setattr(recsys.home, "_allowed", lambda path, bits: path in home.root.parents or allowed(path, bits))
    (found,) = [one for one in seen(home) if one.state != "ok"]
    assert (found.name, found.todo) == ("home", f"chmod 700 {home.root}")


def test_a_disk_without_room_and_a_prune_that_pays(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "FIRST_RUN", 10**18)
    monkeypatch.setattr(place, "WORTHWHILE", 0)
    monkeypatch.setattr(place, "SHARE", 0)
    for generation_id in (make_all(home, seed)[0] for seed in (3, 4)):
        promote(home, generation_id)
    monkeypatch.setattr(place, "Rule", lambda: replace(Rule(), now=datetime.now(UTC) + timedelta(days=90)))
    assert troubles(home) == {("disk", "failed"), ("prune", "warning")}


def test_a_check_that_fails_itself_hides_no_other() -> None:
    def breaks() -> Iterator[object]:
        yield fine("the first is well")
        raise KeyError("who")

    found = examine([Check("one", breaks), Check("two", lambda: [fine("well")])])
    assert [(one.name, one.state) for one in found] == [("one", "ok"), ("one", "failed"), ("two", "ok")]
    assert "KeyError: 'who'" in found[1].found


def test_variables_are_known_or_told_what_was_meant(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RECSYS_HOM": "/x", "RECSYS_SOURCE_EVENTS": "/y", "RECSYS_LIVE_ITEMS": "many", "RECSYS_GATE": "/nowhere.json",
        "RECSYS_LOG_SLOW_MS": "7", "RECSYS_TENANTS": "perhaps", "RECSYS_CACHE_GB": "-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    found = [one for one in seen(home, among=("environment",)) if one.state != "ok"]
    assert [one.state for one in found] == ["warning", *["failed"] * 4]
    assert found[0].found.startswith("RECSYS_HOM is set")
    assert found[0].todo == "Is RECSYS_HOME meant?"
    told = " ".join(one.found for one in found[1:])
    assert all(name in told for name in ("RECSYS_LIVE_ITEMS", "/nowhere.json", "RECSYS_TENANTS", "RECSYS_CACHE_GB"))


def test_variables_that_are_read_are_known() -> None:
    assert {
        "RECSYS_HOME",
        "RECSYS_DATABASE_URL",
        "RECSYS_RAY_ADDRESS",
        "RECSYS_TEXTS",
    } <= known_variables()


def test_packages_that_are_missing_or_not_known_to_work(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["nowhere-to-be-found", "polars<1", "numpy>=2", 'psycopg<1; extra == "postgres"', "absent; extra == 'x'"]
    monkeypatch.setattr(installation, "requires", lambda _: wanted)
    missing, outside = [one for one in seen(home, among=("packages",)) if one.state == "failed"]
    assert "nowhere-to-be-found" in missing.found
    assert "absent" not in missing.found
    assert "polars" in outside.found
    assert "numpy" not in outside.found


def test_this_machine_is_one_that_it_runs_on(home: Home) -> None:
    states = {(one.name, one.state) for one in seen(home, among=("python", "packages"))}
    assert states == {("python", "ok"), ("packages", "ok")}


def test_containers_limits_count(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"cpu.max": "50000 100000", "memory.max": str(2**29), "memory.current": "1000"}.items():
        (tmp_path / name).write_text(value)
    monkeypatch.setattr(installation, "CGROUP", tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    memory, threads = seen(home, among=("memory",))
    assert memory.found.startswith("1 cores, 0.5 GiB available")
    assert memory.state == "warning"
    assert threads.found == "OMP_NUM_THREADS is 8, of 1 cores."


def test_who_does_not_answer_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("RECSYS_SOURCE_SHOP", "http://127.0.0.1:1/events?sig=secret")
    found = [one for one in seen(home, among=("ray", "stores")) if one.state == "failed"]
    assert [one.found for one in found] == [
        "Nobody answers at AWS_ENDPOINT_URL.",
        "Nobody answers at RECSYS_SOURCE_SHOP.",
        "Nobody answers at 127.0.0.1:1, as RECSYS_RAY_ADDRESS has it.",
    ]


def test_a_prefect_server_is_looked_at(home: Home, prefect_server: str) -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    found = seen(home, among=("prefect",))
    assert found
    assert all(one.state != "failed" for one in found)
    with temporary_settings({PREFECT_API_AUTH_STRING: "recsys:wrong"}):
        (closed,) = seen(home, among=("prefect",))
    assert closed.found == f"{prefect_server} answers 401."
    assert "client.env" in closed.todo
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        (away,) = seen(home, among=("prefect",))
    assert away.state == "failed"
    assert "does not answer" in away.found


def test_the_command_says_what_it_found_and_fails_where_something_has(home: Home, prefect_server: str) -> None:
    before = content(home)
    found = run("doctor", "--home", home.root, "--quick")
    assert found["home"] == str(home.root)
    assert found["failed"] == 0
    assert found["ok"] >= len(ABOUT_HOMES)
    assert content(home) == before
    (home.generations / POINTER).write_text("no")
    told = shown("doctor", "--home", home.root, "--quick", code=1)
    assert "failed   pointer" in told
    assert "is not valid JSON" in " ".join(told.split())
    found = run("doctor", "--home", home.root, code=1)
    assert {one["name"] for one in found["checks"] if one["state"] == "failed"} == {"pointer", "prune"}


def test_a_home_that_is_missing_stays_so(tmp_path: Path, prefect_server: str) -> None:
    run("doctor", "--home", tmp_path / "none", "--quick")
    assert list(tmp_path.iterdir()) == []
