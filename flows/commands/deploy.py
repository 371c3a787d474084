"""`recsys deploy`: pool, queues, deployments, limits and automations on a Prefect server, in one go."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.terminal import DebugOption, HomeOption, JsonOption, shell, table
from flows.runtime import alone
from recsys.errors import SettingError


def deploy(
    git: Annotated[
        str | None, typer.Option(metavar="URL", help="Workers clone this repository instead of using this folder.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="Of the repository; its own default by default.")] = None,
    installed: Annotated[
        bool, typer.Option("--installed", help="Workers have recsys installed, as in an image; nothing is fetched.")
    ] = False,
    notify: Annotated[
        str | None,
        typer.Option(metavar="TYPE/NAME", help="Block that tells people, such as slack-webhook/ops."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make what a Prefect server must know: pool, queues, deployments, limits, automations; run it in a clone."""
    if git and installed:
        raise typer.BadParameter("Give --git or --installed, not both: code is fetched, or it is there.")
    if branch and not git:
        raise typer.BadParameter("--branch is one of --git's repository.")
    with shell(home, as_json, debug) as session:
        if alone():
            raise SettingError(
                "No Prefect server is named. Start `recsys ui`, and here `source` the client.env that it names."
            )
        from flows import progress
        from flows.deployment import QUEUES, Code, deploy

        with progress.step("Deploy"):
            done = deploy(session.home.make(), Path.cwd(), Code(git, branch, installed), notify)
        session.show(
            table({"deployment": "left"}, [[name] for name in done.deployments]),
            f"Pool {done.pool} with the queues {', '.join(QUEUES)}; {len(done.automations)} automations.",
            f"Next: prefect worker start --pool {done.pool}",
        )
        session.result = asdict(done)
