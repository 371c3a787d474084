"""Prefect's flow as ours are: patient with a server that is away, and careful with what it is told of tables."""

from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.runtime import flow_run

from flows.locations import check_all
from flows.patience import await_server

P = ParamSpec("P")
R = TypeVar("R")


class PatientFlow(Flow[P, R]):
    """A flow that, within another, waits until the server can be told of it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if flow_run.id:
            await_server()
        return super().__call__(*args, **kwargs)


class LocatedFlow(PatientFlow[P, R]):
    """A flow that is told where tables are. A credential is refused before Prefect hears of it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        check_all(*args, *kwargs.values())
        return super().__call__(*args, **kwargs)
