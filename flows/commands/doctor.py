"""`recsys doctor`: whether a home, and what it stands on, is as it must be; it looks, and writes nothing."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows import progress
from flows.commands.terminal import FAILED, DebugOption, HomeOption, JsonOption, shell


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
        for one in found:
            session.show(f"{one.state:<8} {one.name:<12} {one.found}")
            if one.todo:
                session.show(f"{'':<21} → {one.todo}")
        session.show(f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failed']} failed.")
        if counts["failed"]:
            raise typer.Exit(FAILED)
