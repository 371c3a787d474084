"""`recsys doctor`: whether a home, and what it stands on, is as it must be; it looks, and writes nothing."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows import progress
from flows.commands.terminal import FAILED, DebugOption, HomeOption, JsonOption, shell, table


def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Hash no files: seconds, however large the home is.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check a home, its database and index, keys, versions, the machine and the servers that are named."""
    with shell(home, as_json, debug, make=False) as session:
        from flows.doctor import diagnose

        found = diagnose(session.home, quick, progress.report)
        states = ("ok", "warning", "failed")
        counts = {state: sum(one.state == state for one in found) for state in states}
        session.result = {"home": str(session.home.root), **counts, "checks": [asdict(one) for one in found]}
        rows = [[one.name, one.state, one.found, one.todo] for one in found]
        session.show(table({"check": "", "state": "", "found": "", "what to do": ""}, rows))
        session.show(f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failed']} failed.")
        if counts["failed"]:
            raise typer.Exit(FAILED)
