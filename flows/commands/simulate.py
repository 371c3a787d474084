"""`recsys simulate`: raw files of a made-up shop whose truth is known."""

import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows import progress
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, Seed, shell
from flows.runtime import peak_memory
from recsys.config import from_dict, read_settings

ENOUGH = 0.7  # of the events that were asked for


def simulate(
    out: Annotated[
        Path, typer.Option(file_okay=False, help="New folder for events/, items.parquet, users.parquet and truth.json.")
    ],
    users: Annotated[int | None, typer.Option(help="How many people; 2,000 by default.")] = None,
    items: Annotated[int | None, typer.Option(help="How many items; 1,000 by default.")] = None,
    events: Annotated[int | None, typer.Option(help="About how many events; 100,000 by default.")] = None,
    days: Annotated[int | None, typer.Option(help="How many days they cover; 180 by default.")] = None,
    seed: Seed = None,
    config: Annotated[
        Path | None, typer.Option(dir_okay=False, help="JSON file with settings of SimulationConfig.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write events, items and users of a made-up shop whose truth is known, of any size."""
    with shell(home, as_json, debug) as session:
        from recsys.simulation.config import SimulationConfig
        from recsys.simulation.world import World
        from recsys.simulation.writing import write_world

        options = {"users": users, "items": items, "events": events, "days": days, "seed": seed}
        given = {name: value for name, value in options.items() if value is not None}
        settings = read_settings(SimulationConfig, config) if config else SimulationConfig()
        started = time.monotonic()
        world = World(from_dict(SimulationConfig, given, settings))
        written = write_world(world, out, progress.report)
        seconds, memory = time.monotonic() - started, peak_memory()
        types = ", ".join(f"{count:,} × {name}" for name, count in written.types.items())
        place, files = shlex.quote(str(out)), "file" if written.files == 1 else "files"
        if written.events < ENOUGH * world.config.events:
            session.show(
                f"{world.config.events:,} events were asked for: people do too little at a visit for so many. "
                "Give more users, items or days, or a higher behaviour.look_base."
            )
        session.show(
            f"{written.events:,} events ({types}) of {written.users:,} users and {written.items:,} items in "
            f"{written.files:,} {files}, {seconds:.0f} s, at most {memory:,} MiB.\n\n"
            f"Next: recsys ingest --events {place}/events --items {place}/items.parquet --users {place}/users.parquet"
        )
        session.result = {
            "out": out.absolute(),
            **asdict(written),
            "seconds": round(seconds, 1),
            "peak_memory_mib": memory,
        }
