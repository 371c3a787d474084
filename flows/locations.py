"""Locations as runs are given them: what Prefect keeps of a run says where its data lies, and never a credential.

A signed URL has a name instead: ``secret:NAME`` is a Prefect block of type Secret that holds the URL, ``env:NAME`` the
variable RECSYS_SOURCE_NAME of whoever runs the flow, a worker or the command line.
"""

import functools
import os
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ParamSpec, TypeVar

from pydantic import WithJsonSchema

from flows.retries import ONCE, Retries
from flows.runs import Called, Run, flow
from flows.runtime import alone
from flows.work import LIGHT, Work
from recsys.data.locations import holds_credential, scheme_of
from recsys.errors import SettingError
from recsys.settings.bounds import LONGEST_TEXT

P = ParamSpec("P")
R = TypeVar("R")

SECRET, ENVIRONMENT, PREFIX = "secret:", "env:", "RECSYS_SOURCE_"
HOW = (
    "A URL with a password, a query or a fragment would be kept with the run, where others read it. Put it into a "
    f"Prefect block of type Secret and give {SECRET}NAME, or into {PREFIX}NAME where the flow runs and give "
    f"{ENVIRONMENT}NAME."
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PATH = r"(?:[A-Za-z]:/)?(?:[^:]|:+[^:/])*:*"  # anything without :/ but a drive
_WEB = r"\s*[Hh][Tt][Tt][Pp][Ss]?://(?:[^@?#/\\:]*(?:/[^?#]*)?|[^@?#/\\:]*:[0-9]*(?:/[^@?#]*)?)"
_STORE = r"\s*(?:[A-Za-gi-z]|[Hh][A-Za-su-z])[A-Za-z0-9+.-]*://[^/:?#]*(?:/[^?#]*)?(?:\?[^=#]*)?"
PATTERN = rf"^(?=\s*\S)(?:{_PATH}|{_WEB}|{_STORE})$"

# What a form takes: the server refuses another before it keeps anything. `check` says why, where a flow is called.
TableLocation = Annotated[str, WithJsonSchema({"type": "string", "pattern": PATTERN, "maxLength": LONGEST_TEXT})]


def located_flow(
    name: str, work: Work = LIGHT, about: Mapping[str, str] | None = None, again: Retries = ONCE
) -> Callable[[Callable[P, R]], Run[P, R]]:
    """Make a flow of a function, as ``flows.runs.flow`` does, that no location with a credential is given to."""
    if alone():
        return lambda function: Called(_checked(function), again)
    from flows.located import LocatedFlow

    return flow(name, work, about, again, LocatedFlow)


def _checked(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_all(*args, *kwargs.values())
        return function(*args, **kwargs)

    return checked


def check_all(*values: Any) -> None:
    """Raise SettingError where a text among some values is a location that holds a credential."""
    for value in values:
        if isinstance(value, str):
            check(value)


def check(location: str) -> None:
    """Raise SettingError where a location holds a credential. The message says how to give it instead."""
    if _is_signed(location):
        raise SettingError(HOW)


def resolved(location: str) -> str:
    """Return the location that a name stands for, or the location itself: for whoever reads it, and kept nowhere.

    Raises:
        SettingError: no block or variable has that name, or the location holds a credential itself.
    """
    for prefix, look_up in ((ENVIRONMENT, _variable), (SECRET, _block)):
        if location.startswith(prefix):
            name = location.removeprefix(prefix)
            if not _NAME.fullmatch(name):
                raise SettingError(f"{prefix}NAME takes letters, digits, _ and -.")
            return look_up(name)
    check(location)
    return location


def named(location: str, name: str) -> str:
    """Return a location as a flow may be given it: one with a credential goes into this process' environment."""
    if not _is_signed(location):
        return location
    variable = f"given_{name}".upper()
    os.environ[PREFIX + variable] = location
    return ENVIRONMENT + variable


def is_remote(location: str) -> bool:
    """Return whether reading it may fail for a while and then not."""
    return "://" in location or location.startswith((SECRET, ENVIRONMENT))


def _is_signed(location: str) -> bool:
    return scheme_of(location) not in ("", "file") and holds_credential(location)


def _variable(name: str) -> str:
    variable = PREFIX + name.upper().replace("-", "_")
    found = os.environ.get(variable)
    if not found:
        raise SettingError(f"{ENVIRONMENT}{name}: {variable} is not set where the flow runs. Set it to the URL.")
    return found


def _block(name: str) -> str:
    from prefect.blocks.system import Secret

    try:
        block: Any = Secret.load(name, _sync=True)  # type: ignore[call-arg]  # Prefect's own wrapper takes it
        found = block.get()
    except ValueError:
        found = None
    if not isinstance(found, str):
        raise SettingError(
            f"{SECRET}{name}: there is no block of type Secret with that name that holds a URL. Make one."
        )
    return found
