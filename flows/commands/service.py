"""The service and its keys, and one answer on the terminal. Running services follow a change of keys at once."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows import progress
from flows.commands.tables import EMPTY, show_items
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, shell, table
from recsys.errors import SettingError
from recsys.store.names import GENERATION, meant
from services.edge.keys import SCOPES, create_key, read_keys, revoke_key

keys = typer.Typer(help="Make, list and revoke the keys of the service.", no_args_is_help=True)


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="Whose key it is.")],
    scope: Annotated[list[str], typer.Option(help=f"{', '.join(SCOPES)}; may be repeated.")],
    rate: Annotated[float | None, typer.Option(help="Requests a second that each worker takes from it.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a key and show it, once; only its hash is kept."""
    with shell(home, as_json, debug) as session:
        key, token = create_key(session.home, name, scope, rate)
        session.result = {"id": key.id, "name": name, "scopes": list(key.scopes), "rate": rate, "key": token}
        session.show(token, f"Key {key.id} for {name}: {', '.join(key.scopes)}. It is not shown again.")


@keys.command("list")
def list_keys(home: HomeOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the keys that are accepted."""
    with shell(home, as_json, debug) as session:
        found = read_keys(session.home) or ()
        listed = ("id", "name", "scopes", "rate", "created")
        session.result = {"keys": [{field: getattr(key, field) for field in listed} for key in found]}
        rows = [
            [key.id, key.name, ", ".join(key.scopes), f"{key.rate:g}/s" if key.rate else EMPTY, key.created]
            for key in found
        ]
        session.show(table({"key": "", "name": "", "scopes": "", "rate": "right", "created": ""}, rows))


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `recsys keys list` shows it.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Refuse a key from now on."""
    with shell(home, as_json, debug) as session:
        revoked = revoke_key(session.home, key_id)
        session.result = {"revoked": revoked.id, "name": revoked.name}
        session.show(f"Key {revoked.id} of {revoked.name} is no longer accepted.")


def serve(
    host: Annotated[str, typer.Option(help="Other than loopback only where there are keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 3000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
    tenants: Annotated[
        bool, typer.Option("--tenants", help="Answer the home's tenants, each by its keys and from its own home.")
    ] = False,
    home: HomeOption = None,
    debug: DebugOption = False,
) -> None:
    """Start the BentoML service of what is current; it follows the pointer."""
    from services import serve as service

    with shell(home, False, debug) as session:
        service.serve(session.home, host, port, workers, tenants)


def bento(
    generation: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id or alias of what it carries; else what is served.")
    ] = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="Carry no generation: it serves a home that it is given.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Build the service as a Bento, with a generation inside, into BentoML's store."""
    with shell(home, as_json, debug) as session:
        from recsys.store.generations import current_id, newest_id
        from services.bento import build_bento

        if bare and generation is not None:
            raise SettingError("--bare carries no generation. Leave one of the two out.")
        named = None if generation is None else meant(session.home, GENERATION, generation)
        carried = None if bare else named or current_id(session.home) or newest_id(session.home)
        with progress.step("Build the Bento"):
            built = build_bento(session.home, carried)
        session.result = asdict(built)
        session.show(f"Bento {built.tag} {'was there already' if built.found else 'is built'}.")
        session.show(f"Next: bentoml serve {built.tag} · bentoml containerize {built.tag}")


def recommend(
    user: Annotated[str, typer.Option(help="User id; an unknown user gets what is popular.")],
    k: Annotated[int, typer.Option(min=1, max=200)] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Name reasons.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print one answer of the current generation, live items and events among it, with titles and reasons."""
    with shell(home, as_json, debug) as session:
        from recsys.database.engine import Database
        from recsys.serving.answers import REMARKS
        from recsys.serving.live_generation import as_served
        from recsys.serving.recommender import Recommender
        from recsys.serving.users import Users

        with progress.step("Load"):
            opened = Recommender.open(session.home)
            database = Database.of(session.home)
            try:
                recommender, users = as_served(session.home, opened, database), Users(database)
                history = users.history(recommender.users, recommender.catalogue, user)
                attributes = users.attributes(recommender.users, user)
            finally:
                database.close()
            answer = recommender.recommend(history, attributes, k=k, explain=explain)
        said = {name: value for name, value in asdict(answer).items() if name not in REMARKS or value}
        session.result = {"user_id": user, **said}
        show_items(session, user, session.result)
