"""What may mend itself is tried again, in a flow and in a stage, with a server and without."""

import signal
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from processes import PATIENCE_SECONDS

from flows.limits import limited
from flows.retries import COMMIT, JITTER, NETWORK, ONCE, Retries, mends
from flows.runs import Called, Run, flow, stage
from recsys.data.locations import SourceError, UnreachableError
from recsys.data.movielens import FetchError
from recsys.errors import DataError, RefusedError, SettingError
from recsys.store.generations import ConflictError

TWICE = Retries(times=2, seconds=0.01)
PASSING = [
    OSError("the disk"),
    RuntimeError("LanceDB"),
    UnreachableError("S3"),
    FetchError("a site"),
    ConflictError("two"),
]
LASTING = [
    *(SettingError("a name"), DataError("too few"), SourceError("no file")),
    *(
        RefusedError("g", ("worse",)),
        FileNotFoundError("no file"),
        PermissionError("not yours"),
        TypeError("a mistake"),
    ),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_mend_itself_does(error: Exception) -> None:
    assert mends(error)


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_is_the_same_the_next_time_does_not(error: Exception) -> None:
    assert not mends(error)


def made_flow(function: Callable[..., int]) -> Run[..., int]:
    return flow("tried", again=TWICE)(function)


def made_stage(function: Callable[..., int]) -> Run[..., int]:
    one = stage("tried", again=TWICE)(function)
    return flow("around")(lambda home: one(home))


def made_call(function: Callable[..., int]) -> Run[..., int]:
    return Called(function, TWICE)


@pytest.mark.parametrize("made", [made_flow, made_stage, made_call])
def test_a_failure_is_tried_again_or_not(
    made: Callable[..., Run[..., int]], prefect_server: str, tmp_path: Path
) -> None:
    failures: list[Exception] = []
    calls: list[str] = []

    def work(home: str) -> int:
        calls.append(home)
        if len(calls) <= len(failures):
            raise failures[len(calls) - 1]
        return len(calls)

    failures[:] = [OSError("first"), OSError("second")]
    assert made(work)(home=str(tmp_path)) == 3
    calls.clear()
    failures[:] = [OSError("first"), DataError("second")]
    with pytest.raises(DataError, match="second"):
        made(work)(home=str(tmp_path))
    assert len(calls) == 2
    calls.clear()
    failures[:] = [OSError("first"), OSError("second"), OSError("third")]
    with pytest.raises(OSError, match="third"):
        made(work)(home=str(tmp_path))


def test_waits_double_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("flows.retries.time.sleep", waited.append)

    def fails() -> None:
        raise OSError("always")

    for _ in range(2):
        with pytest.raises(OSError, match="always"):
            NETWORK.call(fails)
    assert len(waited) == 2 * NETWORK.times
    for wait, least in zip(waited, NETWORK.waits * 2, strict=True):
        assert least <= wait <= least * (1 + JITTER)
    assert waited[: NETWORK.times] != waited[NETWORK.times :]
    assert NETWORK.waits == [10, 20, 40]
    assert ONCE.waits == []
    assert COMMIT.times


def test_a_stage_that_is_stuck_is_ended_and_tried_again(prefect_server: str, tmp_path: Path) -> None:
    never = Event()
    calls: list[str] = []

    def work(home: str) -> int:
        calls.append(home)
        if len(calls) == 1:
            never.wait(PATIENCE_SECONDS)  # as long as nobody interrupts it
        return len(calls)

    one = stage("stuck", again=TWICE, seconds=0.5)(work)
    assert flow("around")(lambda home: one(home))(home=str(tmp_path)) == 2
    hopeless = stage("stuck", seconds=0.5)(lambda home: never.wait(PATIENCE_SECONDS))
    with pytest.raises(TimeoutError, match="taken for stuck"):
        flow("around")(lambda home: hopeless(home))(home=str(tmp_path))


def test_a_limit_leaves_the_one_around_it_alone() -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: told.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
        with pytest.raises(TimeoutError), limited(0.01):
            Event().wait(PATIENCE_SECONDS)
        with limited(PATIENCE_SECONDS):
            pass
        with limited(2 * PATIENCE_SECONDS):  # which comes later than the one around it
            assert signal.getitimer(signal.ITIMER_REAL)[0] <= PATIENCE_SECONDS
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= PATIENCE_SECONDS
        signal.raise_signal(signal.SIGALRM)
        assert told == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
