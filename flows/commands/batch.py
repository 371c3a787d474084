"""`recsys batch`: lists for all users, or some, to Parquet."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.terminal import DebugOption, HomeOption, JsonOption, LogOption, RayOption, shell, table
from recsys.artifacts import read_json
from recsys.errors import RequestError
from recsys.serving.batch.manifest import BLOCK_SIZE, OWN


def batch(
    out: Annotated[Path | None, typer.Option(help="Folder for the files; else a new one a day below the home.")] = None,
    users: Annotated[
        str | None, typer.Option(help="Table with user_id, as `recsys ingest` takes one; else all.")
    ] = None,
    generation: Annotated[str | None, typer.Option(help="Id or alias; else what is served.")] = None,
    request: Annotated[
        Path | None, typer.Option(help="JSON file: the body of POST /v1/recommend, without the person.")
    ] = None,
    k: Annotated[int | None, typer.Option(min=1, help="How long lists are; else as the request says, or 10.")] = None,
    since: Annotated[Path | None, typer.Option(help="Folder of finished lists: write what has changed.")] = None,
    block_size: Annotated[int, typer.Option(min=1, help="Users whose lists are one file.")] = BLOCK_SIZE,
    ray: RayOption = None,
    log_file: LogOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write lists for all users, or some, to Parquet, as the service would answer now; what was killed goes on."""
    with shell(home, as_json, debug, log_file) as session:
        document = read_json(request) if request else {}
        if not isinstance(document, dict):
            raise RequestError(f"{request} holds no JSON object. It takes the body of POST /v1/recommend.")
        from flows.batch import batch_lists
        from flows.locations import named

        found = batch_lists(
            str(out) if out else None,
            named(users, "users") if users else None,
            str(session.home.root),
            generation,
            document,
            k,
            str(since) if since else None,
            block_size,
            ray,
        )
        session.result = found
        rows = [[link.replace(OWN, "own ranking"), f"{number:,}"] for link, number in found["answers"].items()]
        session.show(table({"lists by": "", "users": "right"}, rows))
        done = "was there already" if found["found"] else "is written"
        session.show(f"{found['users']:,} users as of {found['asked']}: {found['folder']} {done}.")
        if found.get("changes"):
            session.show(f"{found['changes']['users']:,} lists have changed: {found['folder']}/changes.parquet.")
