"""Write every measured table from the result files in ``infra/results``: ``python infra/benchmarks/tables.py``.

The tables stand between markers in ``infra/results/README.md``, the shortest of them in the README as well. A result
file is a ``metrics.json`` that ``recsys benchmark`` or ``recsys train`` wrote, stored under the data's name, or what
``audience.py``, ``encoding.py``, ``life.py``, ``monitoring.py``, ``new_items.py``, ``search.py``, ``signals.py`` and
``small.py`` beside this file, ``infra/load/measure.py``, ``infra/attack/run.py``, ``recsys.models.throughput`` and
``recsys.training.standalone`` wrote; ``tried.json`` says what else was tried, and what it brought.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.attack import report as attacks
from infra.benchmarks.plan import plan
from infra.benchmarks.tables_of_events import audience, monitoring, new_items, repeats, signals
from infra.benchmarks.tables_of_images import images, topology
from infra.benchmarks.tables_of_operations import faults, ingest, lists, night, ray, retention, scale
from infra.load import report
from infra.supply import lift
from recsys.config import ClassifierConfig, from_stored
from recsys.models.throughput import SHAPES, encoding_flops

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "infra" / "results"
KINDS = (
    "quality", "tried", "audience", "speed", "encoding", "throughput", "standalone", "life", "search", "small",
    "repeats", "signals", "classification", "attacks", "lifting", "new items", "monitoring", "retention", "faults",
    "lists", "night", "ingest", "scale", "storage", "ray", "images", "topology",
)  # fmt: skip
SHORT = ("beauty", "ml-1m", "scientific")  # the results of the short table
SHOWN = ("recsys", "blend", "recsys.towers", "sasrec", "rules", "ease", "knn", "ials", "bert-whitened", "popularity")


def short(documents: Iterable[dict]) -> str:
    """Return the Markdown of the systems that matter most: R@10 and N@10 under leave-one-out, a column a data set."""
    columns = {document["data"]["name"]: document["protocols"]["leave-one-out"]["systems"] for document in documents}
    lines = [f"| R@10 / N@10 | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name in SHOWN:
        totals = [systems[name]["total"] for systems in columns.values()]
        figures = [f"{total['recall@10']:.4f} / {total['ndcg@10']:.4f}" for total in totals]
        shown = [f"**{cell}**" if name == "recsys" else cell for cell in (name, *figures)]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def rows(document: dict, protocol: str) -> list[str]:
    """Return the Markdown rows of one protocol, best NDCG@10 first."""
    systems = document["protocols"][protocol]["systems"]
    order = sorted(systems, key=lambda name: (-systems[name]["total"]["ndcg@10"], name))
    lines = []
    for name in order:
        total, cold = systems[name]["total"], systems[name]["cold_items"]
        figures = [f"{total[metric]:.4f}" for metric in ("recall@10", "ndcg@10", "recall@20", "ndcg@20")]
        figures.append(f"{cold['ndcg@10']:.4f}" if cold["count"] else "–")
        shown = f"**{name}**" if name == "recsys" else name
        lines.append(f"| {shown} | {' | '.join(figures)} |")
    return lines


def table(path: Path) -> str:
    """Return the Markdown of one result file."""
    document = json.loads(path.read_text())
    data, environment = document["data"], document["environment"]
    blocks = []
    for protocol, part in document["protocols"].items():
        asked = part["counts"]["test_targets"]
        unknown = part["counts"].get("events_of_unknown_time_left_out")
        left_out = f", {unknown:,} events of unknown time left out" if unknown else ""
        trainings = len(next(iter(part["systems"].values()))["seeds"])
        seeds = "one seed" if trainings == 1 else f"means of {trainings} seeds"
        device = f", {environment['device']}" if "device" in environment else ""
        cores = "1 core" if environment["cores"] == 1 else f"{environment['cores']} cores"
        blocks += [
            f"### {path.stem.removesuffix(f'-{protocol}')}, {protocol}",
            "",
            f"{data['users']:,} users, {data['items']:,} items, "
            f"{data['events']:,} events, {asked:,} test targets{left_out}; {seeds}; "
            f"{cores}{device}, torch {environment['packages']['torch']}",
            "",
            "| system | R@10 | N@10 | R@20 | N@20 | N@10, cold items |",
            "|---|---|---|---|---|---|",
            *rows(document, protocol),
            "",
        ]
    return "\n".join(blocks)


def adapters(documents: Iterable[dict]) -> str:
    """Return the Markdown of what fine-tuning brings: our parts with the adapter over the same on the base alone."""
    lines = ["| N@10 | text alone | frozen | gain | towers | frozen | gain |", "|---|---|---|---|---|---|---|"]
    for document in documents:
        for protocol, part in document["protocols"].items():
            cells: list[str] = []
            for ours, frozen in (("recsys.text", "recsys.frozen-text"), ("recsys.towers", "recsys.frozen-towers")):
                found = [part["systems"].get(name, {}).get("total", {}).get("ndcg@10") for name in (ours, frozen)]
                if None in found:
                    cells += ["–"] * 3
                else:
                    cells += [f"{found[0]:.4f}", f"{found[1]:.4f}", f"{found[0] / found[1] - 1:+.1%}"]
            if set(cells) != {"–"}:
                lines.append(f"| {document['data']['name']}, {protocol} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def ideas(path: Path) -> str:
    """Return the Markdown of ideas tried: N@10 before and after, the interval of the difference where known."""
    lines = ["| idea | measured on | before | after | difference, 95 % | in the product |", "|---|---|---|---|---|---|"]
    for row in json.loads(path.read_text())["ideas"]:
        interval = "{:+.4f} … {:+.4f}".format(*row["interval"]) if row["interval"] else "–"
        figures = f"{row['before']:.4f} | {row['after']:.4f} | {interval}"
        lines.append(f"| {row['idea']} | {row['data']} | {figures} | {'yes' if row['kept'] else 'no'} |")
    return "\n".join([*lines, ""])


def epochs(path: Path) -> str:
    """Return the Markdown of a classifier's epochs."""
    document = json.loads(path.read_text())
    data, environment = document["data"], document["environment"]
    base = from_stored(ClassifierConfig, document["settings"]).lora.base
    names = ("train_loss", "train_accuracy", "dev_loss", "dev_accuracy")
    lines = [
        f"**{data['name']}**, {data['train']:,} texts, {data['dev']:,} to judge by; {base}, seed "
        f"{document['seed']}; {environment['threads']} thread, torch {environment['packages']['torch']}",
        "",
        f"| epoch | {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---|---|---|---|---|",
    ]
    for row in document["history"]:
        kept = " (kept)" if row["epoch"] == document["epochs"] else ""
        lines.append(f"| {row['epoch']:.0f}{kept} | {' | '.join(f'{row[name]:.4f}' for name in names)} |")
    return "\n".join([*lines, ""])


def tries(path: Path) -> str:
    """Return the Markdown of what else was tried with a classifier."""
    document = json.loads(path.read_text())
    lines = ["| tried | epochs | dev accuracy | with the weights averaged |", "|---|---|---|---|"]
    for row in document["tries"]:
        figures = [f"{row[name]:.4f}" if name in row else "–" for name in ("dev_accuracy", "dev_accuracy_averaged")]
        lines.append(f"| {row['what']} | {row['epochs']:g} | {' | '.join(figures)} |")
    return "\n".join([*lines, ""])


def encoding(path: Path) -> str:
    """Return the Markdown of encoding speeds beside sentence-transformers."""
    document = json.loads(path.read_text())
    rates = document["matrix_gflops"]
    lines = [
        f"{document['machine']}; matrix products {rates['fp32']:.0f} GFLOP/s in fp32, {rates['bf16']:.0f} in bf16",
        "",
        "| texts | system | items/s | ratio | share of its matrix rate | 1−cos |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in document["workloads"].items():
        flops = encoding_flops(SHAPES["minilm"], round(part["mean_tokens"]))
        for system, row in part["systems"].items():
            rate = rates["bf16" if "bf16" in system else "fp32"] * 1e9
            lines.append(
                f"| {name} | {system} | {row['items_per_second']:.0f} | {row['ratio']:.2f} | "
                f"{row['items_per_second'] * flops / rate:.2f} | {row['distance']:.0e} |"
            )
    return "\n".join([*lines, ""])


def throughput(path: Path) -> str:
    """Return the Markdown of speeds beside the matrix rate."""
    document = json.loads(path.read_text())
    machine = document["machine"]
    lines = [
        f"{machine['device']}, {machine['threads']} threads, {machine['precision']}, torch {machine['torch']}; "
        f"matrix product {document['matrix_flops_per_second'] / 1e9:,.0f} GFLOP/s",
        "",
        "| shape | tokens | work | items/s | tokens/s | MFU |",
        "|---|---|---|---|---|---|",
    ]
    for run in document["runs"]:
        for work, row in run.items():
            if isinstance(row, dict) and "mfu" in row:
                figures = f"{row['texts_per_second']:,.1f} | {row['tokens_per_second']:,.0f} | {row['mfu']:.2f}"
                lines.append(f"| {run['shape']} | {run['tokens']} | {work.replace('_', ' ')} | {figures} |")
    return "\n".join([*lines, ""])


def standalone(path: Path) -> str:
    """Return one sentence about a stand-alone training."""
    document = json.loads(path.read_text())
    data, found, machine, stages = (document[name] for name in ("data", "test", "machine", "stages"))
    tuned = stages["fine-tune BERT"]
    note = f" ({document['note']})" if "note" in document else ""
    return (
        f"{path.stem.removeprefix('standalone-')}, {data['users']:,} users, {data['items']:,} items, "
        f"{len(document['rounds'])} LoRA rounds "
        f"({tuned['seconds']:.0f} s, {tuned['tokens_per_second']:,.0f} tokens/s) and "
        f"{len(document['epochs'])} epochs of the towers, in {sum(row['seconds'] for row in stages.values()):,.0f} s "
        f"on {machine['device']} beside {machine['threads']} threads: "
        f"R@10 {found['recall@10']:.4f}, N@10 {found['ndcg@10']:.4f}{note}.\n"
    )


def life(path: Path) -> str:
    """Return the Markdown of a life: what going on costs and gives, beside a training from the beginning."""
    document = json.loads(path.read_text())
    data, compared = document["data"], document["compared"]
    pretrain, older, further, anew = (document[name] for name in ("pretrain", "older", "further", "anew"))
    perplexity, worth = pretrain["perplexity"], pretrain["worth"]
    people = "all people" if data["share_of_users"] == 1 else f"{data['share_of_users']:.0%} of the people"
    lines = [
        f"**{data['name']}**, {people}, {data['events']:,} events; {document['threads']} thread, "
        f"torch {document['environment']['packages']['torch']}",
        "",
        "| | CPU seconds | N@10, newest window | N@10, older window |",
        "|---|---|---|---|",
    ]
    for name, one in (("trained on older events", older), ("gone on with newer ones", further), ("trained anew", anew)):
        figures = one["ndcg@10"]
        lines.append(
            f"| {name} | {one['cpu_seconds']:.0f} | {figures['new_window']:.4f} | {figures['old_window']:.4f} |"
        )
    newer, old = compared["new_window"], compared["old_window"]
    lines += [
        "",
        f"Going on took {further['cpu_seconds'] / anew['cpu_seconds']:.0%} of the time of a training anew and has "
        f"{newer['ratio']:.1%} ({newer['ratio_low']:.1%} to {newer['ratio_high']:.1%}) of its N@10; of the older "
        f"window's it keeps {old['ratio']:.1%} ({old['ratio_low']:.1%} to {old['ratio_high']:.1%}). Pre-training took "
        f"the perplexity of held-out texts from {perplexity['before']:.1f} to {perplexity['after']:.1f}, and N@10 of "
        f"text-only towers from {worth['without']:.4f} to {worth['given']:.4f}: it "
        f"{'pays, and is kept' if worth['pays'] else 'does not pay, and is not kept'}.",
        "",
    ]
    return "\n".join(lines)


def search(path: Path) -> str:
    """Return the Markdown of what a search finds, by kind of question, and of what it learns from pairs."""
    document = json.loads(path.read_text())
    lines = [
        "| hit@1 (MRR@10) | questions | meaning | words | reciprocal ranks, before | both | over the better alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in document["kinds"]:
        found = kind["systems"]
        cells = [
            f"{found[name]['hit@1']:.3f} ({found[name]['mrr@10']:.3f})"
            for name in ("meaning", "words", "reciprocal ranks", "both")
        ]
        change = kind["both_minus_better"]
        over = f"{change['mean_difference']:+.3f} ({change['low']:+.3f} … {change['high']:+.3f})"
        lines.append(f"| {kind['name']} | {kind['questions']:,} | {' | '.join(cells)} | {over} |")
    lines += ["", "| taught by pairs | learnt | held out | before | after | difference |", "|---|---|---|---|---|---|"]
    for one in document["taught"]:
        before, after, change = one["before"], one["after"], one["after_minus_before"]
        over = f"{change['mean_difference']:+.3f} ({change['low']:+.3f} … {change['high']:+.3f})"
        lines.append(
            f"| help desk, seed {one['seed']} | {one['learnt']} | {one['held_out']} | "
            f"{before['hit@1']:.3f} ({before['mrr@10']:.3f}) | {after['hit@1']:.3f} ({after['mrr@10']:.3f}) | {over} |"
        )
    return "\n".join([*lines, ""])


def small(path: Path) -> str:
    """Return the Markdown of what small data costs from files to an answer: medians, and the span of all rounds."""
    document = json.loads(path.read_text())
    trees = [name for name in ("before", "now") if name in document]
    lines = [
        f"{document['users']} users, {document['items']} items; {document['rounds']} rounds by turns; "
        f"{document['processor']}, {document['cores']} cores, threads: {document['threads']}.",
        "",
        f"| CPU seconds (wall) | {' | '.join(trees)} |",
        f"|---|{'---|' * len(trees)}",
    ]
    for name in ("ingest", "train", "publish", "recommend", "together"):
        cells = []
        for tree in trees:
            (least, middle, most), wall = document[tree][name]["cpu"], document[tree][name]["wall"][1]
            cells.append(f"{middle:.1f}, {least:.1f} to {most:.1f} ({wall:.1f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for protocol in document["now"]["ndcg@10"]:
        cells = [f"{document[tree]['ndcg@10'][protocol]:.4f}" for tree in trees]
        lines.append(f"| NDCG@10, {protocol} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def filled(page: Path, blocks: dict[str, str]) -> str:
    """Return a page with each block in the place of what stands between the markers of its name.

    Raises:
        ValueError: the page has not exactly one pair of markers for a block.
    """
    text = page.read_text()
    for name, content in blocks.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{page} needs {begin} and {end} once each.")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{content}{end}{rest.partition(end)[2]}"
    return text


def kind(document: dict) -> str:
    """Return what a result file is about, by what it holds; empty for one that no table is made of."""
    holds = {"protocols": "quality", "ideas": "tried", "workloads": "encoding", "catalogue": "speed"}
    return next((name for key, name in holds.items() if key in document), document.get("task", ""))


def pages() -> dict[Path, str]:
    """Return the pages that hold tables, each as the result files would have it.

    Raises:
        ValueError: a result file belongs to no table, or a page has not the markers for one.
    """
    of: dict[str, list[Path]] = {name: [] for name in KINDS}
    for path in sorted(RESULTS.glob("*.json")):
        name = kind(json.loads(path.read_text()))
        if name not in of:
            raise ValueError(f"{path} belongs to no table; there are tables of {', '.join(KINDS)}.")
        of[name].append(path)
    everything = {
        "quality": "\n".join(map(table, of["quality"])),
        "adapters": adapters(json.loads(path.read_text()) for path in of["quality"]),
        "tried": "\n".join(map(ideas, of["tried"])),
        "audience": "\n".join(map(audience, of["audience"])),
        "speed": report.tables(of["speed"]),
        "encoding": "\n".join(map(encoding, of["encoding"])),
        "throughput": "\n".join([*map(throughput, of["throughput"]), *map(standalone, of["standalone"])]),
        "life": "\n".join(map(life, of["life"])),
        "search": "\n".join(map(search, of["search"])),
        "small": "\n".join(map(small, of["small"])),
        "repeats": "\n".join(map(repeats, of["repeats"])),
        "signals": "\n".join(map(signals, of["signals"])),
        "new-items": "\n".join(map(new_items, of["new items"])),
        "monitoring": "\n".join(map(monitoring, of["monitoring"])),
        "classifier": "\n".join(f"{epochs(path)}\n{tries(path)}" for path in of["classification"]),
        "attacks": attacks.tables(of["attacks"]),
        "lifting": "\n".join(lift.table(lift.outcomes(json.loads(path.read_text()))) for path in of["lifting"]),
        "lists": "\n".join(map(lists, of["lists"])),
        "ingest": "\n".join(map(ingest, of["ingest"])),
        "retention": "\n".join(map(retention, of["retention"])),
        "faults": "\n".join(map(faults, of["faults"])),
        "night": "\n".join(map(night, of["night"])),
        "ray": "\n".join(map(ray, of["ray"])),
        "images": "\n".join(map(images, of["images"])),
        "topology": "\n".join(map(topology, of["topology"])),
    }
    running = {"scale": "\n".join(map(scale, of["scale"])), "plan": plan(RESULTS)}
    readme, results, infra = ROOT / "README.md", RESULTS / "README.md", ROOT / "infra" / "README.md"
    chosen = short(json.loads((RESULTS / f"{name}.json").read_text()) for name in SHORT)
    return {
        readme: filled(readme, {"quality": chosen}),
        results: filled(results, everything),
        infra: filled(infra, running),
    }


def main() -> None:
    """Write both pages."""
    for page, text in pages().items():
        page.write_text(text)


if __name__ == "__main__":
    main()
