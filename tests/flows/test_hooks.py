"""What is left of runs that nobody could close: subflows without parents are closed, and half-written files go."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect import Flow, State, Task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling, Completed, Crashed, Running

from flows.hooks import close_orphans, tidy_up
from flows.runs import flow
from flows.slots import LEASE, LEASE_SECONDS, home_slot
from flows.tidy import tidy
from flows.work import READING
from recsys.artifacts import STAGING_PREFIX
from recsys.errors import DataError
from recsys.home import Home


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def begun(client: SyncPrefectClient, home: Path, parent: FlowRun | None = None) -> FlowRun:
    """Return a run that is "Running" and has no process, as after a kill."""
    left = Flow(lambda home: home, name="left")
    above = None
    if parent is not None:
        above = client.create_task_run(Task(left.fn, name="left"), parent.id, dynamic_key=uuid4().hex).id
    run = client.create_flow_run(left, parameters={"home": str(home)}, parent_task_run_id=above)
    client.set_flow_run_state(run.id, Running())
    return client.read_flow_run(run.id)


def state_of(client: SyncPrefectClient, run_id: UUID) -> str:
    return str(client.read_flow_run(run_id).state_name)


@pytest.mark.parametrize(("state", "closed"), [(Crashed(), "Crashed"), (Cancelling(), "Cancelled")])
def test_a_run_that_ended_badly_closes_what_it_began(
    client: SyncPrefectClient, tmp_path: Path, state: State[None], closed: str
) -> None:
    parent = begun(client, tmp_path)
    child = begun(client, tmp_path, parent)
    grandchild = begun(client, tmp_path, child)
    other = begun(client, tmp_path)
    staging = Home(tmp_path).make().adapters / f"{STAGING_PREFIX}left"
    staging.mkdir(parents=True)
    tidy_up(None, parent, state)
    assert [state_of(client, run.id) for run in (child, grandchild, other)] == [closed, closed, "Running"]
    assert not staging.exists()
    client.set_flow_run_state(other.id, Crashed())


def test_tidy_closes_what_nobody_was_left_to_close(client: SyncPrefectClient, tmp_path: Path) -> None:
    ended, alive = begun(client, tmp_path), begun(client, tmp_path)
    orphan, child = begun(client, tmp_path, ended), begun(client, tmp_path, alive)
    client.set_flow_run_state(ended.id, Crashed(), force=True)
    assert tidy(str(tmp_path)).closed >= 1
    assert [state_of(client, run.id) for run in (orphan, child)] == ["Crashed", "Running"]
    client.set_flow_run_state(alive.id, Completed(), force=True)
    close_orphans()
    assert state_of(client, child.id) == "Crashed"
    assert close_orphans() == 0


def test_what_a_dead_run_held_is_given_back(client: SyncPrefectClient, tmp_path: Path) -> None:
    home = Home(tmp_path).make()
    slot = home_slot(home)
    client.upsert_global_concurrency_limit_by_name(slot, limit=1)
    for end in (lambda run: tidy_up(None, run, Crashed()), lambda _: close_orphans()):
        dead = begun(client, tmp_path)
        answer = client.increment_concurrency_slots_with_lease([slot], 1, "concurrency", LEASE_SECONDS)
        client.update_flow_run_labels(dead.id, {LEASE: answer.json()["lease_id"]})
        client.set_flow_run_state(dead.id, Crashed(), force=True)
        assert client.read_global_concurrency_limit_by_name(slot).active_slots == 1
        end(dead)
        assert client.read_global_concurrency_limit_by_name(slot).active_slots == 0


def test_a_failure_of_a_flow_is_told_and_its_home_is_clean(client: SyncPrefectClient, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")

    @flow("breaks", READING)
    def breaks(home: str) -> None:
        (Home(Path(home)).snapshots / f"{STAGING_PREFIX}left").mkdir(parents=True)
        raise DataError("nothing to learn from")

    with pytest.raises(DataError, match="nothing to learn from"):
        breaks(str(home.root))
    assert list(home.snapshots.iterdir()) == []
