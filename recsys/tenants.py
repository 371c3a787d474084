"""Tenants: several catalogues in one service, each with a home of its own inside of the home that they share.

A tenant's home is a home like any other, so all that reads or writes one knows nothing of tenants: snapshots, models,
events, keys and the salt of who is forgotten are in it, and nothing of another's is.
"""

import os
import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from recsys.artifacts import PRIVATE, ArtifactError, locked, write_json
from recsys.errors import SettingError
from recsys.home import ALONE, TENANT, Home
from recsys.record import Record

# also a folder's name, a part of a PostgreSQL schema's and of a key
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_REPAIR = "Restore it, or make it again by `recsys tenants set`."


@dataclass(frozen=True, kw_only=True)
class Tenant(Record):
    """What is known of a tenant.

    Attributes:
        id: random: a tenant that is made anew under the name of one that is gone is another.
        created: RFC 3339.
        rate: requests a second that each worker takes from all of its keys together; None: no limit.
        at_once: requests of it that each worker has under way; None: no limit but that of each key.
        leaving: it is being deleted, and no key of it is accepted.
    """

    id: str
    created: str
    rate: float | None = None
    at_once: int | None = None
    leaving: bool = False


def tenant_home(house: Home, name: str) -> Home:
    """Return where a tenant's home is, or would be.

    Args:
        house: the home that tenants share.
        name: 1 to 40 small letters, digits and inner hyphens.

    Raises:
        SettingError: the name is none.
    """
    if NAME.fullmatch(name) is None:
        raise SettingError(
            f"{name!r} is no name of a tenant. Use 1 to 40 small letters and digits, with hyphens between them."
        )
    return Home(house.tenants / name)


def list_tenants(house: Home) -> dict[str, Tenant]:
    """Return all tenants by name, in the order of their names.

    Raises:
        ArtifactError: what one says of itself is broken.
    """
    if not house.tenants.is_dir():
        return {}
    names = [path.name for path in house.tenants.iterdir() if NAME.fullmatch(path.name) and (path / TENANT).is_file()]
    return {name: read_tenant(house, name) for name in sorted(names)}


def read_tenant(house: Home, name: str) -> Tenant:
    """Return what is known of a tenant.

    Raises:
        SettingError: the name is none.
        ArtifactError: there is no such tenant, or what it says of itself is broken.
    """
    path = tenant_home(house, name).root / TENANT
    if not os.path.lexists(path):
        raise ArtifactError(f"There is no tenant {name!r}. `recsys tenants list` shows those that exist.")
    return Tenant.read(path, _REPAIR)


def create_tenant(house: Home, name: str, rate: float | None = None, at_once: int | None = None) -> Home:
    """Make a tenant and its home, empty; return the home.

    Raises:
        SettingError: the name is none, it exists, or a limit is not positive.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    tenant = Tenant(id=secrets.token_hex(8), created=now, rate=rate, at_once=at_once)
    _check(tenant)
    home = tenant_home(house, name)
    house.make().tenants.mkdir(mode=ALONE, exist_ok=True)
    with locked(house.tenants / ".lock", mode=PRIVATE):
        if os.path.lexists(home.root / TENANT):
            raise SettingError(f"There is a tenant {name!r} already. Choose another name; `tenants set` changes it.")
        home.make()
        write_json(home.root / TENANT, tenant.to_dict(), PRIVATE)
    return home


def limit_tenant(house: Home, name: str, rate: float | None, at_once: int | None) -> Tenant:
    """Give a tenant other limits, which running workers follow at once; None: no limit.

    Raises:
        SettingError: the name is none, or a limit is not positive.
        ArtifactError: there is no such tenant.
    """
    return _rewrite(house, name, rate=rate, at_once=at_once)


def close_tenant(house: Home, name: str) -> Tenant:
    """Accept no key of a tenant from now on, since it is being deleted.

    Raises:
        SettingError: the name is none.
        ArtifactError: there is no such tenant.
    """
    return _rewrite(house, name, leaving=True)


def _rewrite(house: Home, name: str, **changed: float | int | bool | None) -> Tenant:
    read_tenant(house, name)
    with locked(house.tenants / ".lock", mode=PRIVATE):
        tenant = replace(read_tenant(house, name), absent=frozenset(), **changed)  # type: ignore[arg-type]
        _check(tenant)
        write_json(tenant_home(house, name).root / TENANT, tenant.to_dict(), PRIVATE)
    return tenant


def _check(tenant: Tenant) -> None:
    if tenant.rate is not None and not 0 < tenant.rate < float("inf"):
        raise SettingError(f"A rate is a positive number of requests a second, not {tenant.rate}.")
    if tenant.at_once is not None and tenant.at_once < 1:
        raise SettingError(f"At least one request must be allowed at once, not {tenant.at_once}.")
