"""Hold what ``infra/load/measure.py`` measured against the goals: ``python infra/load/report.py``.

Reads ``infra/results/speed-*.json``. Every figure is the median over the repeats, with the smallest and the largest; a
ratio is taken within each repeat. ``infra/benchmarks/tables.py`` writes the same tables into the page of all results.
"""

import json
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
Row = tuple[str, str, str, str]  # what, figure, range, goal
FASTER = 2.0  # times the bare search that a request may take at most,
SPARE = 3.0  # and so many milliseconds
SATURATED = 0.6  # of the requests a second that a no-op and a bare search would allow
KINDS = ("recommend", "filter", "new filter", "explain", "batch of 256", "similar")


def main() -> None:
    """Print the tables."""
    print(tables(RESULTS.glob("speed-*.json")))


def tables(paths: Iterable[Path]) -> str:
    """Return the Markdown of every home that was measured: small ones first, and more workers before fewer."""
    documents = [json.loads(path.read_text()) for path in paths]
    documents.sort(key=lambda document: (document["catalogue"], -_workers(document)))
    return "\n".join(map(table, documents))


def table(document: dict[str, Any]) -> str:
    """Return the Markdown of one home."""
    machine = document["machine"]
    lines = [
        f"### {document['catalogue']:,} items, workers: {_workers(document)}",
        "",
        f"{machine['cores']} cores of {machine['processor']}, "
        f"lancedb {machine['packages']['lancedb']}, bentoml {machine['packages']['bentoml']}; "
        "load average "
        + ", ".join(f"after {name} {document[name]['load_average']:.1f}" for name in PARTS if name in document),
        "",
        "| | median | least – most | goal |",
        "|---|---|---|---|",
    ]
    for part, rows in PARTS.items():
        if part in document:
            lines += [f"| {' | '.join(row)} |" for row in rows(document[part])]
    if "requests" in document:
        lines += ["", stages(document["requests"])]
    return "\n".join([*lines, ""])


def _workers(document: dict[str, Any]) -> int:
    return max(document[name]["workers"] for name in PARTS if name in document)


def requests(part: dict[str, Any]) -> Iterator[Row]:
    """Yield latencies at one client, then what many clients get."""
    rows, raw = part["repeats"], part["raw search"]

    def allowed(row: dict[str, Any]) -> float:
        return FASTER * row["raw search"]["p99"] + SPARE

    note = f"bare search, {raw['nprobes']} probes, recall@10 {raw['recall@10']:.2f}: p99"
    yield _row(note, rows, lambda row: row["raw search"]["p99"], "ms")
    yield _row("bare search: processor time", rows, lambda row: row["raw search"]["cpu"], "ms")
    yield _row("no-op request: p50", rows, lambda row: row["no-op"]["p50"], "ms")
    for name in KINDS:
        yield _row(f"{name}: p50", rows, lambda row, name=name: row[name]["p50"], "ms")
        yield _row(f"{name}: p99", rows, lambda row, name=name: row[name]["p99"], "ms")
        yield _row(f"{name}: processor time", rows, lambda row, name=name: row[name]["cpu"], "ms")
    yield _row(
        "recommend: p99 ÷ (2 × bare search's p99 + 3 ms)", rows, lambda row: row["recommend"]["p99"] / allowed(row), "",
        1.0,
    )  # fmt: skip
    yield _row("saturated", rows, lambda row: row["saturated"]["per_second"], "requests/s")
    yield _row(
        "saturated × (no-op + bare search)",
        rows,
        lambda row: row["saturated"]["per_second"] * (row["no-op"]["p50"] + row["raw search"]["p50"]) / 1_000,
        "",
        SATURATED,
        least=True,
    )
    failed = sum(row[name]["failed"] for row in rows for name in (*KINDS, "saturated"))
    yield "failed requests", f"{failed}", "", _goal(failed, 0, "", least=False)


def events(part: dict[str, Any]) -> Iterator[Row]:
    """Yield reads beside events, and how soon an answer reflects one."""
    rows = part["repeats"]
    yield _row("reads alone: p99", rows, lambda row: row["reads alone"]["p99"], "ms")
    yield _row("reads beside 2,000 events/s: p99", rows, lambda row: row["reads beside events"]["p99"], "ms")
    yield _row("100 events posted: p99", rows, lambda row: row["events"]["p99"], "ms")
    reached = f"event → next answer, {part['workers_reached']} workers: p99"
    yield _row(reached, rows, lambda row: row["reflected"]["p99"], "ms", 50.0)


def items(part: dict[str, Any]) -> Iterator[Row]:
    """Yield how soon a new item is offered while others are uploaded."""
    soon, goal = part["recommendable"], 5_000.0
    what = f"item put → offered by {part['workers_reached']} workers, during {part['uploaded']:,} uploads: p95"
    yield what, f"{soon['p95']:,.0f} ms", f"– {soon['max']:,.0f}", _goal(soon["p95"], goal, "ms", least=False)


def swap(part: dict[str, Any]) -> Iterator[Row]:
    """Yield what people notice of new generations."""
    rows = part["repeats"]
    failed = sum(row["during"]["failed"] for row in rows)
    yield "switching under load: failed requests", f"{failed}", "", _goal(failed, 0, "", least=False)
    yield _row("p99 while switching ÷ steady", rows, lambda row: row["during"]["p99"] / row["steady"]["p99"], "", 1.5)
    times = [{"seconds": one["all workers after"]} for row in rows for one in row["switched"]]
    what = f"pointer moved → all {part['workers_reached']} workers"
    yield _row(what, times, lambda one: one["seconds"], "s", 2.0)


def memory(part: dict[str, Any]) -> Iterator[Row]:
    """Yield each worker's memory at the beginning, after the warm-up and at the end."""
    samples = part["samples"]
    warm = samples[len(samples) // 4]
    for worker in sorted(set(samples[0]) - {"requests"}):
        first, middle, last = (sample[worker]["own"] for sample in (samples[0], warm, samples[-1]))
        yield (
            f"a worker's own memory after {samples[-1]['requests']:,} requests",
            f"{last:,.0f} MiB",
            f"{first:,.0f} at the start, {middle:,.0f} after {warm['requests']:,}",
            "flat",
        )


def stages(part: dict[str, Any]) -> str:
    """Return the Markdown of where a request's time goes."""
    rows = part["repeats"]
    kinds = [name for name in KINDS if "stages" in rows[0][name]]
    names = sorted({stage for row in rows for kind in kinds for stage in row[kind]["stages"]})
    mean = {
        (stage, kind): statistics.median(row[kind]["stages"].get(stage, 0.0) for row in rows)
        for stage in names
        for kind in kinds
    }
    lines = [f"| ms in a request's stage | {' | '.join(kinds)} |", f"|---|{'---|' * len(kinds)}"]
    for stage in sorted(names, key=lambda stage: -mean[stage, "recommend"]):
        lines.append(f"| {stage} | {' | '.join(f'{mean[stage, kind]:.2f}' for kind in kinds)} |")
    return "\n".join(lines) + "\n"


PARTS = {"requests": requests, "events": events, "items": items, "swap": swap, "memory": memory}


def _row(
    what: str,
    rows: list[dict[str, Any]],
    figure: Callable[[dict[str, Any]], float],
    unit: str,
    goal: float | None = None,
    least: bool = False,
) -> Row:
    values = [figure(row) for row in rows]
    middle = statistics.median(values)
    shown = f"{middle:.2f} {unit}".strip()
    return what, shown, f"{min(values):.2f} – {max(values):.2f}", _goal(middle, goal, unit, least)


def _goal(value: float, goal: float | None, unit: str, least: bool) -> str:
    if goal is None:
        return ""
    met = value >= goal if least else value <= goal
    return f"{'≥' if least else '≤'} {goal:g} {unit}".strip() + (": met" if met else ": **not met**")


if __name__ == "__main__":
    main()
