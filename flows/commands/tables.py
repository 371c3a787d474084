"""The tables that more than one command shows."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.pretty import Pretty
from rich.text import Text

from flows.commands.terminal import Shell, table
from recsys.evaluation.plain import cell

if TYPE_CHECKING:
    from recsys.config import SignalConfig
    from recsys.data.findings.finding import Finding
    from recsys.data.quality import TableQuality
    from recsys.data.repeats import Repeats
    from recsys.evaluation.report import MetricsDocument
    from recsys.ranking.parts import Parts

EMPTY = "–"


def show_values(session: Shell, result: dict[str, Any]) -> None:
    """Show what a command returns as it is."""
    session.result = result
    session.show(Pretty(result))


def as_cell(value: Any) -> str:
    """Return a value for a cell: a dash for none, four digits of a share."""
    return EMPTY if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def figure(metrics: Mapping[str, Any]) -> str:
    """Return our NDCG@10 of metrics by system, for a cell."""
    from recsys.evaluation.headline import HEADLINE, OURS

    return as_cell(metrics.get(OURS, {}).get(HEADLINE))


def show_overview(session: Shell, document: "MetricsDocument") -> None:
    """Show the two figures that matter most of every system under every protocol, in one table."""
    from recsys.evaluation.report import HEADLINE

    protocols = document["protocols"]
    totals = {name: {key: part["total"] for key, part in protocols[name]["systems"].items()} for name in protocols}
    systems = sorted(next(iter(totals.values())), key=lambda key: -sum(part[key][HEADLINE] for part in totals.values()))
    headings = {f"{name} {metric}": (name, metric.lower()) for name in protocols for metric in ("NDCG@10", "Recall@10")}
    rows = [[key, *(f"{totals[name][key][metric]:.4f}" for name, metric in headings.values())] for key in systems]
    session.show(table({"system": ""} | dict.fromkeys(headings, "right"), rows, "Held-out events, full ranking"))


def show_parts(session: Shell, parts: "Parts") -> None:
    """Show what each component of a generation weighs, and what its adapter moves."""
    from recsys.ranking.parts import COMPONENTS

    rows = [
        [name, f"{parts.weights[name]:g}", f"{100 * share:.0f} %", COMPONENTS.get(name, "")]
        for name, share in parts.shares.items()
    ]
    headings = {"component": "", "weight": "right", "share": "right", "what it is": ""}
    session.show(table(headings, rows, "What the lists are made of"), parts.adapter_part)


def show_report(session: Shell, generation_id: str) -> str | None:
    """Show where a generation's report lies and return the path; nothing, where none was written."""
    from recsys.store.generations import report_path

    path = report_path(session.home, generation_id)
    if not path.is_file():
        return None
    session.show(Text.assemble("Report: ", (path.as_uri(), f"link {path.as_uri()}")))  # a link, however it is wrapped
    return str(path)


def show_quality(
    session: Shell,
    tables: "Iterable[TableQuality]",
    notes: Iterable[str],
) -> None:
    """Show how many rows of each table were set aside, and why, and what else there is to say of them."""
    headings = {"table": "", "rows": "right", "bad": "right", "duplicates": "right", "reasons": ""}
    rows = [
        [one.table, f"{one.rows:,}", f"{one.bad:,}", f"{one.duplicates:,}", _counted(one.reasons)] for one in tables
    ]
    session.show(table(headings, rows))
    for note in notes:
        session.show(Text(cell(note)))  # types and columns are named in it, and names are data


def show_findings(session: Shell, findings: "Iterable[Finding]") -> list[dict[str, Any]]:
    """Show what is odd about good rows, if anything is, and return it for JSON."""
    found = list(findings)
    if found:
        rows = [
            [one.severity, one.rule, f"{one.share:.2%}", cell(" ".join([one.sentence, *one.examples]))] for one in found
        ]
        session.show(table({"": "", "rule": "", "share": "right", "what it says": ""}, rows, "Odd about what is good"))
    return [{**asdict(one), "share": one.share} for one in found]


def notes_of(
    repeats: "Repeats | None", signals: "tuple[SignalConfig, ...] | None", unused: Mapping[str, str] | None
) -> list[str]:
    """Return what is told of data beside its bad rows: who came back, what events mean, what makes no segments."""
    from recsys.data.signals import sentence  # brings Polars

    found = [] if repeats is None else [repeats.sentence]
    found += [sentence(signals)] if signals else []
    return found + [f"{name}: {why}" for name, why in (unused or {}).items()]


def _counted(reasons: dict[str, int]) -> str:
    return "; ".join(f"{count:,} × {reason}" for reason, count in reasons.items())


def show_items(session: Shell, user_id: str, answer: dict[str, Any]) -> None:
    """Show one answer; it has the same fields whether it came over HTTP or not."""
    items = answer["items"]
    rows = [[str(item["fields"]["title"]), f"{item['score']:.3f}", "; ".join(item["reasons"])] for item in items]
    unknown = {"segment": f"{user_id} has done nothing yet: popular among people alike", None: f"For user {user_id}"}
    title = unknown.get(answer["fallback"], f"{user_id} is unknown: popular items")
    session.show(table({"title": "", "score": "right", "reasons": ""}, rows, title))


def show_metrics(session: Shell, document: "MetricsDocument") -> None:
    """Show the table of every protocol of a metrics document."""
    from recsys.evaluation import page

    session.show(*(page.table(document, protocol) for protocol in document["protocols"]))
