"""The table of what was attacked: promise, attack, and what came of it, beside an earlier state where one is known."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infra.attack.tests import HELD_BY, places

BEFORE = "attack-before"  # name of the result file of an earlier state
NEVER = "–"


def tables(paths: Iterable[Path]) -> str:
    """Return the Markdown of a run, beside that of an earlier state where there is one."""
    documents = {path.stem: json.loads(path.read_text()) for path in paths}
    if not documents:
        return ""
    before = documents.pop(BEFORE, None)
    latest = list(documents.values())[-1] if documents else None
    shown = [document for document in (before, latest) if document]
    rows = {name: row for document in shown for name, row in _rows(document).items()}
    heads = [f"{'before' if document is before else 'now'}" for document in shown]
    lines = [*(_about(head, document) for head, document in zip(heads, shown, strict=True)), ""]
    lines += [f"| promise | attack | {' | '.join(heads)} | test |", f"|---|---|{'---|' * len(heads)}---|"]
    for name, row in rows.items():
        cells = [_cell(_rows(document).get(name)) for document in shown]
        lines.append(f"| {row['promise']} | {name} | {' | '.join(cells)} | {_test(row)} |")
    return "\n".join([*lines, ""])


def _about(head: str, document: dict[str, Any]) -> str:
    machine, rows = document["machine"], document["attacks"]
    counts = ", ".join(
        f"{sum(row['outcome'] == state for row in rows)} {state}" for state in ("held", "hurt", "not tried")
    )
    note = f"; {document['note']}" if "note" in document else ""
    return (
        f"- **{head}**: {counts}, of {len(rows)} attacks in {document['seconds']} s; {machine['day']}, "
        f"{machine['cores']} cores of {machine['processor']}, bentoml {machine['packages']['bentoml']}{note}"
    )


def _rows(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{row['kind']}: {row['name']}": row for row in document["attacks"]}


def _test(row: dict[str, Any]) -> str:
    name = HELD_BY[row["name"]]
    return f"[`{name}`](../../tests/{places()[name].as_posix()})"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return NEVER
    outcome = row["outcome"] if row["outcome"] != "hurt" else "**hurt**"
    evidence = row["evidence"].replace("|", "\\|").replace("\n", " ")
    return f"{outcome}: {evidence}"
