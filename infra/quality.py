"""Write the README's quality table from the result files in ``infra/results``: ``python infra/quality.py``.

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


def main() -> None:
    """Replace what stands between the markers in the README."""
    readme = ROOT.parent / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = "\n".join(table(path) for path in sorted((ROOT / "results").glob("*.json")))
    readme.write_text(f"{before}{BEGIN}\n{tables}{END}{after}")


if __name__ == "__main__":
    main()
