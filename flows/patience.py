"""A server that does not answer for a while: what a run needs of it is asked for again.

Prefect's client repeats a request that finds no connection where it has had one before; but most of what a run asks
is asked by a client of its own, which would fail at once.
"""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
SECONDS = 240.0  # as long as Prefect's client repeats a request, see flows/deployment.py
PAUSE_SECONDS = 2.0


def patiently(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function, again while there is no connection; it is one that may be called twice.

    Raises:
        ConnectError: of httpx, after four minutes.
    """
    import httpx

    end = time.monotonic() + SECONDS
    while True:
        try:
            return function(*args, **kwargs)
        except httpx.ConnectError:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE_SECONDS)


def trust_address() -> None:
    """Let all clients of this process repeat what finds no connection: a run is under way, so the address is right.

    Prefect has no setting for it. Should it keep this elsewhere one day, only what asks by ``patiently`` is patient.
    """
    from prefect.client import base

    connected = property(lambda client: True, lambda client, value: None)
    for kind in (base.PrefectHttpxAsyncClient, base.PrefectHttpxSyncClient):
        setattr(kind, "_has_connected", connected)  # noqa: B010 - no attribute that is known


def await_server() -> None:
    """Wait until the server answers."""
    patiently(_ask)


def _ask() -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise error
