"""A home on an object store: two machines with caches of their own, a server that does wrong what it is told to."""

import hashlib
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from object_store import CUT, LOST, Store
from small_home import make_adapter, make_all, make_generation, make_snapshot

from recsys.artifacts import ArtifactError, Hold, staged_folder
from recsys.data.forgetting import Forgotten, hash_user
from recsys.data.ingest import ingest
from recsys.data.segments import trie
from recsys.data.snapshot import open_snapshot
from recsys.errors import SettingError
from recsys.home import Home
from recsys.remote import claims, following
from recsys.remote.bucket import StoreAwayError, StoreError, bucket_of
from recsys.remote.cache import make_space
from recsys.remote.claims import deleting, putting
from recsys.remote.folders import discard_stored, push
from recsys.remote.following import follow, reached, refresh
from recsys.remote.listing import ADAPTERS
from recsys.store.adapters import list_adapters, verify_adapter
from recsys.store.backups import back_up
from recsys.store.forgetting import forget_in_snapshots
from recsys.store.generations import (
    ConflictError,
    current_id,
    delete_generation,
    list_generations,
    promote,
    read_generation,
    rollback,
)
from recsys.store.index import open_index
from recsys.store.names import GENERATION, read_names, set_alias
from recsys.store.pointer import list_promotions, trail_of
from recsys.store.restoring import restore
from recsys.store.retention import prune
from recsys.store.shadow import begin_shadow, end_shadow, read_shadow
from services.edge.keys import create_key, read_keys

POINTER, LOG = "state/generations/current.json", "state/generations/promotions.jsonl"
Machine = Callable[[str], Home]
LATER = datetime.now(UTC) + timedelta(days=2)


@pytest.fixture
def url(object_store: Store) -> str:
    return f"s3://{object_store.bucket.name}/shop"


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Returns the home as a machine of some name has it."""

    def of(name: str) -> Home:
        monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / name))
        return reached(url)

    return of


def refused(store: Store, status: int, code: str) -> None:
    store.fault = status, code


def a_third(store: Store) -> None:
    """Let every third call be answered with 503."""
    store.faults = lambda method, key: 503 if len(store.asked) % 3 == 0 else None


def once(store: Store, wrong: int | str, method: str, ending: str) -> list[str]:
    """Let the next call of a method for some key go wrong; return a list that is empty when it has."""
    left = [ending]

    def fault(asked: str, key: str) -> int | str | None:
        if asked == method and left and key.endswith(ending):
            left.pop()
            return wrong
        return None

    store.faults = fault
    return left


def test_another_machine_has_what_one_has_made_by_the_ids_of_a_local_home(
    object_store: Store, machine: Machine, tmp_path: Path
) -> None:
    a_third(object_store)
    made = make_all(machine("one"), 1)
    assert made == make_all(Home(tmp_path / "local"), 1)
    promote(machine("one"), made[0])
    other = machine("other")
    assert stat.S_IMODE(other.root.stat().st_mode) == 0o700
    assert current_id(other) == made[0]
    assert [one.id for one in list_generations(other)] == [made[0]]
    assert [one.id for one in list_adapters(other)] == [made[1]]
    assert not [*other.root.rglob("*.bin"), *other.root.rglob("*.parquet"), *other.root.rglob("*.lance")]
    folder, manifest = read_generation(other, made[0], verify=True)
    assert (folder / "weights.bin").read_text() == "weights 1"
    assert open_index(other.lance, manifest.index).count_rows() == manifest.index.rows
    assert verify_adapter(other, made[1]).is_dir()
    assert open_snapshot(other, made[2]).events().height == 1
    assert [one.outcome for one in list_promotions(other)] == ["published"]


def test_a_backup_holds_what_the_store_has_and_is_restored_into_a_folder(machine: Machine, tmp_path: Path) -> None:
    generation, adapter, snapshot = make_all(machine("one"), 1)
    promote(machine("one"), generation)
    backup = back_up(machine("other"), tmp_path / "backups").path  # which has brought nothing yet
    assert not (backup / "store").exists()
    with pytest.raises(SettingError, match="into a folder"):
        restore(backup, machine("third"))
    home = Home(tmp_path / "restored")
    restore(backup, home)
    assert home.store is None
    assert current_id(home) == generation
    _, manifest = read_generation(home, generation, verify=True)
    assert open_index(home.lance, manifest.index).count_rows() == manifest.index.rows
    assert verify_adapter(home, adapter).is_dir()
    assert open_snapshot(home, snapshot).events().height == 1


def test_a_home_is_named_by_its_cache_too(machine: Machine, url: str) -> None:
    home = machine("one")
    assert Home(home.root).store == url == Home.of(str(home.root)).store
    assert Home.of(Path(url)) == home  # a path has lost a slash


@pytest.mark.parametrize(
    "place", ["s3://", "s3://user:secret@bucket/x", "s3://bucket/x?sig=secret", "ftp://bucket/x", "s3://bucket/../x"]
)
def test_what_is_no_place_on_a_store_is_told_without_what_may_be_secret(place: str) -> None:
    with pytest.raises(SettingError, match="A home is a folder, or s3://bucket/prefix") as told:
        Home.of(place)
    assert "secret" not in str(told.value)


def test_an_acknowledgement_that_is_lost_is_no_conflict(object_store: Store, machine: Machine) -> None:
    home = machine("one")
    first, second = make_all(home, 1)[0], make_all(home, 2)[0]
    for generation in (first, second):
        left = once(object_store, LOST, "PUT", POINTER)
        promote(home, generation)
        assert not left
        left = once(object_store, LOST, "PUT", LOG)
        assert rollback(home, to=first) == first
        assert left == [] or generation == first  # nothing to do the first time
        object_store.faults = lambda method, key: None
    assert current_id(machine("other")) == first
    assert [one.action for one in list_promotions(machine("other"))] == ["rollback", "publish", "publish"]


def test_of_two_that_publish_at_once_one_wins(object_store: Store, machine: Machine) -> None:
    one = machine("one")
    ids = [make_all(one, seed)[0] for seed in (1, 2, 3)]
    promote(one, ids[0])
    other = machine("other")
    read_generation(other, ids[2], verify=True)

    def meanwhile(method: str, key: str) -> None:
        if method == "PUT" and key.endswith(POINTER):
            object_store.faults = lambda *_: None
            promote(other, ids[2], ids[0])

    object_store.faults = meanwhile
    with pytest.raises(ConflictError, match="Another machine has served another generation"):
        promote(one, ids[1], ids[0])
    assert current_id(machine("third")) == ids[2]
    with pytest.raises(ConflictError, match=f"Generation {ids[2]} was published while {ids[1]}"):
        promote(one, ids[1], ids[0])
    promote(one, ids[1])
    refresh(other)
    assert trail_of(other) == [ids[0], ids[2], ids[1]]
    assert [line.generation for line in list_promotions(other)] == [ids[1], ids[2], ids[0]]


def test_what_is_put_by_half_is_not_there_and_is_finished_by_the_next(object_store: Store, machine: Machine) -> None:
    home = machine("one")
    refused_put = once(object_store, 403, "PUT", ".json")
    with pytest.raises(StoreError, match="may not"):
        make_adapter(home, 1)
    assert not refused_put
    assert list_adapters(machine("other")) == []
    object_store.faults = lambda method, key: None
    object_store.asked.clear()
    adapter = make_adapter(home, 1)
    assert [one.id for one in list_adapters(machine("other"))] == [adapter]
    assert not [key for method, key in object_store.asked if method == "PUT" and "/files/" in key]


def test_a_download_that_is_cut_goes_on_and_another_content_is_refused(object_store: Store, machine: Machine) -> None:
    made = make_adapter(machine("one"), 1)
    once(object_store, CUT, "GET", hashlib.sha256(b"weights 1").hexdigest())
    assert (verify_adapter(machine("other"), made) / "adapter_model.safetensors").read_text() == "weights 1"
    file = object_store.bucket / "shop/files" / hashlib.sha256(b"weights 1").hexdigest()
    file.write_text("weights 2")
    third = machine("third")
    with pytest.raises(ArtifactError, match="is not what was put there"):
        verify_adapter(third, made)
    file.unlink()
    with pytest.raises(ArtifactError, match="is gone"):
        verify_adapter(third, made)
    assert not list((third.adapters / made).glob("*.safetensors"))


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (400, "ExpiredToken", "The credentials have expired. Renew them"),
        (403, "InvalidAccessKeyId", "The credentials are none that the store knows"),
        (404, "NoSuchBucket", "There is no such bucket"),
    ],
)
def test_credentials_that_do_not_do_are_told(
    object_store: Store, machine: Machine, status: int, code: str, told: str
) -> None:
    home = machine("one")
    made = make_all(home, 1)[0]
    refused(object_store, status, code)
    with pytest.raises(StoreError, match=told):
        machine("one")
    with pytest.raises(StoreError, match=told):
        promote(home, made)
    assert current_id(home) is None
    follow(home)  # of a service: it goes on with what is here
    assert read_generation(home, made, verify=True)[1].id == made


def test_a_store_that_is_away_leaves_what_was_brought(
    object_store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = machine("one")
    made = make_all(one, 1)[0]
    promote(one, made)

    def away(self: object, prefix: str) -> None:
        raise StoreAwayError("It does not answer.")

    monkeypatch.setattr("recsys.remote.bucket.Bucket.list", away)
    assert current_id(machine("one")) == made
    assert "What was brought before is shown. It does not answer." in caplog.text
    with pytest.raises(StoreAwayError):
        machine("other")


def test_a_pointer_that_was_lost_is_restored(object_store: Store, machine: Machine) -> None:
    one = machine("one")
    first, second, third = (make_all(one, seed)[0] for seed in (1, 2, 3))
    promote(one, first)
    promote(one, second)
    other = machine("other")
    lost = (object_store.bucket / "shop" / POINTER).read_bytes()
    (object_store.bucket / "shop" / POINTER).unlink()
    refresh(other)
    assert current_id(other) == second
    (object_store.bucket / "shop" / POINTER).write_bytes(lost)  # somebody restores it
    promote(one, first)
    refresh(other)
    assert current_id(other) == first
    (object_store.bucket / "shop" / POINTER).unlink()
    promote(other, third)  # or the next switch does
    assert trail_of(machine("third")) == [first, second, first, third]


def test_names_the_shadow_and_keys_are_those_of_all_machines(machine: Machine) -> None:
    one = machine("one")
    first, second = make_all(one, 1)[0], make_all(one, 2)[0]
    other = machine("other")
    set_alias(one, GENERATION, first, "champion")
    set_alias(other, GENERATION, second, "challenger")
    begin_shadow(one, second, 0.5)
    key, _ = create_key(one, "shop", ["recommend"])
    create_key(other, "page", ["admin"])
    refresh(one)
    refresh(other)
    for home in (one, other):
        assert read_names(home, GENERATION).aliases == {"champion": first, "challenger": second}
        assert [kept.name for kept in read_keys(home) or ()] == ["shop", "page"]
        assert stat.S_IMODE(home.keys.stat().st_mode) == 0o600
    shadow = read_shadow(other)
    assert shadow is not None
    assert shadow.generation == second
    end_shadow(other)
    refresh(one)
    assert read_shadow(one) is None
    assert key.id


def test_a_cache_keeps_to_its_size(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    make_all(machine("one"), 1)
    made, adapter, snapshot = make_all(machine("one"), 2)
    home = machine("one")
    monkeypatch.setenv("RECSYS_CACHE_GB", "1e-9")
    assert make_space(home) == []  # all was used within the hour
    held = Hold(home.generations / made)
    later = datetime.now(UTC).timestamp() + 4_000
    gone = make_space(home, later)
    assert {path.name for path in gone} >= {adapter, snapshot}
    assert made not in {path.name for path in gone}
    assert [one.id for one in list_generations(home)] == sorted(one.id for one in list_generations(machine("other")))
    assert not list((home.snapshots / snapshot).glob("*.parquet"))
    monkeypatch.delenv("RECSYS_CACHE_GB")
    assert open_snapshot(home, snapshot).events().height == 1  # it is brought again
    assert open_index(home.lance, read_generation(home, made, verify=True)[1].index).name
    monkeypatch.setenv("RECSYS_CACHE_GB", "much")
    with pytest.raises(SettingError, match="positive number of gigabytes"):
        make_space(home)
    assert held


def test_pruning_takes_from_the_store_what_nobody_needs(object_store: Store, machine: Machine) -> None:
    one, other = machine("one"), machine("other")
    made = [make_all(one, seed) for seed in range(1, 5)]
    for generation, _, _ in made:
        promote(one, generation)
    refresh(other)
    reading = Hold(other.generations / made[0][0])
    before = len(object_store.keys("shop/files/"))
    prune(one, keep=2, now=LATER)
    left = {made[2][0], made[3][0]}
    assert {Path(key).stem for key in object_store.keys("shop/kept/generations/")} == left
    assert {Path(key).stem for key in object_store.keys("shop/kept/snapshots/")} == {made[2][2], made[3][2]}
    assert len(object_store.keys("shop/kept/lance/")) == 2
    assert len(object_store.keys("shop/files/")) < before
    assert object_store.keys("shop/claims/") == []
    refresh(other)
    assert {path.parent.name for path in other.generations.glob("*/manifest.json")} == left | {
        made[0][0]
    }  # it is being read
    del reading
    refresh(other)
    assert {one.id for one in list_generations(other)} == left
    new = machine("new")
    for generation in left:
        assert open_index(new.lance, read_generation(new, generation, verify=True)[1].index).name
    delete_generation(new, made[2][0])
    assert [Path(key).stem for key in object_store.keys("shop/kept/generations/")] == [made[3][0]]


def test_nothing_is_deleted_while_somebody_puts(
    object_store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = machine("one")
    with putting(home), pytest.raises(StoreAwayError, match="Somebody puts something"):
        prune(home, now=LATER)
    monkeypatch.setattr(claims, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(claims, "WAIT_SECONDS", 0)
    mark = object_store.bucket / "shop/claims/deleting/one"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("of another machine")
    with pytest.raises(StoreAwayError, match="Somebody deletes from"), putting(home):
        pass
    with pytest.raises(StoreAwayError, match="Another process deletes"), deleting(home):
        pass
    os.utime(mark, (1e9, 1e9))  # it was left behind
    with putting(home):
        pass
    once(object_store, LOST, "PUT", "claims/deleting/one")
    with deleting(home):
        assert mark.read_text() != "of another machine"
    assert object_store.keys("shop/claims/") == []


def test_who_is_forgotten_is_gone_from_the_store_too(
    object_store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trie, "LEAF_ROWS", 20)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    users = ["ann"] * 5 + ["bob"] * 95
    events = pl.DataFrame(
        {"user_id": users, "item_id": ["a"] * 100, "timestamp": [start + timedelta(days=n) for n in range(100)]}
    )
    items = pl.DataFrame({"item_id": ["a"], "title": ["A thing"]})
    held = ingest(events, items, machine("one"))
    other = machine("other")
    first = object_store.keys("shop/files/")
    gone = Forgotten(b"salt", {hash_user(b"salt", "ann"): int(LATER.timestamp() * 1e6)})
    (done,) = forget_in_snapshots(other, gone)
    assert (done.snapshot, done.events) == (held.id, 5)
    second = object_store.keys("shop/files/")
    assert len(second) - len(first) < len(held.manifest.segments or ())  # those that are shared are put once
    prune(other, now=LATER)
    third = machine("third")
    assert [path.name for path in third.snapshots.glob("[0-9a-f]*")] == [done.without]
    assert open_snapshot(third, str(done.without)).user_ids() == ["bob"]
    assert set(first) - set(object_store.keys("shop/files/"))


def test_segments_that_two_snapshots_share_are_brought_once(
    object_store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trie, "LEAF_ROWS", 20)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = {"user_id": [f"u{n % 50}" for n in range(200)], "item_id": ["a"] * 200}
    events = pl.DataFrame(rows | {"timestamp": [start + timedelta(days=n) for n in range(200)]})
    items = pl.DataFrame({"item_id": ["a"], "title": ["A thing"]})
    one = machine("one")
    first = ingest(events, items, one)
    more = events.head(1).with_columns(pl.lit(start - timedelta(days=9)).alias("timestamp"))
    second = ingest(more, None, one, append=first)
    other = machine("other")
    open_snapshot(other, first.id)
    object_store.asked.clear()
    assert open_snapshot(other, second.id).events().equals(second.events())
    brought = [key for method, key in object_store.asked if method == "GET" and "/files/" in key]
    assert len(brought) < len(second.manifest.segments or ())


def test_a_store_that_lists_nothing_any_more_takes_nothing_away(object_store: Store, machine: Machine) -> None:
    home = machine("one")
    made = make_all(home, 1)[0]
    for key in object_store.keys("shop/kept/"):
        (object_store.bucket / key).unlink()
    refresh(home)
    assert read_generation(home, made, verify=True)[1].id == made
    push(home, ADAPTERS, make_adapter(home, 1, make_snapshot(home, 1)))  # and is filled again
    promote(home, made)
    assert read_generation(machine("other"), made, verify=True)[1].id == made


def test_what_somebody_else_has_deleted_is_not_put_again_by_halves(machine: Machine) -> None:
    adapter = make_adapter(machine("one"), 1)
    other = machine("other")
    kept = following.known(other, ADAPTERS, adapter).read_bytes()
    discard_stored(machine("one"), ADAPTERS, adapter)
    with pytest.raises(ArtifactError, match="was deleted from"):
        push(other, ADAPTERS, adapter)
    assert kept


def test_a_service_looks_once_in_two_seconds_for_all_its_workers(
    object_store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine("one")
    made = make_all(one, 1)[0]
    other = machine("other")
    promote(one, made)
    object_store.asked.clear()
    for _ in range(5):
        follow(other)
    assert object_store.asked == []
    monkeypatch.setattr(following, "FOLLOW_SECONDS", 0)
    follow(other)
    assert current_id(other) == made
    object_store.asked.clear()
    follow(other)
    assert len(object_store.asked) == 1  # nothing has changed


def test_a_listing_that_names_files_elsewhere_is_refused(object_store: Store, machine: Machine) -> None:
    adapter = make_adapter(machine("one"), 1)
    path = object_store.bucket / f"shop/kept/adapters/{adapter}.json"
    path.write_text(path.read_text().replace("adapter_model.safetensors", "../../x"))
    with pytest.raises(ArtifactError, match="names files elsewhere"):
        machine("other")


def test_a_table_that_another_machine_has_built_is_taken_as_it_is(machine: Machine) -> None:
    first = make_all(machine("one"), 1)
    other = machine("other")
    second = make_generation(other, 1, first[2], first[1], other=True)  # of the same vectors
    indexes = [read_generation(other, one)[1].index for one in (first[0], second)]
    assert indexes[0] == indexes[1]
    assert bucket_of(str(other.store)).list("kept/lance")[1:] == []


def test_staging_is_no_folder_of_the_store(machine: Machine) -> None:
    home = machine("one")
    with staged_folder(home.make().adapters):
        refresh(home)
        assert list_adapters(home) == []
