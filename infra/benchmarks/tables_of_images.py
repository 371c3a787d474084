"""The tables of the images and of the house without Docker."""

import json
from pathlib import Path
from typing import Any

LARGEST = 8
NAMED = 60  # characters of an instruction


def images(path: Path) -> str:
    """Return the Markdown of what each image holds, by layer and largest packages, and what the service did in it."""
    document = json.loads(path.read_text())
    lines = ["| image | MB beside its base | packages | the largest, in MB |", "|---|---|---|---|"]
    for name, image in document["targets"].items():
        largest = ", ".join(f"{package} {mb:.0f}" for package, mb in list(image["largest"].items())[:LARGEST])
        lines.append(f"| `{name}` | {image['mb']:,.0f} | {image['packages']} | {largest} |")
    lines += ["", "| image | layer | MB |", "|---|---|---|"]
    for name, image in document["targets"].items():
        for layer in image["layers"]:
            said = layer["instruction"]
            said = f"{said[:NAMED].rstrip()} …" if len(said) > NAMED else said
            lines.append(f"| `{name}` | `{said}` | {layer['mb']:,.1f} |")
    for name, image in document["targets"].items():
        if tried := image.get("tried"):
            lines += ["", *_tried(name, tried)]
        elif said := image.get("imported"):
            lines += ["", f"In `{name}` a worker's code imports, with torch and Prefect {said.replace(' ', ' and ')}."]
    environment = document["environment"]
    lines += ["", f"The base was {environment['base']}; Linux {environment['kernel']}, {environment['machine']}.", ""]
    return "\n".join(lines)


def _tried(name: str, tried: dict[str, Any]) -> list[str]:
    refused, ended = tried["without_keys"], tried["sigterm"]
    rows = {
        "without keys": f"ends with {refused['exit_code']}: {refused['said'].splitlines()[-1]}",
        "ready": f"after {tried['ready_after_s']} s beside other work; {tried['items']} items for a key",
        "its own health check": "healthy" if tried["healthy"] else "**not healthy**",
        "who it is": f"user {tried['uid']}, capabilities {tried['capabilities']}",
        "a file beside its packages": tried["write_to_its_packages"],
        "SIGTERM to process 1": f"exit code {ended['exit_code']} after {ended['after_s']} s",
    }
    return [f"| `{name}` | |", "|---|---|", *(f"| {what} | {seen} |" for what, seen in rows.items())]


def topology(path: Path) -> str:
    """Return the Markdown of what each process of the house did, and how its day went."""
    document = json.loads(path.read_text())
    lines = ["| service | healthy after (s) | ended by SIGTERM with | after (s) |", "|---|---|---|---|"]
    for name, seen in document["services"].items():
        ended = [str(seen.get(key, "–")) for key in ("exit_code", "ended_after_s")]
        lines.append(f"| `{name}` | {seen['healthy_after_s']} | {' | '.join(ended)} |")
    day, stored, watched = document["day"], document["day"]["postgres"], document["day"]["watched"]
    scraped = ", ".join(f"{job} {health}" for job, health in watched["targets"].items())
    rows = {
        "before anything is published": f"`/readyz` {day['readyz_before']}; without a key {day['without_a_key']}",
        "`pipeline/daily`, tables in the store": f"{day['daily']['state']} after {day['daily']['seconds']} s",
        "`tidy/tidy`, on the other worker": day["tidy"]["state"],
        "the service": f"{day['items']} items by {day['answered_by']}, which is what was published"
        if day["answered_by"] == day["generation"]
        else "**another generation**",
        "the home": f"`{day['elsewhere']['home']}`; the service follows it with a cache of its own, and an empty cache "
        f"finds {', '.join(day['elsewhere']['served'])} served",
        "events, posted twice": f"accepted {day['accepted']}, duplicates {day['duplicates']}; offered again: "
        f"{len(day['offered_again'])}",
        "in PostgreSQL": f"{stored['events']} events; {stored['completed_runs']} runs of Prefect; "
        f"each owner in the other's database: {stored['refused'][0]}",
        "Prometheus": f"{scraped}; {watched['requests']} requests counted; firing: {len(watched['firing'])}",
        "Alertmanager": f"known to Prometheus: {watched['alertmanagers']}; alerts: {watched['told']}",
    }
    return "\n".join([*lines, "", "| the day | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows.items()), ""])
