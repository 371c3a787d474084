"""`recsys monitor`: does what comes in still look like what is served was trained on?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.terminal import REFUSED, DebugOption, HomeOption, JsonOption, shell, table
from recsys.config import MonitorConfig, from_dict, read_settings


def monitor(
    events: Annotated[
        str | None, typer.Option(help="Raw events of the next ingest, as `recsys ingest` takes them; else live events.")
    ] = None,
    items: Annotated[
        str | None, typer.Option(help="Raw items likewise; else the catalogue with what was put live.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="As of when, such as 2026-03-01T00:00Z; else now.")] = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Encode new texts as well, which takes the encoder.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(dir_okay=False, help="JSON file with settings of MonitorConfig.")
    ] = None,
    retrain: Annotated[
        str | None, typer.Option(help="Deployment to run where a training helps, such as pipeline/daily.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 where something is an alarm.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare what came in with what is served was trained on: traffic, mixes, texts, vectors, answers."""
    with shell(home, as_json, debug) as session:
        settings = read_settings(MonitorConfig, config) if config else MonitorConfig()
        settings = from_dict(MonitorConfig, {"embeddings": True}, settings) if embeddings else settings
        from flows.locations import named
        from flows.monitor import monitor_served

        given = (named(events, "events") if events else None, named(items, "items") if items else None)
        found = monitor_served(*given, str(session.home.root), settings, until, retrain)
        session.result = found
        wanted = [check for level in ("alarm", "notice") for check in found["checks"] if check["level"] == level]
        if wanted:
            rows = [[check["level"], check["name"], check["sentence"]] for check in wanted]
            session.show(table({"level": "", "check": "", "what it says": ""}, rows))
        if found["answers"]:
            headings = {"answers that brought": "", "generation": "", "answers": "right", "share": "right", "95 %": ""}
            session.show(table(headings, [_rate(one) for one in found["answers"]]))
        session.show(_summary(found), f"Board: {found['board']}")
        if "training" in found:
            session.show(f"A training was started: flow run {found['training']}.")
        if strict and found["level"] == "alarm":
            raise typer.Exit(REFUSED)


def _rate(one: dict[str, Any]) -> list[str]:
    low, high = (100 * end for end in one["interval"])
    share = f"{100 * one['rate']:.2f} %"
    return [one["event_type"], one["generation"], f"{one['answers']:,}", share, f"{low:.2f} to {high:.2f} %"]


def _summary(found: dict[str, Any]) -> str:
    checks = found["checks"]
    usual = sum(check["level"] == "ok" for check in checks)
    days = f"{str(found['begin'])[:10]} to {str(found['end'])[:10]}"
    return f"{usual} of {len(checks)} checks are as usual: {found['events']:,} events from {days}."
