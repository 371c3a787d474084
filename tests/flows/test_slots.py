"""Runs that share a home or a GPU wait for each other, others do not; who is killed keeps nobody waiting for ever."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_HOME
from processes import PATIENCE_SECONDS

from flows.runs import Run, flow
from flows.slots import gpu_slots, home_slot
from flows.work import LIGHT, READING, TRAINING, Work
from recsys.home import Home

VISIBLE: ContextVar[str] = ContextVar("visible")
HOLDER = """
import sys
from flows.runs import flow
from flows.work import READING

@flow("hold", READING)
def hold(home):
    print("held", flush=True)
    sys.stdin.read()

hold(sys.argv[1])
"""


@pytest.fixture
def threads() -> Iterator[Callable[..., "Future[None]"]]:
    """Calls a function in a thread that knows the server as this one does."""
    with ThreadPoolExecutor() as pool:
        yield lambda function, *arguments: pool.submit(copy_context().run, function, *arguments)


def blocking(name: str, work: Work = READING) -> tuple[Run[..., None], Event, Event]:
    """Return a flow that works on a home until it is told, what says that it does, and what tells it."""
    begun, told = Event(), Event()

    @flow(name, work)
    def block(home: str) -> None:
        begun.set()
        assert told.wait(PATIENCE_SECONDS)

    return block, begun, told


def active(home: Home) -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(home_slot(home)).active_slots


def test_runs_of_one_home_wait_and_runs_of_two_go_side_by_side(
    prefect_server: str, tmp_path: Path, threads: Callable[..., "Future[None]"]
) -> None:
    home, other = Home(tmp_path / "home").make(), Home(tmp_path / "other").make()
    first, first_begun, first_told = blocking("first")
    second, second_begun, second_told = blocking("second")
    third, third_begun, third_told = blocking("third")
    running = [threads(first, str(home.root))]
    assert first_begun.wait(PATIENCE_SECONDS)
    running += [threads(second, str(home.root)), threads(third, str(other.root))]
    assert third_begun.wait(PATIENCE_SECONDS)
    light = flow("look", LIGHT)(lambda home: home)
    assert light(str(home.root)) == str(home.root)  # it waits for nobody
    assert not second_begun.is_set()
    assert (active(home), active(other)) == (1, 1)
    first_told.set()
    assert second_begun.wait(PATIENCE_SECONDS)
    for told in (second_told, third_told):
        told.set()
    for one in running:
        one.result(PATIENCE_SECONDS)
    assert (active(home), active(other)) == (0, 0)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The identities of two GPUs, of which a process sees those that CUDA_VISIBLE_DEVICES or a thread's VISIBLE names.

    Of the driver nothing but its answers is made up.
    """
    one, other = str(uuid4()), str(uuid4())
    named = {"0": one, f"GPU-{one}": one, "1": other}

    def seen() -> list[str]:
        return [name for name in VISIBLE.get(os.environ.get("CUDA_VISIBLE_DEVICES", "")).split(",") if name]

    def properties(device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(uuid=named[seen()[device.index]])

    monkeypatch.setattr("torch.cuda.is_available", lambda: bool(seen()))
    monkeypatch.setattr("torch.cuda.get_device_properties", properties)
    return one, other


def test_a_gpu_is_known_by_whatever_name_it_is_seen(cards: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = cards
    names = {
        "": [],
        "0": [f"recsys-gpu-{one}"],
        f"GPU-{one}": [f"recsys-gpu-{one}"],
        "1,0": [f"recsys-gpu-{other}"],
        "MIG-0f1e": ["recsys-gpu-MIG-0f1e"],
        f"MIG-GPU-{one}/1/0,MIG-GPU-{one}/2/0": [f"recsys-gpu-MIG-GPU-{one}-1-0"],
    }
    for visible, expected in names.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpu_slots() == expected


def test_trainings_on_one_gpu_wait_whatever_their_homes_and_on_two_go_side_by_side(
    prefect_server: str, cards: tuple[str, str], tmp_path: Path, threads: Callable[..., "Future[None]"]
) -> None:
    begun, told, running = {}, {}, []
    for name, visible in {"first": "0", "second": f"GPU-{cards[0]}", "third": "1", "fourth": ""}.items():
        train, begun[name], told[name] = blocking(name, TRAINING)
        token = VISIBLE.set(visible)
        running.append(threads(train, str(tmp_path / name)))
        VISIBLE.reset(token)
        if name != "second":
            assert begun[name].wait(PATIENCE_SECONDS)
    assert not begun["second"].is_set()
    told["first"].set()
    assert begun["second"].wait(PATIENCE_SECONDS)
    for one in told.values():
        one.set()
    for run in running:
        run.result(PATIENCE_SECONDS)


def test_a_flow_within_another_shares_its_slot(prefect_server: str, tmp_path: Path) -> None:
    inner = flow("inner", READING)(lambda home: active(Home(Path(home))))
    outer = flow("outer", READING)(lambda home: inner(home))
    assert outer(str(tmp_path)) == 1


def test_a_home_is_known_wherever_it_is_mounted(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").make()
    slot = home_slot(home)
    (tmp_path / "mounted").symlink_to(home.root)
    assert home_slot(Home(tmp_path / "mounted")) == slot
    home.root.rename(tmp_path / "moved")
    assert home_slot(Home(tmp_path / "moved")) == slot
    assert home_slot(Home(tmp_path / "another").make()) != slot


def killed_holder(home: Home) -> None:
    """Let a run be killed while it holds a home."""
    command = [sys.executable, "-c", HOLDER, str(home.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    assert active(home) == 1


def test_what_a_killed_holder_held_comes_back_with_its_lease(
    prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home").make()
    killed_holder(home)
    monkeypatch.setattr("flows.slots.socket.gethostname", lambda: "another")  # from which nobody sees the process
    run_out(Path(str(PREFECT_HOME.value())))
    free = flow("next", READING)(active_of)
    assert free(str(home.root)) == 1  # its own


def test_a_killed_holder_is_ended_by_who_waits_for_it_on_the_same_machine(prefect_server: str, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").make()
    killed_holder(home)
    free = flow("next", READING)(active_of)
    assert free(str(home.root)) == 1  # its own
    with get_client(sync_client=True) as client:
        newest = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC)  # a page of all that other tests have run
        dead = [run for run in newest if run.parameters.get("home") == str(home.root)]
    assert sorted(str(run.state_name) for run in dead) == ["Completed", "Crashed"]


def active_of(home: str) -> int:
    return active(Home(Path(home)))


def run_out(state: Path) -> None:
    """Let all leases of a server end now, as if their time had passed."""
    past = datetime.fromtimestamp(time.time() - 1, UTC).isoformat()
    folder = state / "concurrency_leases"
    index = folder / "expirations.json"
    for lease in folder.glob("*-*.json"):
        lease.write_text(json.dumps(json.loads(lease.read_text()) | {"expiration": past}))
    index.write_text(json.dumps(dict.fromkeys(json.loads(index.read_text()), past)))
