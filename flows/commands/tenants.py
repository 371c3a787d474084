"""Tenants: several catalogues behind one service, each with a home of its own, which every command takes by --home."""

import os
from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows.commands.tables import EMPTY
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, shell, table
from recsys.errors import SettingError
from recsys.tenants import Tenant, create_tenant, limit_tenant, list_tenants, read_tenant, tenant_home

tenants = typer.Typer(help="Make, list, limit and delete the tenants of a home.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and hyphens.")]
Rate = Annotated[
    float | None, typer.Option(help="Requests a second that each worker takes from all of its keys; else no limit.")
]
AtOnce = Annotated[
    int | None, typer.Option(help="Requests of it that each worker has under way; else as many as its keys may.")
]


@tenants.command()
def create(
    name: Name,
    rate: Rate = None,
    at_once: AtOnce = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a tenant, with a home of its own and nothing in it."""
    with shell(home, as_json, debug) as session:
        made = create_tenant(session.home, name, rate, at_once)
        session.result = {"tenant": name, "home": str(made.root), "rate": rate, "at_once": at_once}
        session.show(f"Tenant {name} lives in {made.root}.")
        session.show(f"Next: recsys keys create --name … --scope recommend --home {made.root}")
        session.show(f"      recsys ingest --events … --items … --home {made.root}")


@tenants.command("list")
def list_all(home: HomeOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the tenants, their limits and what each serves."""
    with shell(home, as_json, debug) as session:
        from recsys.store.generations import current_id

        found = {
            name: _told(tenant) | {"serves": current_id(tenant_home(session.home, name))}
            for name, tenant in list_tenants(session.home).items()
        }
        session.result = {"tenants": [{"tenant": name} | told for name, told in found.items()]}
        rows = [
            [
                name + (" (leaving)" if told["leaving"] else ""),
                f"{told['rate']:g}/s" if told["rate"] else EMPTY,
                str(told["at_once"] or EMPTY),
                told["serves"] or EMPTY,
                told["created"],
            ]
            for name, told in found.items()
        ]
        session.show(table({"tenant": "", "rate": "right", "at once": "right", "serves": "", "created": ""}, rows))


@tenants.command("set")
def limit(
    name: Name,
    rate: Rate = None,
    at_once: AtOnce = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give a tenant other limits, in the place of those that it has; running services follow."""
    with shell(home, as_json, debug) as session:
        told = _told(limit_tenant(session.home, name, rate, at_once))
        session.result = {"tenant": name} | told
        given = {f"{rate or 0:g} requests a second": rate, f"{at_once} at once": at_once}
        limits = [said for said, limit in given.items() if limit is not None]
        session.show(f"Each worker takes from {name}: {' and '.join(limits) or 'as much as its keys may'}.")


@tenants.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it. There is no way back but a backup.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Delete a tenant with all that it has: data, models, events and keys. Running services refuse it at once."""
    with shell(home, as_json, debug) as session:
        from recsys.database.engine import URL
        from recsys.database.tenancy import delete_tenant

        read_tenant(session.home, name)
        if not yes:
            raise SettingError(
                f"This deletes {tenant_home(session.home, name).root} with data, models, events and keys. Add --yes."
            )
        delete_tenant(session.home, name, os.environ.get(URL))
        session.result = {"deleted": name}
        session.show(f"Tenant {name} is deleted.")


def _told(tenant: Tenant) -> dict[str, Any]:
    return {key: value for key, value in asdict(tenant).items() if key not in ("further", "absent")}
