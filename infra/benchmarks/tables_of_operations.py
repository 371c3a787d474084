"""The tables of what operators rely on: lists for many, how much a home holds, what promises are worth in a fault."""

import json
from pathlib import Path

SAID = 300  # characters of what a run says at its end


def retention(path: Path) -> str:
    """Return the Markdown of how much a home held after so many publications."""
    document = json.loads(path.read_text())
    kinds = [name for name, size in document["kinds"].items() if size >= 50_000]
    sizes = [f"{document['kinds'][name] / 1e6:.1f}" for name in kinds]
    data, counts = document["data"], document["counts"]
    return "\n".join(
        [
            f"{data[0].upper()}{data[1:]}, {counts['users']:,} users, {counts['items']:,} items; "
            f"{document['publications']} publications and {document['refused']} generations that were never published, "
            f"`--keep {document['keep']}`, pruned after each.",
            "",
            "| live, MB | held, MB | times the live | at most, in between | pruned, MB | generations left |",
            "|---|---|---|---|---|---|",
            f"| {document['live'] / 1e6:.1f} | {document['held'] / 1e6:.1f} | {document['last_ratio']:.2f} | "
            f"{document['largest_ratio']:.2f} | {document['freed'] / 1e6:,.0f} | {document['generations']} |",
            "",
            f"| held at the end, MB | {' | '.join(kinds)} |",
            f"|---|{'---|' * len(kinds)}",
            f"| | {' | '.join(sizes)} |",
            "",
        ]
    )


def lists(path: Path) -> str:
    """Return the Markdown of how many users a second get lists, by files and over HTTP."""
    document = json.loads(path.read_text())
    lines = [
        f"Users a second of processor time, one thread on {document['environment']['device']}; the median of rounds.",
        "",
        "| users | items | `recsys batch` | `POST /v1/recommend/batch` | same lists | where an answer's time goes |",
        "|---|---|---|---|---|---|",
    ]
    for home in document["homes"]:
        rates = home["users_a_second"]
        largest = sorted(home["stages"].items(), key=lambda one: -one[1])
        stages = ", ".join(f"{name} {share:.0%}" for name, share in largest if share >= 0.05)
        lines.append(
            f"| {home['users']:,} | {home['items']:,} | {rates['files']:,.0f} | {rates['http']:,.0f} | "
            f"{home['same']:.1%} | {stages} |"
        )
    return "\n".join([*lines, ""])


def ingest(path: Path) -> str:
    """Return the Markdown of an ingest beside DuckDB: rows a second, peak, and what a day costs that joins."""
    document = json.loads(path.read_text())
    lines = [
        "Rows a thousand a second of processor time (of the clock), the best of the rounds, and the peak of memory.",
        "",
        "| rows | threads | ours | DuckDB | of its speed | peak, MiB: ours | DuckDB | a day of 100,000 that joins |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, size in sorted(document["sizes"].items(), key=lambda one: int(one[0])):
        sides = {side: runs for side, runs in size.get("runs", {}).items() if runs}
        ours, theirs = sides.get("ours", [size["first"]]), sides.get("duckdb")
        share = "" if theirs is None else f"{_least(theirs, 'cpu_seconds') / _least(ours, 'cpu_seconds'):.2f}"
        limit = f", in a cgroup of {size['memory_limit'] >> 20:,} MiB" if "memory_limit" in size else ""
        day = f"{size['day']['cpu_seconds']:.1f} s, {size['day']['cpu_seconds'] / size['first']['cpu_seconds']:.1%}"
        rates = f"{_rates(ours, int(name))} | {_rates(theirs, int(name))} | {share}"
        peaks = f"{_peak(ours)}{limit} | {_peak(theirs)}"
        lines.append(f"| {int(name):,} | {size['threads']} | {rates} | {peaks} | {day} |")
    return "\n".join([*lines, ""])


def _least(runs: list[dict[str, float]], name: str) -> float:
    return min(run[name] for run in runs)


def _rates(runs: list[dict[str, float]] | None, rows: int) -> str:
    if runs is None:
        return ""
    return f"{rows / 1e3 / _least(runs, 'cpu_seconds'):,.0f} ({rows / 1e3 / _least(runs, 'seconds'):,.0f})"


def _peak(runs: list[dict[str, float]] | None) -> str:
    return "" if runs is None else f"{max(run['peak_mib'] for run in runs):,}"


def faults(path: Path) -> str:
    """Return the Markdown of the faults: promise, trials, outcome."""
    document = json.loads(path.read_text())
    lines = ["| fault | promise | trials | kept | |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['fault']} | {row['promise']} | {row['trials']} | {row['kept']} | {row['note']} |"
        for row in document["faults"]
    ]
    broken = [f"- {row['fault']}: {one}" for row in document["faults"] for one in row["broken"]]
    return "\n".join([*lines, "", *broken, *([""] if broken else [])])


def night(path: Path) -> str:
    """Return the Markdown of a recorded night: what ran when, how it ended, and what was served then."""
    document = json.loads(path.read_text())
    shop, asked = document["shop"], document["asked"]
    lines = [
        f"A made-up shop of {shop['users']:,} people, {shop['items']:,} items and about {shop['events']:,} events; "
        f"{document['processor']}, beside other work.",
        "",
        "| at (UTC) | what | run | ended as | seconds | served then | artifacts |",
        "|---|---|---|---|---|---|---|",
    ]
    for step in document["steps"]:
        cells = [step["at"][11:19], step["what"], step["run"].partition(" · ")[0], step["state"]]
        cells += [f"{step['seconds']:.0f}", f"`{step['served']}`", ", ".join(f"`{key}`" for key in step["artifacts"])]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| at (UTC) | log of promotions | generation | before | why |", "|---|---|---|---|---|"]
    for one in document["promotions"]:
        before = f"`{one['previous']}`" if one["previous"] else "nothing"
        cells = [one["at"][11:19], one["action"], f"`{one['generation']}`", before, one["reason"] or ""]
        lines.append(f"| {' | '.join(cells)} |")
    told = [step for step in document["steps"] if step["state"] != "Completed"]
    lines += ["", *(f"- *{step['what']}*, {step['state']}: {step['message'][:SAID]} …" for step in told)]
    answers = sum(asked["answers"].values())
    lines += [
        "",
        f"Meanwhile the service gave {answers:,} answers by {len(asked['answers'])} generations, and "
        f"{len(asked['errors']) or 'no'} errors; the slowest took {asked['slowest_seconds']:.2f} s.",
        "",
    ]
    return "\n".join(lines)


def scale(path: Path) -> str:
    """Return the Markdown of what each stage of a training costs at some sizes, and cost before it was out of core."""
    document = json.loads(path.read_text())
    machine, rows, before = document["machine"], document["rows"], document.get("before", [])
    sizes = sorted({(row["events"], row["items"]) for row in rows})
    now, then = ({(row["events"], row["items"], row["stage"]): row for row in of} for of in (rows, before))
    heads = [f"{events:,} events, {items:,} items" for events, items in sizes]
    lines = [
        f"Processor time of the whole stage, one thread of {machine['processor']}, beside other work; in brackets the "
        f"peak of its process in GiB, with what it reads. No stage may hold more than {document['limit_gib']:g} GiB.",
        "",
        f"| stage | {' | '.join(heads)} | before, at the largest | at the largest |",
        f"|---|{'---|' * len(sizes)}---|---|",
    ]
    for stage in dict.fromkeys(row["stage"] for row in rows):
        cells = [_cost(now.get((*size, stage))) for size in sizes]
        largest = now.get((*sizes[-1], stage)) or {}
        told = [*cells, _cost(then.get((*sizes[-1], stage))), largest.get("note", "")]
        lines.append(f"| {stage} | {' | '.join(told)} |")
    return "\n".join([*lines, ""])


def _cost(row: dict | None) -> str:
    if row is None:
        return ""
    if "failed" in row:
        return "too much memory" if "allocate" in row["failed"] or "MemoryError" in row["failed"] else row["failed"]
    seconds = row["cpu_seconds"] / row["part"]
    span = (
        f"{seconds:.1f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6_000
        else f"{seconds / 3_600:.1f} h"
    )
    return f"{span} ({row['peak_gib']:.1f})"


def ray(path: Path) -> str:
    """Return the Markdown of what a cluster costs before it pays."""
    document = json.loads(path.read_text())
    about, joined = document["environment"], document["joined"]
    lines = [
        f"Ray {about['ray']}, two nodes of one thread on one {about['device']}; seconds of the processor, the median "
        f"of rounds, beside a load of {about['load'][0]:.0f}. Joining took {joined:.1f} s of the clock.",
        "",
        "| work | a second, one thread | start of both workers, s | two machines win from |",
        "|---|---|---|---|",
    ]
    for row in document["work"]:
        lines.append(
            f"| lists of users | {row['rate']:,.0f} users | {row['start']:.0f} | {row['pays_from']:,.0f} users |"
            if row["what"] == "users"
            else f"| vectors of texts | {row['rate']:,.0f} texts | {row['start']:.0f} | {row['pays_from']:,.0f} texts |"
        )
    return "\n".join([*lines, ""])
