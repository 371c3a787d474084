"""What a run is called: what is done, on what, and when, so that a list of runs can be read."""

from collections.abc import Callable, Mapping
from datetime import UTC
from pathlib import PurePosixPath
from typing import Any

from recsys.evaluation.plain import visible

LENGTH = 60  # of what is said of a parameter


def run_name(name: str, about: Mapping[str, str]) -> Callable[[], str]:
    """Return what Prefect calls for the name of each run of a flow.

    Args:
        name: of the flow.
        about: parameter → what is said where it is empty; a word that is empty as well is left out.
    """

    def named() -> str:
        from prefect.runtime import flow_run

        given = flow_run.parameters or {}
        said = [_short(given.get(parameter)) or empty for parameter, empty in about.items()]
        when = flow_run.scheduled_start_time.astimezone(UTC)
        return f"{' '.join([name, *filter(None, said)])} · {when:%Y-%m-%d %H:%M:%S}"

    return named


def _short(value: Any) -> str:
    """Return the last part of a path or a URL, or a text, in one line: a database keeps no NUL, a list no line end."""
    text = str(value or "").rstrip("/")
    return visible((PurePosixPath(text).name if "/" in text else text)[:LENGTH])
