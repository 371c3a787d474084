"""What a size that nobody here can run would take, from what was measured: the table in ``infra/README.md``.

    python infra/benchmarks/plan.py --events 1e9 --items 1e8
    python infra/benchmarks/plan.py --measure HOME …    # bytes an event and an item, of the largest

Each stage's cost at the largest size that was measured is carried on in proportion to what it grows with. That is a
floor: caches end, and what is cut into more parts is put together again. What ends first is memory, so beside each
cost stands up to where one machine holds the stage.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from recsys.artifacts import stored_bytes, write_json
from recsys.home import Home
from recsys.store.generations import list_generations
from recsys.store.index import TABLE_FOLDER
from recsys.store.standing import list_manifests

RESULTS = Path(__file__).parents[1] / "results"
EVENTS, ITEMS = 1e9, 1e8
MACHINE_GIB = 128
HOUR = 3_600
GPU_SHAPE, GPU_TOKENS = "minilm", 64  # of the default base, and longer than most titles
PASSES = 2  # of the adapter over the catalogue
# By stage: what it grows with, and what is there, or missing, once one machine no longer holds it.
GROWTH = {
    "read": ("events", "mapped from disk: pages of it are in memory, and not all"),
    "split": ("events", "by shards of users, as lists and evaluation are divided now"),
    "whiten": ("items", "one pass over a mapped file for the moments, one for the features; both are by blocks now"),
    "rules": ("events", "by runs of items on Ray, which is there; the statistics are joined in one"),
    "knn": ("events", "likewise"),
    "choose": ("items", "by settings on Ray, which is there; a sample of items as candidates"),
    "adapter": ("items", "vectors in a mapped file: rounds read the rows of their sample alone already"),
    "towers": ("events", "the table of items parted over the processes of torchrun; each holds all of it now"),
    "blend": ("items", "by shards of its targets, as evaluation"),
    "rank": ("items", "by shards of targets on Ray, which is there"),
    "index": ("items", "fragments written side by side and committed once; one writer holds all vectors now"),
}


def plan(results: Path, events: float = EVENTS, items: float = ITEMS) -> str:
    """Return the Markdown of what each stage takes at a size.

    Args:
        results: the folder of ``scale.json``, ``ingest.json``, ``batch.json`` and ``throughput-h200.json``.
        events: how many there are.
        items: likewise.
    """
    scale, batch = (json.loads((results / f"{name}.json").read_text()) for name in ("scale", "batch"))
    sizes = {"events": events, "items": items}
    rows = [_ingest(json.loads((results / "ingest.json").read_text()), events), *_stages(scale["rows"], sizes)]
    lines = [
        f"{events:,.0f} events, {items:,.0f} items; core-hours of {scale['machine']['processor']}.",
        "",
        f"| stage | grows with | measured at | core-hours | one process holds, GiB | {MACHINE_GIB} GiB hold | then |",
        "|---|---|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *_beside(batch, json.loads((results / "throughput-h200.json").read_text()), items),
        "",
        *_stored(json.loads((results / "storage.json").read_text()), events, items),
        "",
        _bill(rows),
    ]
    return "\n".join([*lines, ""])


def _stages(rows: list[Mapping[str, Any]], sizes: Mapping[str, float]) -> list[list[str]]:
    found = []
    for stage, (by, then) in GROWTH.items():
        own = [row for row in rows if row["stage"] == stage and "cpu_seconds" in row]
        if not own:
            continue
        last = max(own, key=lambda row: row[by])
        grown = sizes[by] / last[by]
        hours, memory = last["cpu_seconds"] / last["part"] * grown / HOUR, last["peak_gib"] * grown
        ends = last[by] * MACHINE_GIB / last["peak_gib"]
        found.append([stage, by, f"{last[by]:,}", f"{hours:,.1f}", f"{memory:,.0f}", f"{_round(ends)} {by}", then])
    return found


def _ingest(document: Mapping[str, Any], events: float) -> list[str]:
    """Return the row of the ingest, whose memory does not grow."""
    rows, last = max(((int(rows), one) for rows, one in document["sizes"].items()), key=lambda pair: pair[0])
    hours = last["first"]["cpu_seconds"] * events / rows / HOUR
    peak = last["first"]["peak_mib"] / 1_024
    then = "by parts of the source on many machines, each into a snapshot that the next joins"
    return ["ingest", "events", f"{rows:,}", f"{hours:,.1f}", f"{peak:.1f}", "any", then]


def _beside(batch: Mapping[str, Any], gpu: Mapping[str, Any], items: float) -> list[str]:
    """Return sentences on what a GPU and lists for all take."""
    run = next(one for one in gpu["runs"] if (one["shape"], one["tokens"]) == (GPU_SHAPE, GPU_TOKENS))
    encoded = items / run["embed_texts"]["texts_per_second"] / HOUR
    learnt = PASSES * items / run["lora_step"]["texts_per_second"] / HOUR
    home = max(batch["homes"], key=lambda one: one["items"])
    pace = home["users_a_second"]["files"]
    return [
        f"On one {gpu['machine']['device']} the texts are encoded in {encoded:,.1f} hours and the adapter learns from "
        f"them in {learnt:,.1f}, at {GPU_TOKENS} tokens a text. Lists for a million users take "
        f"{1e6 / pace / HOUR:,.1f} core-hours at {home['items']:,} items.",
    ]


def _stored(measured: Mapping[str, Any], events: float, items: float) -> list[str]:
    """Return sentences on the disk."""
    of_event = measured["event_bytes"] / measured["events"]
    table, vectors = (measured[name] / measured["items"] for name in ("table_bytes", "vector_bytes"))
    return [
        f"A snapshot takes {of_event:.1f} bytes an event, {of_event * events / 1e9:,.0f} GB in all, and shares what it "
        f"has in common with the one before. A table in LanceDB takes {table:,.0f} bytes an item, and its vectors, "
        f"which workers map, {vectors:,.0f}: {(table + vectors) * items / 1e9:,.0f} GB a generation, of which two or "
        "more are kept.",
    ]


def _bill(rows: list[list[str]]) -> str:
    hours = {row[0]: float(row[3].replace(",", "")) for row in rows}
    dear = sorted(hours, key=lambda stage: -hours[stage])[:2]
    return (
        f"That is {sum(hours.values()):,.0f} core-hours a training of one protocol, {hours[dear[0]]:,.0f} of them for "
        f"{dear[0]} and {hours[dear[1]]:,.0f} for {dear[1]}, which are what a GPU is for."
    )


def measure(homes: list[Home]) -> dict[str, Any]:
    """Return the bytes of the largest snapshot and of the largest generation's table in some homes."""
    rows, home, snapshot = max((one.counts.events, home.root, one.id) for home in homes for one in list_manifests(home))
    made = ((home, one) for home in homes for one in list_generations(home))
    place, manifest = max(made, key=lambda one: one[1].index.rows)
    name = manifest.index.table
    return {
        "task": "storage",
        "events": rows,
        "event_bytes": stored_bytes(*(Home(home).snapshots / snapshot).glob("events*")),
        "items": manifest.index.rows,
        "table_bytes": stored_bytes(place.lance / f"{name}{TABLE_FOLDER}"),
        "vector_bytes": stored_bytes(*place.lance.glob(f"{name}*.npy")),
    }


def _round(number: float) -> str:
    return f"{number / 1e9:,.1f} billion" if number >= 1e9 else f"{number / 1e6:,.1f} million"


def main() -> None:
    """Print the table, or measure what is stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=float, default=EVENTS)
    parser.add_argument("--items", type=float, default=ITEMS)
    parser.add_argument("--measure", type=Path, nargs="+", metavar="HOME")
    parser.add_argument("--out", type=Path, default=RESULTS / "storage.json")
    options = parser.parse_args()
    if options.measure:
        write_json(options.out, measure([Home(home) for home in options.measure]))
        return
    print(plan(RESULTS, options.events, options.items))


if __name__ == "__main__":
    main()
