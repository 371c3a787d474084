"""The Prefect server that is named, as `recsys doctor` looks at it: there, of our version, open to us, and at work."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flows.runtime import alone
from recsys.health.findings import Seen, failed, fine, some, warning

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

REACH_SECONDS = 10
POOL, TAG = "recsys", "recsys"  # as ``deployment.py`` and ``automations.py`` have them, which bring Prefect's server
POLLED = timedelta(minutes=2)  # a worker asks every 15 s
LATE = timedelta(hours=1)


def look_at_prefect() -> Iterator[Seen]:
    """See whether the server answers, and whether what `recsys deploy` has made is there and served."""
    if alone():
        yield fine("no server is named: commands do without")
        return
    import httpx
    from prefect import __version__
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        yield fine("no server is named: commands do without")
        return
    with get_client(httpx_settings={"timeout": REACH_SECONDS}, sync_client=True) as client:
        try:
            found = client.api_version()
            client.read_work_pools(limit=1)
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            todo = "Source the client.env that `recsys ui` names: its secret is another." if code in (401, 403) else ""
            yield failed(f"{url} answers {code}.", todo or "Look at the server's log.")
            return
        except httpx.HTTPError as error:
            yield failed(
                f"{url} does not answer ({type(error).__name__}).", "Start `recsys ui`, or correct PREFECT_API_URL."
            )
            return
        wrong = False
        if found.split(".")[:2] != __version__.split(".")[:2]:
            wrong = True
            yield failed(
                f"The server is Prefect {found}, the client {__version__}.", "Install the same version for both."
            )
        for seen in _at_work(client):
            wrong = True
            yield seen
    if not wrong:
        yield fine(f"{url}: Prefect {found}; deployments, schedules and workers are there")


def _at_work(client: "SyncPrefectClient") -> Iterator[Seen]:
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterTags,
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterState,
        FlowRunFilterStateName,
    )

    deployments = client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])))
    if not deployments:
        yield warning("Nothing is deployed.", "`recsys deploy`, in a clone, makes pool, queues and deployments.")
        return
    paused = [one.name for one in deployments if one.paused]
    idle = [one.name for one in deployments if one.schedules and not any(plan.active for plan in one.schedules)]
    if paused:
        yield warning(f"Paused: {some(paused)}.", "Resume them in the UI, where that was not meant.")
    if idle:
        yield warning(f"No schedule is active of {some(idle)}.", "Turn one on in the UI, where that was not meant.")
    now = datetime.now(UTC)
    for pool in sorted({one.work_pool_name or POOL for one in deployments}):
        used = {one.work_queue_name for one in deployments if (one.work_pool_name or POOL) == pool}
        queues = [one for one in client.read_work_queues(pool) if one.name in used]
        unserved = [one.name for one in queues if one.last_polled is None or now - one.last_polled > POLLED]
        if unserved:
            yield warning(
                f"No worker asks for work of pool {pool}, queue {some(unserved)}.",
                f"prefect worker start --pool {pool}",
            )
    late = FlowRunFilter(
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late"])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=now - LATE),  # type: ignore[arg-type]  # as any other
    )
    waiting = client.read_flow_runs(flow_run_filter=late, limit=100)
    if waiting:
        yield warning(
            f"{len(waiting)} runs are late by more than an hour, such as {waiting[0].name}.",
            "Start a worker, or cancel them; one that is busy works them off.",
        )
