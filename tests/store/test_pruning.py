"""What nobody needs goes, whole and before what it stands on; what is served, named, read or young stays."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lancedb
import pytest
from small_home import make_adapter, make_all, make_generation, make_snapshot

from recsys.artifacts import MANIFEST, STAGING_PREFIX, ArtifactError, Hold, mark_used, write_json
from recsys.config import CategoryConfig, IngestConfig
from recsys.data.snapshot import open_snapshot
from recsys.errors import SettingError
from recsys.home import Home
from recsys.store import retention, standing
from recsys.store.generations import (
    current_id,
    list_generations,
    promote,
    read_generation,
    report_path,
    rollback,
)
from recsys.store.manifests import CLASSIFICATION, IMPORTED, MERGED, SEARCH
from recsys.store.names import ADAPTER, GENERATION, read_names, set_alias, set_note, set_tags
from recsys.store.pointer import POINTER
from recsys.store.retention import UNFINISHED, Retention, prune
from recsys.store.shadow import begin_shadow

LATER = timedelta(days=10)
HOLDING = """
import sys
from pathlib import Path
from recsys.artifacts import Hold
hold = Hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def pruned(home: Home, keep: int = 2, dry_run: bool = False, now: datetime | None = None) -> Retention:
    """Prune as if all that is there were old."""
    return prune(home, keep, dry_run, now=now or datetime.now(UTC) + LATER)


def why(found: Retention, name: str) -> str:
    """Return why something stays."""
    return next(entry.why for entry in found.stays if entry.name == name)


def went(found: Retention) -> set[str]:
    return {entry.name for entry in found.goes}


def stored(home: Home) -> set[str]:
    """Return the paths of everything in a home but locks, and databases that are being read."""
    return {str(path.relative_to(home.root)) for path in home.root.rglob("*") if not path.name.endswith("lock")}


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[None]:
    """Let another process hold a folder."""
    command = [sys.executable, "-c", HOLDING, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        yield
        child.communicate()


def test_a_generation_goes_with_all_that_stood_on_it_alone(home: Home) -> None:
    old, adapter, snapshot = make_all(home, 1)
    others = [make_all(home, seed) for seed in (2, 3)]
    table = read_generation(home, old)[1].index.table
    write_json(home.runs / "train-0.json", {"generation": old, "adapter": adapter})
    for generation_id, _, _ in others:
        promote(home, generation_id)
    found = pruned(home)
    assert went(found) == {old, adapter, snapshot, table, f"{table}-2.npy", "train-0"}
    assert {one.id for one in list_generations(home)} == {one[0] for one in others}
    assert set(lancedb.connect(home.lance).list_tables().tables) == {one.index.table for one in list_generations(home)}
    assert not any(old in path or adapter in path or snapshot in path or table in path for path in stored(home))
    for generation_id, _, of_it in others:
        read_generation(home, generation_id, verify=True)
        open_snapshot(home, of_it)
    assert rollback(home) == others[0][0]


def test_a_dry_run_tells_the_same_and_changes_nothing(home: Home) -> None:
    made = [make_all(home, seed) for seed in (1, 2, 3)]
    before = stored(home)
    would = pruned(home, dry_run=True)
    assert stored(home) == before
    assert set(made[0]) < went(would)
    assert would.freed > 0
    assert went(pruned(home)) == went(would)
    assert pruned(home).goes == ()


def test_what_is_needed_stays_and_says_why(home: Home) -> None:
    made = [make_all(home, seed)[0] for seed in range(9)]
    served, before, shadow, alias, tag, note, old, *newest = made
    for generation_id in (old, before, served):
        promote(home, generation_id)
    begin_shadow(home, shadow, 0.5)
    set_alias(home, GENERATION, alias, "champion")
    set_tags(home, GENERATION, tag, add=("to-show",))
    set_note(home, GENERATION, note, "Ask Ann.")
    found = pruned(home)
    assert {one.id for one in list_generations(home)} == {*made} - {old}
    assert [why(found, one) for one in (served, before, shadow)] == [
        "served", "among the last 2 that were served", "the shadow"
    ]  # fmt: skip
    assert [why(found, one) for one in (alias, tag, note)] == [
        "called champion", "tagged to-show", "somebody has written a note about it"
    ]  # fmt: skip
    assert {why(found, one) for one in newest} == {"among the newest 2"}
    assert rollback(home) == before


def test_what_is_young_or_was_found_again_stays(home: Home) -> None:
    first, second = make_all(home, 1)[0], make_all(home, 2)[0]
    make_all(home, 3), make_all(home, 4)
    assert pruned(home, now=datetime.now(UTC)).goes == ()
    os.utime(home.generations / first, (0, 0))
    assert pruned(home, now=datetime.now(UTC)).goes == ()  # copied without its dates: its manifest says when
    later = datetime.now(UTC) + LATER
    os.utime(home.generations / second, (later.timestamp(),) * 2)
    assert {first, second} & went(pruned(home, now=later)) == {first}


def test_a_clock_that_went_back_lets_nothing_go(home: Home) -> None:
    for seed in (1, 2, 3):
        make_all(home, seed)
    assert pruned(home, now=datetime.now(UTC) - LATER).goes == ()


def test_the_same_content_ingested_again_is_young_again(home: Home) -> None:
    old = make_snapshot(home, 1)
    make_snapshot(home, 2)
    os.utime(home.snapshots / old, (0, 0))
    mark_used(home.snapshots / old)
    os.utime(home.snapshots / old, (0, 0))
    assert make_snapshot(home, 1) == old
    assert (home.snapshots / old).stat().st_mtime > 0


@pytest.mark.parametrize("kind", ["generation", "adapter", "snapshot"])
def test_what_another_process_reads_stays_until_it_ends(home: Home, kind: str) -> None:
    old = make_all(home, 1)
    make_all(home, 2), make_all(home, 3)
    name = dict(zip(("generation", "adapter", "snapshot"), old, strict=True))[kind]
    with held_elsewhere(home.root / f"{kind}s" / name):
        assert why(pruned(home), name) == "a process reads it"
    assert name in went(pruned(home))


def test_an_open_snapshot_stays(home: Home) -> None:
    old = make_snapshot(home, 1)
    make_snapshot(home, 2)
    opened = open_snapshot(home, old)
    assert pruned(home).goes == ()
    assert opened.events().height == 1
    del opened
    assert went(pruned(home)) == {old}
    with pytest.raises(ArtifactError, match=r"There is no snapshot .* Run `recsys ingest`"):
        open_snapshot(home, old)
    with pytest.raises(ArtifactError, match="somebody has deleted it"):
        Hold(home.snapshots / old)


@pytest.mark.parametrize("move", ["promote", "alias", "hold"])
def test_what_is_needed_meanwhile_stays(home: Home, monkeypatch: pytest.MonkeyPatch, move: str) -> None:
    old, adapter, snapshot = make_all(home, 1)
    for seed in (2, 3):
        promote(home, make_all(home, seed)[0])
    plan, holds = retention.plan, []

    def overtaken(place: Home, rule: standing.Rule) -> Retention:
        found = plan(place, rule)
        monkeypatch.setattr(retention, "plan", plan)
        if move == "promote":
            promote(home, old)
        elif move == "alias":
            set_alias(home, GENERATION, old, "late")
        else:
            holds.append(Hold(home.generations / old))
        return found

    monkeypatch.setattr(retention, "plan", overtaken)
    assert not {old, adapter, snapshot} & went(pruned(home))
    read_generation(home, old, verify=True)
    assert (current_id(home) == old) == (move == "promote")


def test_beside_what_cannot_be_read_nothing_goes_that_it_may_need(home: Home) -> None:
    broken, _, snapshot = make_all(home, 1)
    for seed in (2, 3, 4):
        make_all(home, seed)
    path = home.generations / broken / MANIFEST
    content = path.read_text()
    path.write_text("{")
    found = pruned(home)
    assert {entry.kind for entry in found.goes} == {"generation", "report"}
    assert why(found, broken) == "cannot be read, so nobody knows whether it is needed"
    assert why(found, snapshot) == f"generation {broken} cannot be read, and may stand on it"
    path.write_text(content)
    read_generation(home, broken, verify=True)


def test_a_broken_pointer_lets_nothing_go(home: Home) -> None:
    for seed in (1, 2, 3):
        make_all(home, seed)
    (home.generations / POINTER).write_text("{")
    before = stored(home)
    with pytest.raises(ArtifactError, match=POINTER):
        pruned(home)
    assert stored(home) == before


def test_adapters_stay_for_what_they_are(home: Home) -> None:
    snapshots = [make_snapshot(home, seed) for seed in range(5)]
    grandparent = make_adapter(home, 0, snapshots[0])
    parent = make_adapter(home, 1, snapshots[1], parent=grandparent)
    child = make_adapter(home, 2, snapshots[2], parent=parent)
    begun = make_adapter(home, 3, task=IMPORTED)
    promote(home, make_generation(home, 1, snapshots[2], child, adapter={"pretrained": begun}))
    named = make_adapter(home, 4, snapshots[3])
    set_alias(home, ADAPTER, named, "champion")
    unused, search = make_adapter(home, 5, snapshots[4]), make_adapter(home, 6, task=SEARCH)
    classifiers = [make_adapter(home, seed, task=CLASSIFICATION) for seed in range(10, 14)]
    completed = make_snapshot(home, 9, IngestConfig(categories=CategoryConfig(adapter=classifiers[0])))
    merged = make_adapter(home, 7, task=MERGED)
    found = pruned(home)
    assert why(found, merged) == "among the newest 2 of its task"
    assert went(found) == {grandparent, unused, search, classifiers[1], snapshots[0], snapshots[1], snapshots[4]}
    assert why(found, parent) == f"adapter {child} began with it"
    assert why(found, named) == "called champion"
    assert why(found, snapshots[3]) == f"adapter {named} learnt from it"
    assert why(found, classifiers[0]) == f"snapshot {completed} was completed by it"
    assert {why(found, one) for one in classifiers[2:]} == {"among the newest 2 of its task"}
    assert read_names(home, ADAPTER).aliases == {"champion": named}


def test_what_runs_have_left_goes_with_what_they_made(home: Home) -> None:
    kept, adapter, _ = make_all(home, 1)
    promote(home, kept)
    runs = {
        "train-1.json": {"generation": kept, "adapter": adapter},
        "classify-1.json": {"adapter": adapter},
        "train-2.json": {"generation": "0" * 16, "adapter": adapter},
        "pretrain-1.json": {"adapter": None},
    }
    for name, values in runs.items():
        write_json(home.runs / name, values)
    report_path(home, "0" * 16).write_text("a page")
    for name in ("train-1", "train-3"):
        (home.runs / name / "temporal").mkdir(parents=True)
        (home.runs / name / "temporal" / "towers.checkpoint").write_bytes(b"where it stands")
    (home.runs / "tune-1.db").write_bytes(b"trials")
    (home.runs / "monitor-1.json").write_bytes(b"what has changed")
    (home.root / f"{STAGING_PREFIX}keys").write_bytes(b"left")
    found = pruned(home)
    assert went(found) == {"train-2", "0" * 16, "train-1", f"{STAGING_PREFIX}keys"}
    assert {entry.place for entry in found.goes if entry.name == "train-1"} == {"runs/train-1"}  # it is done
    assert why(found, "train-3") == "the same training would go on from it"
    assert went(pruned(home, now=datetime.now(UTC) + UNFINISHED)) == {"train-3", "pretrain-1", "monitor-1.json"}
    assert (home.runs / "tune-1.db").exists()


def test_exports_go_with_their_adapter(home: Home) -> None:
    kept, adapter, _ = make_all(home, 1)
    promote(home, kept)
    cards = {
        "0" * 16: {"adapter": adapter, "base_digest": "d"},
        "1" * 16: {"adapter": "f" * 16, "base_digest": "d"},
        "2" * 16: {"adapter": None, "base_digest": "d"},
        "3" * 16: {"adapter": None, "base_digest": "another"},
    }
    for name, card in cards.items():
        (home.encoders / name).mkdir(parents=True)
        write_json(home.encoders / name / retention.ENCODER_CARD, card)
    assert went(pruned(home)) == {"1" * 16, "3" * 16}


def test_the_encoders_card_is_called_as_exports_call_it() -> None:
    from recsys.models.encoder.export import CARD

    assert retention.ENCODER_CARD == CARD


@pytest.mark.parametrize("rule", [{"keep": 1}, {"min_age": timedelta(hours=-1)}])
def test_a_rule_that_leaves_no_way_back_is_refused(rule: dict[str, int | timedelta]) -> None:
    with pytest.raises(SettingError, match=r"at least"):
        standing.Rule(**rule)  # type: ignore[arg-type]


def test_an_empty_home_has_nothing_to_prune(home: Home) -> None:
    assert pruned(home, dry_run=True) == Retention((), ())
    assert not home.root.exists()
    assert pruned(home).goes == ()
