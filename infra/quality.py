"""Write the README's tables of quality from the result files in ``infra/results``: ``python infra/quality.py``.

A result file is a ``metrics.json`` that ``recsys benchmark`` or ``recsys train`` wrote, stored under the data's name.
"""

import json
from pathlib import Path

ROOT = Path(__file__).parent
BEGIN, END = "<!-- quality -->", "<!-- /quality -->"


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
        blocks += [
            f"**{path.stem}**, {protocol}: {data['users']:,} users, {data['items']:,} items, "
            f"{data['events']:,} events, {asked:,} test targets; "
            f"{environment['cores']} cores, torch {environment['packages']['torch']}",
            "",
            "| system | R@10 | N@10 | R@20 | N@20 | N@10, cold items |",
            "|---|---|---|---|---|---|",
            *rows(document, protocol),
            "",
        ]
    return "\n".join(blocks)


def epochs(path: Path) -> str:
    """Return the Markdown of a classifier's epochs."""
    document = json.loads(path.read_text())
    data, environment, settings = document["data"], document["environment"], document["settings"]
    names = ("train_loss", "train_accuracy", "dev_loss", "dev_accuracy")
    lines = [
        f"**{data['name']}**, {data['train']:,} texts, {data['dev']:,} to judge by; {settings['base']}, seed "
        f"{document['seed']}; {environment['threads']} thread, torch {environment['packages']['torch']}",
        "",
        f"| epoch | {' | '.join(name.replace('_', ' ') for name in names)} |",
        "|---|---|---|---|---|",
    ]
    for row in document["history"]:
        kept = " (kept)" if row["epoch"] == document["epochs"] else ""
        lines.append(f"| {row['epoch']:.0f}{kept} | {' | '.join(f'{row[name]:.4f}' for name in names)} |")
    return "\n".join([*lines, ""])


def write(begin: str, end: str, content: str) -> None:
    """Replace what stands between two markers in the README."""
    readme = ROOT.parent / "README.md"
    before, _, rest = readme.read_text().partition(begin)
    _, _, after = rest.partition(end)
    readme.write_text(f"{before}{begin}\n{content}{end}{after}")


def main() -> None:
    """Write both tables."""
    paths = sorted((ROOT / "results").glob("*.json"))
    documents = {path: json.loads(path.read_text()) for path in paths}
    write(BEGIN, END, "\n".join(table(path) for path in paths if "protocols" in documents[path]))
    classifiers = [path for path in paths if documents[path].get("task") == "classification"]
    write("<!-- classifier -->", "<!-- /classifier -->", "\n".join(map(epochs, classifiers)))


if __name__ == "__main__":
    main()
