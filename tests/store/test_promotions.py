"""The log of promotions: every switch and every refusal has its line, whatever a crash has kept from it."""

import itertools
import json
import signal
import subprocess
import sys

import pytest

from recsys.artifacts import ArtifactError, staged_folder
from recsys.errors import SettingError
from recsys.home import Home
from recsys.store import pointer, promotions
from recsys.store.generations import (
    commit_generation,
    current_id,
    delete_generation,
    earlier_ids,
    promote,
    read_generation,
    rollback,
)
from recsys.store.manifests import GenerationManifest, IndexReference
from recsys.store.pointer import POINTER, list_promotions, refuse
from recsys.store.promotions import LOG, Cause, Promotion, read_log

# Ends a publisher at the n-th change that it makes to the disk, as the system's calls are audited.
KILLED = """
import os, signal, sys
from pathlib import Path
from recsys.home import Home
from recsys.store.generations import promote, rollback

home, target, left = Home(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
seen = 0

def counting(event, args):
    global seen
    writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if (writes or event in ("os.rename", "os.truncate", "os.remove")) and str(home.root) in str(args[0]):
        seen += 1
        if seen > left:
            os.kill(os.getpid(), signal.SIGKILL)

real = os.fsync
os.fsync = lambda file: (counting("open", (str(home.root), None, os.O_WRONLY)), real(file))[1]
sys.addaudithook(counting)
rollback(home, to=target) if sys.argv[4:] else promote(home, target)
"""

# Waits for the others, then publishes what all of them have judged against the same.
RACING = """
import sys
from pathlib import Path
from recsys.home import Home
from recsys.store.generations import ConflictError, promote

home = Home(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    promote(home, sys.argv[2], expected=sys.argv[3])
    print("won")
except ConflictError as error:
    print(error)
"""


@pytest.fixture
def place(tmp_path):
    return Home(tmp_path)


def make(place, content="weights"):
    index = IndexReference("t", 1, rows=1, dimensions=1, digest="d")
    manifest = GenerationManifest(snapshot="s", adapter="a", settings={"seed": 0}, index=index)
    with staged_folder(place.generations) as staging:
        (staging / "weights.bin").write_text(content)
        return commit_generation(place, staging, manifest)


def told(place):
    """Return what the log says, the oldest first."""
    return [(one.action, one.generation, one.previous) for one in list_promotions(place)[::-1]]


def test_every_switch_and_refusal_has_a_line(place):
    first, second, third = make(place, "1"), make(place, "2"), make(place, "3")
    promote(place, first)
    promote(place, first)  # it is served already: nothing happens, and nothing is told
    judged = Promotion.make(
        "publish", second, first, Cause("ann", "run-1", "Spring."), forced=True, passed=False, findings=("Worse.",)
    )
    promote(place, second, expected=first, promotion=judged)
    refuse(place, Promotion.make("refused", third, second, Cause("ann"), passed=False, findings=("Broken.",)))
    rollback(place, cause=Cause("ann", reason="Odd lists."))
    assert told(place) == [
        ("publish", first, None), ("publish", second, first), ("refused", third, second), ("rollback", first, second)
    ]  # fmt: skip
    back, refused, forced, plain = list_promotions(place)
    assert (forced.by, forced.run, forced.reason, forced.findings) == ("ann", "run-1", "Spring.", ["Worse."])
    assert [one.outcome for one in (back, refused, forced, plain)] == [
        "rolled back", "refused", "published against the gate", "published"
    ]  # fmt: skip
    assert plain.by == promotions.login()
    assert back.at > refused.at > forced.at > plain.at
    assert all(json.loads(line) for line in (place.generations / LOG).read_text().splitlines())


def test_an_older_pointer_and_a_home_without_a_log_tell_nothing(place):
    first, second = make(place, "1"), make(place, "2")
    assert list_promotions(place) == []
    (place.generations / POINTER).write_text(json.dumps({"generation": first, "trail": [first]}))
    assert list_promotions(place) == []
    promote(place, second)
    assert told(place) == [("publish", second, first)]


@pytest.mark.parametrize("left", ["all", "half", "no line end", "nothing"])
def test_what_a_crash_has_kept_from_the_log_is_told_and_written(place, left):
    first, second, third = make(place, "1"), make(place, "2"), make(place, "3")
    for generation_id in (first, second):
        promote(place, generation_id)
    log = place.generations / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    kept = {"all": lines[1], "half": lines[1][:40], "no line end": lines[1][:-1], "nothing": b""}[left]
    log.write_bytes(lines[0] + kept)
    expected = [("publish", first, None), ("publish", second, first)]
    assert told(place) == expected  # the pointer has it
    promote(place, third)
    assert told(place) == [*expected, ("publish", third, second)]
    assert [json.loads(line)["generation"] for line in log.read_text().splitlines()] == [first, second, third]


def test_a_line_that_is_none_hides_no_other(place, caplog):
    first, second = make(place, "1"), make(place, "2")
    promote(place, first)
    log = place.generations / LOG
    log.write_text('{"at": 5}\n[]\nno json\n' + log.read_text())
    promote(place, second)
    assert told(place) == [("publish", first, None), ("publish", second, first)]
    assert caplog.text.count("is left out") >= 3


def test_a_log_that_cannot_be_written_keeps_nobody_from_switching(place, monkeypatch, caplog):
    first, second = make(place, "1"), make(place, "2")
    promote(place, first)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(promotions, "canonical_json", full)
    promote(place, second)
    assert current_id(place) == second
    assert "No space left on device" in caplog.text
    assert told(place)[-1] == ("publish", second, first)
    monkeypatch.undo()
    promote(place, first)
    assert [one.generation for one in read_log(place)] == [first, second, first]


def test_a_linked_log_is_neither_read_nor_written(place, tmp_path):
    first = make(place)
    (tmp_path / "elsewhere").write_text("")
    (place.generations / LOG).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="is a link"):
        list_promotions(place)
    promote(place, first)
    assert current_id(place) == first
    assert (tmp_path / "elsewhere").read_text() == ""


def test_going_back_twice_goes_back_two_steps(place):
    first, second, third, fourth = (make(place, content) for content in "1234")
    for generation_id in (first, second, third):
        promote(place, generation_id)
    assert [rollback(place), rollback(place)] == [second, first]
    promote(place, fourth)
    assert rollback(place) == first
    with pytest.raises(ArtifactError, match="no earlier generation"):
        rollback(place)


def test_going_back_goes_where_one_says(place):
    first, second, third, never_served = (make(place, content) for content in "1234")
    for generation_id in (first, second, third):
        promote(place, generation_id)
    assert rollback(place, to=first) == first
    assert earlier_ids(place) == []
    for generation_id in (second, third):
        promote(place, generation_id)
    assert rollback(place, to=never_served) == never_served  # in the place of the third, to which nothing leads back
    assert earlier_ids(place) == [second, first]
    assert rollback(place, to=never_served) == never_served  # it is there already
    assert rollback(place) == second
    with pytest.raises(ArtifactError, match="There is no generation"):
        rollback(place, to="0" * 16)
    (place.generations / never_served / "weights.bin").write_text("changed")
    with pytest.raises(ArtifactError, match="has changed"):
        rollback(place, to=never_served)
    assert current_id(place) == second


def test_what_is_deleted_between_two_turns_of_one_leaves_no_way_back_to_itself(place):
    first, second = make(place, "1"), make(place, "2")
    for generation_id in (first, second, first):
        promote(place, generation_id)
    delete_generation(place, second)
    with pytest.raises(ArtifactError, match="no earlier generation"):
        rollback(place)
    assert told(place)[-1] == ("publish", first, second)  # what happened has happened


def test_of_many_that_publish_at_once_one_wins_and_the_others_are_told(place):
    first, *others = (make(place, content) for content in "12345")
    promote(place, first)
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", RACING, str(place.root), one, first],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for one in others
    ]  # fmt: skip
    assert [one.stdout.readline() for one in racing] == ["ready\n"] * len(racing)
    for one in racing:
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate(timeout=120)[0] for one in racing]
    (winner,) = [one for one, told in zip(others, said, strict=True) if told == "won\n"]
    assert all(f"Generation {winner} was published while" in told for told in said if told != "won\n")
    assert current_id(place) == winner
    assert told(place) == [("publish", first, None), ("publish", winner, first)]


def test_a_home_that_cannot_be_written_to_hides_no_refusal(place, monkeypatch, caplog):
    first = make(place)

    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(pointer, "locked", read_only)
    refuse(place, Promotion.make("refused", first, None, Cause("ann")))
    assert "Read-only file system" in caplog.text


@pytest.mark.parametrize("reason", ["", " \n", "x" * 501, "one\ntwo", "\x1b[31mred", "half \ud83d", "one\u2028two"])
def test_a_reason_is_a_reason(place, reason):
    first, second = make(place, "1"), make(place, "2")
    for generation_id in (first, second):
        promote(place, generation_id)
    with pytest.raises(SettingError, match="1 to 500 characters"):
        rollback(place, cause=Cause(reason=reason))
    with pytest.raises(SettingError, match="takes a reason"):
        Cause().check(force=True)
    assert current_id(place) == second
    said = "[red]Ärger[/] 👩\u200d💻 …"
    rollback(place, cause=Cause(reason=said))
    assert list_promotions(place)[0].reason == said


@pytest.mark.parametrize("back", [False, True], ids=["promote", "rollback"])
def test_a_publisher_that_is_killed_anywhere_leaves_the_old_or_the_new_and_a_whole_log(place, back):
    served, other = make(place, "1"), make(place, "2")
    promote(place, other)
    promote(place, served)
    seen = set()
    for step in itertools.count():
        before = current_id(place)
        target = other if before == served else served
        command = [sys.executable, "-c", KILLED, str(place.root), target, str(step), *(["back"] if back else [])]
        done = subprocess.run(command, timeout=120, check=False, capture_output=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        after = current_id(place)
        assert after in (before, target)
        read_generation(place, str(after), verify=True)
        seen.add((done.returncode, after == target))
        last = list_promotions(place)[0]
        assert last.generation == after
        if done.returncode == 0:
            break
    assert step > 5
    assert seen == {(0, True), (-signal.SIGKILL, True), (-signal.SIGKILL, False)}
    promote(place, make(place, "3"))  # writes what is missing
    log = read_log(place)
    assert log == list_promotions(place)[::-1]
    assert all(one.previous == before.generation for before, one in itertools.pairwise(log))
    assert pointer.read_pointer(place).promotion == log[-1].to_dict()
