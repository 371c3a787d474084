"""What is served: publish, roll back, and the log of both."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.names import shown_names
from flows.commands.tables import EMPTY
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, shell, table
from recsys.config import GateConfig, read_settings
from recsys.errors import RefusedError, SettingError
from recsys.store.names import GENERATION, meant, read_names
from recsys.store.promotions import Cause

Reason = Annotated[str | None, typer.Option(help="Why, in words; the log of promotions keeps it.")]


def publish(
    generation: Annotated[
        str | None, typer.Argument(help="Id or alias; the newest that is not served by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Serve it whatever the gate says; takes --reason.")] = False,
    reason: Reason = None,
    gate: Annotated[Path | None, typer.Option(dir_okay=False, help="JSON file with settings of GateConfig.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Serve a generation if it is whole and the gate lets it pass; exit code 3 if the gate does not."""
    _check(reason, force)
    with shell(home, as_json, debug) as session:
        from flows.publish import publish_generation
        from recsys.store.generations import newest_id

        limits = read_settings(GateConfig, gate) if gate else GateConfig()
        if generation is None:
            chosen = newest_id(session.home, served=False)
        else:
            chosen = meant(session.home, GENERATION, generation)
        try:
            verdict = publish_generation(chosen, str(session.home.root), force, reason, limits)
        except RefusedError as error:
            session.result = {"generation": chosen, "published": False, "passed": False, "findings": error.findings}
            raise
        session.result = {"generation": chosen, "published": True, **asdict(verdict)}
        session.show(*verdict.findings, f"Generation {read_names(session.home, GENERATION).label(chosen)} is served.")


def rollback(
    to: Annotated[str | None, typer.Option(help="Id or alias; the one before the current one by default.")] = None,
    reason: Reason = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Serve the generation before the current one again, or any other that is whole."""
    _check(reason)
    with shell(home, as_json, debug) as session:
        from flows.rollback import rollback_generation

        chosen = rollback_generation(to, str(session.home.root), reason)
        session.result = {"generation": chosen}
        session.show(f"Generation {read_names(session.home, GENERATION).label(chosen)} is served.")


def promotions(
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List what was served when, by whom and why, and what was refused; the newest first."""
    from recsys.store.pointer import list_promotions

    with shell(home, as_json, debug) as session:
        found = list_promotions(session.home)[:limit]
        names = read_names(session.home, GENERATION)
        session.result = {"promotions": [one.to_dict() for one in found]}
        headings = dict.fromkeys(("at", "what", "generation", "names", "before", "by", "reason"), "")
        rows = [
            [
                one.at[:19].replace("T", " "), one.outcome, one.generation, shown_names(names, one.generation),
                one.previous or EMPTY, one.by, one.reason or EMPTY,
            ]
            for one in found
        ]  # fmt: skip
        session.show(table(headings, rows))


def _check(reason: str | None, force: bool = False) -> None:
    """Refuse a reason that is none as bad usage."""
    try:
        Cause(reason=reason).check(force)
    except SettingError as error:
        raise typer.BadParameter(str(error), param_hint="--reason") from None
