"""A backup has all of a home while others write, takes the room of what is new, and brings back nobody forgotten."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE_SECONDS
from small_home import make_all
from typer.testing import CliRunner

from flows.cli import app
from recsys.artifacts import STAGING_PREFIX, ArtifactError, write_json
from recsys.data.forgetting import hash_user
from recsys.data.snapshot import open_snapshot
from recsys.database import copies
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.salt import agreed_salt
from recsys.database.tombstones import Tombstones
from recsys.errors import SettingError
from recsys.home import Home
from recsys.store import backups
from recsys.store.adapters import list_adapters, verify_adapter
from recsys.store.backups import BACKUP, DATABASE, back_up, list_backups, read_backup
from recsys.store.generations import current_id, generation_snapshot, promote, read_generation
from recsys.store.index import open_index
from recsys.store.pointer import list_promotions
from recsys.store.restoring import FINISHING, check, restore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Works once undisturbed, and then in processes that die at one of its steps each: a file or folder that is opened,
# renamed, linked, made or removed below where it writes. The work is done by copies of one process, which has imported
# all that it takes.
DYING = """
import os, signal, sys
from pathlib import Path
from recsys.home import Home
from recsys.store import backups, restoring
import recsys.store.index

work, source, target, salt, trials = sys.argv[1:]
EVENTS = ("open", "os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "sqlite3.connect")

def worked(below, at):
    steps = 0
    def step(event, arguments):
        nonlocal steps
        if event in EVENTS and below in " ".join(map(str, arguments)):
            steps += 1
            if steps == at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(step)
    if work == "restore":
        restoring.restore(Path(source), Home.of(below), Path(salt))
    else:
        backups.back_up(Home.of(source), Path(below))
    return steps

def apart(below, at):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(worked(below, at)).encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    return status, os.read(reading, 100)

status, count = apart(f"{target}-undisturbed", 0)
assert status == 0
for trial in range(int(trials)):
    # the last of the steps are those by which all comes into its place
    at = int(count) - 2 * trial if trial < 6 else 1 + int(count) * (2 * trial - 11) // (2 * int(trials) - 12)
    status, _ = apart(f"{target}-{trial}" if work == "restore" else target, at)
    assert os.WIFSIGNALED(status), (trial, at, count)
"""
TRIALS = 10


def event(number: int, user: str = "ann") -> Event:
    return Event(user, "item-1", NOW, event_id=f"event-{number}")


def sent(home: Home, *events: Event) -> None:
    with closing(Database.of(home)) as database:
        EventStore(database).add(events)


def forget(home: Home, user: str) -> None:
    with closing(Database.of(home)) as database:
        Tombstones(database).forget(user, [EventStore(database).forget])


def event_ids(home: Home) -> list[str]:
    with closing(sqlite3.connect(home.events_database)) as connection:
        return [one for (one,) in connection.execute("SELECT event_id FROM events ORDER BY event_id")]


def is_whole(home: Home) -> bool:
    """Tell whether what is served, and what it stands on, is what it was."""
    _, manifest = read_generation(home, str(current_id(home)), verify=True)
    generation_snapshot(home, manifest)
    open_index(home.lance, manifest.index)
    for card in list_adapters(home):
        verify_adapter(home, card.id)
    return True


@pytest.fixture
def filled(tmp_path: Path) -> Home:
    """A home that serves its first generation of two, with three events, and bob forgotten."""
    home = Home(tmp_path / "home")
    served = make_all(home, 1)[0]
    make_all(home, 2)
    promote(home, served)
    write_json(home.keys, {"keys": []}, 0o600)
    sent(home, event(1), event(2), event(3, "eve"), event(4, "bob"))
    forget(home, "bob")
    return home


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def test_a_backup_fills_an_empty_home_with_all_that_was_there(filled: Home, place: Path, tmp_path: Path) -> None:
    made = back_up(filled, place, tmp_path / "kept" / "salt")
    assert (made.backup.served, made.backup.events, made.backup.forgotten) == (current_id(filled), 3, 1)
    other = Home(tmp_path / "other")
    done = restore(place, other, tmp_path / "kept" / "salt")
    assert (done.path, done.forgotten_since, done.forgotten_until) == (made.path, 0, made.backup.made)
    assert is_whole(other)
    assert current_id(other) == current_id(filled)
    assert list_promotions(other) == list_promotions(filled)
    assert event_ids(other) == ["event-1", "event-2", "event-3"]
    assert other.salt.read_bytes() == filled.salt.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in (other.salt, other.keys, other.events_database)} == {0o600}
    assert other.runs.stat().st_mode & 0o777 == 0o700
    with closing(Database.of(other)) as database:
        assert Tombstones(database).read().when("bob")
    assert not list(other.root.glob(".restored"))


def test_what_can_be_made_again_and_the_salt_are_not_in_it(filled: Home, place: Path) -> None:
    for name in ("cache/x", "encoders/e/x", "prefect/client.env", "runs/batch-1/lists.parquet", "runs/service-1/log"):
        path = filled.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    made = back_up(filled, place)
    names = set(made.backup.files)
    assert {one.partition("/")[0] for one in names} == {
        *("adapters", "generations", "lance", "runs", "snapshots"),
        *("events.db", "keys.json"),
    }
    assert {one for one in names if one.startswith("runs/")} == {
        path.relative_to(filled.root).as_posix() for path in filled.runs.glob("report-*")
    }
    assert not [one for one in names if one.endswith(".npy") or "/." in one]
    salt = filled.salt.read_bytes().strip()
    assert not [path for path in made.path.rglob("*") if path.is_file() and salt in path.read_bytes()]
    assert made.path.stat().st_mode & 0o777 == 0o700


def test_a_second_backup_takes_the_room_of_what_is_new(filled: Home, place: Path) -> None:
    first = back_up(filled, place)
    snapshot = make_all(filled, 3)[2]
    second = back_up(filled, place)
    new = sum(path.stat().st_size for path in (second.path / "snapshots" / snapshot).iterdir())
    assert new < second.copied < first.copied
    kept = [one for one in first.backup.files if one.startswith("snapshots/")]
    assert kept
    assert all((first.path / one).samefile(second.path / one) for one in kept)
    assert not (first.path / DATABASE).samefile(second.path / DATABASE)
    assert not [one for one in kept if (filled.root / one).samefile(first.path / one)]
    third = back_up(filled, place, keep=2)
    assert [path for path, _ in list_backups(place)] == [second.path, third.path]
    assert third.removed == (first.path.name,)
    assert check(place).path == third.path


def test_a_file_that_was_written_anew_is_copied_anew(filled: Home, place: Path, tmp_path: Path) -> None:
    back_up(filled, place)
    _, adapter, _ = make_all(filled, 1)
    path = filled.adapters / adapter / "card.json"
    path.write_bytes(path.read_bytes() + b"\n")
    made = back_up(filled, place)
    assert (made.path / "adapters" / adapter / "card.json").read_bytes() == path.read_bytes()
    assert check(made.path).backup.files[f"adapters/{adapter}/card.json"].bytes == path.stat().st_size


@pytest.fixture
def writer(filled: Home) -> Iterator[Callable[[int], None]]:
    """Waits for so many more events of a process that adds them, one a transaction, until it is ended."""
    code = (
        "import sys; from datetime import UTC, datetime; from recsys.home import Home\n"
        "from recsys.database.engine import Database; from recsys.database.events import Event, EventStore\n"
        "store, n = EventStore(Database.of(Home.of(sys.argv[1]))), 0\n"
        "while True:\n"
        "    store.add([Event('eve', 'item-1', datetime.now(UTC), event_id=f'live-{n:06}')]); n += 1\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(filled.root)])

    def wait(more: int) -> None:
        deadline, wanted = time.monotonic() + PATIENCE_SECONDS, len(event_ids(filled)) + more
        while len(event_ids(filled)) < wanted:
            assert process.poll() is None
            assert time.monotonic() < deadline

    yield wait
    process.kill()
    process.wait()


def test_a_backup_beside_a_writer_has_what_was_accepted_before_and_whole(
    filled: Home, place: Path, writer: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.database.copies.PAGES", 4)
    writer(20)
    accepted = len(event_ids(filled))
    steps: list[tuple[int, int]] = []

    def written_between(stage: str, done: int, total: int) -> None:
        if stage == "Copy the database":
            assert not steps or done > steps[-1][0]  # or it was begun anew
            steps.append((done, total))
            writer(1)

    made = back_up(filled, place, tmp_path / "salt", progress=written_between)
    assert len(steps) >= 3
    other = Home(tmp_path / "other")
    restore(place, other, tmp_path / "salt")
    live = [one for one in event_ids(other) if one.startswith("live-")]
    assert live == [f"live-{number:06}" for number in range(len(live))]
    assert accepted <= len(event_ids(other)) == made.backup.events


def die(work: str, source: Path, target: Path, salt: Path) -> None:
    """Back up or restore in processes each of which dies at another step."""
    command = [sys.executable, "-W", "ignore", "-c", DYING, work, *map(str, (source, target, salt, TRIALS))]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr


def test_a_killed_backup_looks_like_none_and_the_next_one_is_whole(filled: Home, place: Path) -> None:
    first = back_up(filled, place).path
    make_all(filled, 3)
    die("backup", filled.root, place, place)
    assert list(place.glob(f"{STAGING_PREFIX}*"))
    found = [path for path, _ in list_backups(place)]
    assert found[0] == first
    assert [check(path).path for path in found] == found
    assert {path.parent for path in place.glob(f"[!.]*/{BACKUP}")} == set(found)
    last = back_up(filled, place).path
    assert not list(place.glob(f"{STAGING_PREFIX}*"))
    assert check(place).path == last


def test_a_killed_restore_leaves_nothing_or_is_ended_by_the_next(filled: Home, place: Path, tmp_path: Path) -> None:
    salt = tmp_path / "salt"
    back_up(filled, place, salt)
    die("restore", place, tmp_path / "other", salt)
    seen = set()
    for trial in range(TRIALS):
        other = Home(tmp_path / f"other-{trial}")
        served, under_way = current_id(other), (other.root / FINISHING).exists()
        seen.add((served is not None, under_way))
        assert served in (None, current_id(filled))
        if served is None or under_way:
            restore(place, other, salt)
        assert is_whole(other)
        assert event_ids(other) == event_ids(filled)
        assert {path.name for path in other.root.glob("[!.]*")} >= {"events.db", "keys.json", "snapshots"}
    assert seen >= {(False, False), (False, True)}


def test_who_was_forgotten_after_a_backup_stays_so_where_a_later_one_knows(
    filled: Home, place: Path, tmp_path: Path
) -> None:
    salt = tmp_path / "salt"
    first = back_up(filled, place, salt).path
    forget(filled, "eve")
    second = back_up(filled, place)
    other = Home(tmp_path / "other")
    done = restore(first, other, salt)
    assert (done.path, done.forgotten_since, done.forgotten_until) == (first, 1, second.backup.made)
    assert event_ids(other) == ["event-1", "event-2"]
    with closing(Database.of(other)) as database:
        forgotten = Tombstones(database).read()
        assert forgotten.among(["ann", "bob", "eve"]) == {"bob", "eve"}
        assert forgotten.salt == agreed_salt(database)
    assert hash_user(forgotten.salt, "eve").encode() in other.events_database.read_bytes()
    assert b"event-3" not in other.events_database.read_bytes()


def test_the_salt_is_asked_for_where_somebody_is_forgotten_and_must_be_the_right_one(
    filled: Home, place: Path, tmp_path: Path
) -> None:
    back_up(filled, place)
    other = Home(tmp_path / "other")
    wrong = tmp_path / "wrong"
    wrong.write_text("ab" * 32)
    for salt, kind, said in (
        (None, SettingError, "--salt FILE"),
        (tmp_path / "nothing", SettingError, "is missing"),
        (wrong, ArtifactError, "not the salt of this backup"),
    ):
        with pytest.raises(kind, match=said):
            restore(place, other, salt)
    assert not [path for path in other.root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    with pytest.raises(SettingError, match="among the backups"):
        back_up(filled, place, place / "salt")
    with pytest.raises(ArtifactError, match="something else than the salt"):
        back_up(filled, place, wrong)
    assert len(list_backups(place)) == 1


def test_without_tombstones_no_salt_is_needed_and_a_new_one_is_made(tmp_path: Path, place: Path) -> None:
    home, other = Home(tmp_path / "home"), Home(tmp_path / "other")
    promote(home, make_all(home, 1)[0])
    sent(home, event(1))
    with closing(Database.of(home)) as database:
        agreed_salt(database)
    back_up(home, place)
    restore(place, other)
    with closing(Database.of(other)) as database:
        assert agreed_salt(database) != bytes.fromhex(home.salt.read_text())
    assert event_ids(other) == ["event-1"]


def test_a_home_without_a_database_is_backed_up_too(tmp_path: Path, place: Path) -> None:
    home, other = Home(tmp_path / "home"), Home(tmp_path / "other")
    served = make_all(home, 1)[2]
    assert DATABASE not in back_up(home, place).backup.files
    restore(place, other)
    assert open_snapshot(other, served).id == served
    assert not home.events_database.exists()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_what_is_not_what_was_written_is_not_restored(filled: Home, place: Path, tmp_path: Path) -> None:
    salt = tmp_path / "salt"
    made = back_up(filled, place, salt)
    other = Home(tmp_path / "other")
    hurt = made.path / next(one for one in made.backup.files if one.endswith("events.parquet"))
    damage(hurt)
    for work in (lambda: restore(place, other, salt), lambda: check(place)):
        with pytest.raises(ArtifactError, match=r"events\.parquet has changed"):
            work()
    hurt.unlink()
    for work in (lambda: restore(place, other, salt), lambda: check(place)):
        with pytest.raises(ArtifactError, match=r"events\.parquet is missing"):
            work()
    assert {path.name for path in other.root.iterdir()} <= {"runs", ".restore.lock"}
    written = json.loads((made.path / BACKUP).read_text())
    write_json(made.path / BACKUP, written | {"events": 4})
    with pytest.raises(ArtifactError, match=r"backup\.json has changed"):
        read_backup(made.path)
    write_json(made.path / BACKUP, written | {"format": 2, "recsys": "9.0"})
    with pytest.raises(ArtifactError, match=r"written by recsys 9\.0"):
        restore(made.path, other, salt)
    with pytest.raises(ArtifactError, match="There is no backup"):
        restore(place, other, salt)


def test_a_manifest_that_names_what_lies_elsewhere_is_refused(filled: Home, place: Path, tmp_path: Path) -> None:
    made = back_up(filled, place, tmp_path / "salt")
    written = json.loads((made.path / BACKUP).read_text())
    for name in ("../../outside", "/etc/passwd"):
        files = {name: next(iter(written["files"].values()))}
        forged = backups.Backup.parsed(written | {"files": files})
        write_json(made.path / BACKUP, forged.to_dict() | {"digest": forged.sealed_digest})
        with pytest.raises(ArtifactError, match=r"lies elsewhere"):
            restore(made.path, Home(tmp_path / "other"), tmp_path / "salt")


def test_what_is_not_empty_is_not_filled(filled: Home, place: Path, tmp_path: Path) -> None:
    back_up(filled, place, tmp_path / "salt")
    before = sorted(filled.root.rglob("*"))
    with pytest.raises(ArtifactError, match="is not empty"):
        restore(place, filled, tmp_path / "salt")
    assert [path for path in sorted(filled.root.rglob("*")) if path.name != ".restore.lock"] == before
    other = Home(tmp_path / "other")
    (other.root / "prefect").mkdir(parents=True)
    (other.root / "prefect" / "prefect.db").write_text("Prefect's own")  # a command has made it
    restore(place, other, tmp_path / "salt")
    assert is_whole(other)


def test_a_place_for_backups_is_one(filled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    for place, said in (
        (filled.root / "backups", "lies in the home"),
        (Path("s3://bucket/backups"), "is a URL"),
        (file, "is no folder"),
    ):
        with pytest.raises(SettingError, match=said):
            back_up(filled, place)
    with pytest.raises(ArtifactError, match="nothing to back up"):
        back_up(Home(tmp_path / "empty"), tmp_path / "backups")
    monkeypatch.setattr(backups.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(ArtifactError, match="The backup needs"):
        back_up(filled, tmp_path / "backups")
    assert list_backups(tmp_path / "backups") == []


def test_a_disk_that_gets_full_is_named_and_nothing_is_left(
    filled: Home, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(sqlite3.Connection):
        def backup(self, *_: Any, **__: Any) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    first = back_up(filled, place).path
    connect = partial(sqlite3.connect, factory=Full)
    monkeypatch.setattr(copies, "_opened", lambda path: connect(path))
    result = CliRunner().invoke(app, ["backup", str(place), "--home", str(filled.root), "--json"])
    assert result.exit_code == 1
    assert re.search(rf"The disk of {place}/\S+/events\.db is full", json.loads(result.stdout)["error"])
    assert [path.name for path in place.iterdir() if not path.name.startswith(".backup")] == [first.name]


def test_what_goes_while_it_is_copied_hurts_nobody(
    filled: Home, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = filled.runs / "train-1.json"
    record.write_text("{}")
    listed = backups.files

    def going(part: Path) -> list[Path]:
        found = listed(part)
        if part == record:
            record.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(backups, "files", going)
    made = back_up(filled, place, tmp_path / "salt")
    assert "runs/train-1.json" not in made.backup.files
    assert check(place).path == made.path


def test_the_commands_say_what_was_done_and_what_to_do(filled: Home, place: Path, tmp_path: Path) -> None:
    def run(*words: Any, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [*map(str, words), "--json"])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    at = ("--home", filled.root)
    made = run("backup", place, *at, "--salt", tmp_path / "salt", "--keep", 3)
    assert Path(made["backup"]).parent == place
    assert (made["events"], made["forgotten"], made["removed"]) == (3, 1, [])
    shown = CliRunner().invoke(app, ["backup", str(place), "--home", str(filled.root)]).stdout
    assert "0.0 of them new" not in shown
    assert "forgotten.salt is not in it" in shown
    assert run("restore", place, "--check")["restored"] is None
    assert "is not empty" in run("restore", place, *at, "--salt", tmp_path / "salt", code=1)["error"]
    done = run("restore", place, "--home", tmp_path / "other", "--salt", tmp_path / "salt")
    assert done["served"] == current_id(Home(tmp_path / "other"))
    assert "--salt" in run("restore", place, "--home", tmp_path / "third", code=1)["error"]
    assert "lies in the home" in run("backup", filled.root / "x", *at, code=1)["error"]
