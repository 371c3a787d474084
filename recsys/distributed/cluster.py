"""Which cluster does the work: none, unless an address is given or ``RECSYS_RAY_ADDRESS`` has one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from recsys.distributed.executor import Executor, InProcess
from recsys.errors import RecsysError

ADDRESS = "RECSYS_RAY_ADDRESS"

_shared: ContextVar[str | None] = ContextVar("cluster", default=None)


class ClusterError(RecsysError):
    """A cluster cannot be reached, is not made as this process is, or has lost its workers. What is done stays done."""


@contextmanager
def executor_at(address: str | None = None) -> Iterator[Executor]:
    """Connect with the Ray cluster at an address, ``host:port``; without any, work is done in this process.

    Args:
        address: of its head; None: that of ``sharing``, else the environment's.

    Raises:
        ClusterError: Ray is not installed, nobody answers there, or Python or Ray are other versions.
    """
    address = address or _shared.get() or os.environ.get(ADDRESS)
    if not address:
        yield InProcess()
        return
    from recsys.distributed.ray_cluster import RayCluster

    with RayCluster.at(address) as cluster:
        yield cluster


@contextmanager
def sharing(address: str | None) -> Iterator[None]:
    """Have the work of a block that a cluster can share done by the one at an address, each piece when it comes.

    In between nothing holds to the cluster: hours of training outlive its head.

    Args:
        address: of its head; None: the environment's, if there is one.

    Raises:
        ClusterError: it cannot be joined now, which is known before the work.
    """
    with executor_at(address):
        pass
    before = _shared.set(address or _shared.get())
    try:
        yield
    finally:
        _shared.reset(before)
