"""What is tidied when a run has failed, crashed or been cancelled: its subflows, and what it has left half written.

A process that is killed cannot close its subflows, and Prefect does not: they would stay "Running". The worker calls
the hook of the run that it started; `flows/tidy.py` does the same for all that nobody was left to close.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.runtime import open_home
from flows.slots import LEASE_SECONDS, give_back

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

OPEN = ("RUNNING", "PENDING", "SCHEDULED", "PAUSED", "CANCELLING")
PAGE = 200  # runs that Prefect's API returns at once


def tidy_up(flow: Any, flow_run: "FlowRun", state: "State[Any]") -> None:
    """Close the subflows of a run that has ended, and remove what it has left half written; Prefect's hook.

    A subflow leaves its home to the run that it belongs to, which may go on with it.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        close_subflows(client, [flow_run.id], cancelled=state.is_cancelled() or state.is_cancelling())
        give_back(client, client.read_flow_run(flow_run.id))  # as it is now: it has taken what it held since
    if flow_run.parent_task_run_id is None:
        from recsys.store.generations import clean_up

        clean_up(open_home(flow_run.parameters.get("home")))


def close_subflows(client: "SyncPrefectClient", parents: Iterable[UUID], cancelled: bool = False) -> int:
    """Close the open subflows of runs that have ended, and theirs; return how many there were."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
    from prefect.states import Cancelled, Crashed

    above, closed = list(parents), 0
    end = Cancelled if cancelled else Crashed
    while above:
        of_them = FlowRunFilterParentFlowRunId(any_=above)
        children = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=of_them), limit=PAGE)
        for child in children:
            if child.state_type is not None and child.state_type.value in OPEN:
                client.set_flow_run_state(child.id, end(message="The run that it belongs to has ended."))
                give_back(client, child)
                closed += 1
        above = [child.id for child in children]
    return closed


def close_orphans() -> int:
    """Close open subflows whose parents have ended, and give back what crashed runs held; return how many."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterEndTime,
        FlowRunFilterId,
        FlowRunFilterParentTaskRunId,
        FlowRunFilterState,
        FlowRunFilterStateType,
        TaskRunFilter,
        TaskRunFilterId,
    )
    from prefect.client.schemas.objects import StateType

    still_open = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType(name) for name in OPEN]))
    subflow = FlowRunFilterParentTaskRunId(is_null_=False)
    with get_client(sync_client=True) as client:
        crashed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED]))
        lately = FlowRunFilterEndTime.model_validate({"after_": datetime.now(UTC) - timedelta(seconds=LEASE_SECONDS)})
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=crashed, end_time=lately), limit=PAGE):
            give_back(client, run)
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=still_open, parent_task_run_id=subflow), limit=PAGE
        )
        if not found:
            return 0
        above = [one.parent_task_run_id for one in found if one.parent_task_run_id is not None]
        tasks = client.read_task_runs(task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=above)), limit=PAGE)
        parents = {one.flow_run_id for one in tasks if one.flow_run_id is not None}
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(parents))), limit=PAGE)
        return close_subflows(client, [run.id for run in runs if run.state is not None and run.state.is_final()])
