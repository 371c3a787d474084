"""Who may work at once: on a home one run that writes much, on a GPU one that trains; two homes go side by side.

Each is a global concurrency limit of Prefect's with one slot, made by whoever needs it first. A slot is leased: what
holds it renews the lease, and a holder that is gone loses it. A run waits, and says so, until it has all that it needs.
"""

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.runtime import open_home
from flows.work import Work
from recsys.home import Home

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

LEASE_SECONDS = 600  # renewed after three quarters of it, so that a server may be away for two minutes
IDENTITY = "home.id"
MIG = "MIG-"  # how names of parts of a card begin
LEASE = "recsys.lease"  # label of a run that holds slots: who finds it dead gives them back
PROCESS = "recsys.process"  # likewise: machine, number and beginning of the process that it runs in
_LOG = logging.getLogger(__name__)
_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())


@contextmanager
def working(work: Work, home: str | None) -> Iterator[None]:
    """Hold what some work has to itself for the length of the block; what a flow above holds already is shared.

    Args:
        work: of a kind.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
    """
    held = _held.get()
    wanted = sorted({*([home_slot(open_home(home))] if work.home else []), *(gpu_slots() if work.gpu else [])} - held)
    if not wanted:
        yield
        return
    with ExitStack() as stack:
        _acquire(stack, wanted)
        token = _held.set(held | set(wanted))
        try:
            yield
        finally:
            _held.reset(token)
            _release(stack, wanted)


def home_slot(home: Home) -> str:
    """Return the name of the limit of a home: of the folder itself, wherever it is mounted and whatever it is called.

    A copy of a home waits for the original, until its file ``home.id`` is removed.
    """
    path = home.root / IDENTITY
    while True:
        try:
            return f"recsys-home-{path.read_text().strip()}"
        except FileNotFoundError:
            _identify(path)


def _identify(path: os.PathLike[str]) -> None:
    """Write an identity where there is none; of two who try, one wins."""
    staged = f"{os.fspath(path)}-{secrets.token_hex(4)}"
    with open(staged, "x") as file:
        file.write(secrets.token_hex(8))
    try:
        os.link(staged, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(staged)


def gpu_slots() -> list[str]:
    """Return the name of the limit of the GPU that this process computes on, if there is one.

    It is the card's own identity, whichever number or name CUDA_VISIBLE_DEVICES gives it. Parts of a card (MIG) are
    given by their names alone, and go side by side.
    """
    torch = sys.modules.get("torch")  # what trains has imported it
    if torch is None or not torch.cuda.is_available():
        return []
    from recsys.models.devices import default_device

    part = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    if not part.startswith(MIG):  # CUDA sees the first of several parts alone
        part = str(torch.cuda.get_device_properties(default_device()).uuid)
    return [f"recsys-gpu-{part.replace('/', '-')}"]


def _acquire(stack: ExitStack, names: list[str]) -> None:
    """Wait until there is a slot of each limit, all at once."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import ConcurrencyLeaseHolder
    from prefect.concurrency.context import ConcurrencyContext
    from prefect.concurrency.sync import concurrency
    from prefect.runtime import flow_run

    with get_client(sync_client=True) as client:
        for name in names:
            client.upsert_global_concurrency_limit_by_name(name, limit=1)
        taken = [name for name in names if client.read_global_concurrency_limit_by_name(name).active_slots]
        if taken and _end_dead(client):
            taken = [name for name in names if client.read_global_concurrency_limit_by_name(name).active_slots]
    if taken:
        _LOG.warning("Another run is at work there; this one waits for %s.", " and ".join(taken))
    holder = ConcurrencyLeaseHolder(type="flow_run", id=UUID(flow_run.id)) if flow_run.id else None
    # A lease that cannot be renewed, because the server is away, ends no training: it is told in the log.
    slots = concurrency(
        names, strict=True, lease_duration=LEASE_SECONDS, holder=holder, raise_on_lease_renewal_failure=False
    )
    stack.enter_context(slots)
    held = ConcurrencyContext.get()
    if flow_run.id and held is not None:
        with get_client(sync_client=True) as client:
            labels: dict[str, Any] = {LEASE: str(held.cleanup_lease_ids[-1]), PROCESS: _process(os.getpid())}
            client.update_flow_run_labels(UUID(flow_run.id), labels)


def _end_dead(client: "SyncPrefectClient") -> int:
    """End runs that hold slots and whose process on this machine is gone, where no worker saw it; return how many.

    Of other machines' processes nothing is known: what those held comes back when the lease ends.
    """
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    running = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    ended = 0
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=running)):
        machine, _, number = str(run.labels.get(PROCESS, "")).partition(" ")
        if machine == socket.gethostname() and _process(int(number.split()[0])) != run.labels[PROCESS]:
            client.set_flow_run_state(run.id, Crashed(message="Its process is gone."))
            give_back(client, run)
            ended += 1
    return ended


def _process(number: int) -> str:
    """Return what tells a process of this machine from all others, or from none where it is gone."""
    try:
        with open(f"/proc/{number}/stat") as file:
            state, *told = file.read().rpartition(")")[2].split()
        begun = "?" if state in "ZX" else told[18]  # proc_pid_stat(5): starttime, in ticks since the machine started
    except (FileNotFoundError, ProcessLookupError):
        begun = "?" if os.path.isdir("/proc/self") else "0"  # a machine without /proc: its lease ends it
    return f"{socket.gethostname()} {number} {begun}"


def give_back(client: "SyncPrefectClient", run: "FlowRun") -> None:
    """Give back what a run that has ended held, if it did not do so itself."""
    lease = run.labels.get(LEASE)
    if lease:
        client.release_concurrency_slots_with_lease(UUID(str(lease)))


def _release(stack: ExitStack, names: list[str]) -> None:
    """Give slots back; where the server does not answer, they come back when their lease ends."""
    import httpx

    try:
        stack.close()
    except httpx.HTTPError as error:
        _LOG.warning("%s could not be given back and is free in %d s: %s", names, LEASE_SECONDS, error)
