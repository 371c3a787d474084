"""Prefect's flow that is told where tables are: what it looks at comes before anything that Prefect keeps."""

from typing import Any, ParamSpec, TypeVar

from prefect import Flow

from flows.locations import check_all

P = ParamSpec("P")
R = TypeVar("R")


class LocatedFlow(Flow[P, R]):
    """A flow that is told where tables are. A credential is refused before Prefect hears of it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        check_all(*args, *kwargs.values())
        return super().__call__(*args, **kwargs)
