"""`recsys ui`: Prefect's server and UI for schedules, forms and the history of runs."""

from shlex import quote
from typing import Annotated

import typer

from flows import server
from flows.commands.terminal import DebugOption, HomeOption, shell


def ui(
    port: Annotated[int, typer.Option(min=1, max=65_535)] = server.PORT,
    home: HomeOption = None,
    debug: DebugOption = False,
) -> None:
    """Start Prefect's server and UI, behind a login, on loopback; its state lies below the home."""
    with shell(home, False, debug) as session:
        path = server.client_file(session.home, port)
        typer.echo(
            f"The UI is at http://127.0.0.1:{port}. Its login, and what other terminals need, is in {path}:\n"
            f"    source {quote(str(path))}"
        )
        server.start(session.home, port)
