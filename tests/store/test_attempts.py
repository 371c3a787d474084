"""Attempts to promote: one at a time in a home, and whoever judged one, alive or gone, it is told what became of it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys.store import attempts
from recsys.store.attempts import UnderWayError, begin_attempt, end_attempt, find_attempt
from recsys.store.pointer import refuse, switch
from recsys.store.promotions import Action, Cause, Promotion

GENERATION, BEFORE = "0123456789abcdef", "fedcba9876543210"
# Begins an attempt, and holds it until it is ended.
JUDGE = """
import sys
from pathlib import Path
from recsys.home import Home
from recsys.store.attempts import begin_attempt
from recsys.store.promotions import Cause

attempt, hold = begin_attempt(Home(Path(sys.argv[1])), sys.argv[2], Cause(by="another process"), False)
print(attempt.id, flush=True)
sys.stdin.read()
"""


@contextmanager
def judged_elsewhere(home: Home) -> Iterator[str]:
    """Yield the id of an attempt that another process holds, which is killed at the end."""
    command = [sys.executable, "-c", JUDGE, str(home.root), GENERATION]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as judge:
        assert judge.stdout is not None
        try:
            yield judge.stdout.readline().strip()
        finally:
            judge.kill()


@pytest.fixture
def home(tmp_path: object) -> Home:
    return Home.of(str(tmp_path))


def test_what_another_process_judges_is_running_and_alone(home: Home) -> None:
    with judged_elsewhere(home) as attempt_id:
        assert find_attempt(home, attempt_id).running
        with pytest.raises(UnderWayError, match="asked for by another process") as refused:
            begin_attempt(home, BEFORE, Cause(), False)
        assert refused.value.attempt.id == attempt_id


def test_who_is_gone_leaves_what_has_failed_and_makes_room(home: Home) -> None:
    with judged_elsewhere(home) as attempt_id:
        pass
    left = find_attempt(home, attempt_id)
    assert (left.state, left.code, left.generation) == ("failed", attempts.LOST, GENERATION)
    assert "Ask again" in str(left.detail)
    begun, _ = begin_attempt(home, GENERATION, Cause(), False)
    assert begun.running


@pytest.mark.parametrize(
    ("action", "passed", "state", "code"),
    [
        ("publish", True, "promoted", None),
        ("refused", False, "refused", attempts.REFUSED),
        ("refused", None, "failed", attempts.BROKEN),
    ],
)
def test_of_who_is_gone_the_log_says_what_was_decided(
    home: Home, action: Action, passed: bool | None, state: str, code: str | None
) -> None:
    with judged_elsewhere(home) as attempt_id:
        cause = Cause(by="another process", attempt=attempt_id)
        decided = Promotion.make(action, GENERATION, BEFORE, cause, passed=passed, findings=("It is so.",))
        if action == "refused":
            refuse(home, decided)
        else:
            home.generations.mkdir()
            switch(home, [GENERATION], decided)
        assert find_attempt(home, attempt_id).running  # whoever judges it says when it has ended
    left = find_attempt(home, attempt_id)
    assert (left.state, left.code, left.previous, left.findings) == (state, code, BEFORE, ["It is so."])
    assert left.ended == decided.at


def test_an_attempt_that_has_ended_makes_room_for_others_and_old_ones_are_forgotten(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "KEPT", 2)
    ids = []
    for number in range(4):
        attempt, _ = begin_attempt(home, GENERATION, Cause(reason=f"{number}"), False)
        end_attempt(home, replace(attempt, state="refused", code=attempts.REFUSED, findings=["Worse."]))
        ids.append(attempt.id)
    assert [one.id for one in attempts.attempts(home)] == ids[:1:-1]
    last = find_attempt(home, ids[-1])
    assert (last.state, last.findings, last.reason) == ("refused", ["Worse."], "3")
    assert str(last.ended) >= last.at
    for unknown in (ids[0], "f" * 16, "../../x"):
        with pytest.raises(ArtifactError):
            find_attempt(home, unknown)
