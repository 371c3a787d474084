"""The page about raw tables: what was set aside and why, what is odd about the rest, and how it is distributed.

One HTML file without scripts and network, by day and by night. It shows texts of items, and nobody's id.
"""

from collections.abc import Iterator
from pathlib import Path

from recsys.artifacts import commit_file, staged_file
from recsys.data.distributions import Distribution
from recsys.data.findings.finding import ERROR, Finding
from recsys.data.quality import QualityReport
from recsys.data.signals import sentence
from recsys.evaluation import charts
from recsys.evaluation.charts import Bar, escaped, quoted
from recsys.evaluation.plain import cell

TITLE = "Quality of events, items and users"


def write_data_page(path: Path, report: QualityReport, before: str | None = None) -> None:
    """Write the page of a report in the place of a file, whole or not at all.

    Args:
        path: the file.
        report: what ``validate`` returned.
        before: id of the snapshot that it was compared with; None: there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(path.parent) as staging:
        staging.write_text(data_page(report, before), encoding="utf-8")
        commit_file(staging, path)


def data_page(report: QualityReport, before: str | None = None) -> str:
    """Return the page as HTML."""
    return charts.whole_page(TITLE, [*_verdict(report), *_set_aside(report), *_odd(report, before), *_spread(report)])


def _verdict(report: QualityReport) -> Iterator[str]:
    refusal = report.refusal()
    errors = sum(one.severity == ERROR for one in report.findings)
    told = "Good enough to ingest." if refusal is None else "Nothing would be ingested."
    counted = ", ".join(f"{one.rows - one.quarantined:,} good rows of {one.table}" for one in report.tables)
    yield f"<p><b>{told}</b> {escaped(counted)}; {errors} errors and {len(report.findings) - errors} warnings.</p>"
    if refusal is not None:
        yield f"<pre>{quoted_lines(refusal)}</pre>"


def quoted_lines(text: str) -> str:
    """Return lines of a message, each with everything in it to be seen."""
    return "\n".join(quoted(line) for line in text.split("\n"))


def _set_aside(report: QualityReport) -> Iterator[str]:
    yield "<h2>Rows that were set aside</h2>"
    rows = [
        (one.table, f"{one.rows:,}", f"{one.bad:,}", f"{one.share:.2%}", f"{one.duplicates:,}") for one in report.tables
    ]
    yield charts.table(("table", "rows", "bad", "share", "duplicates"), rows)
    for table in report.tables:
        if table.reasons:
            bars = [Bar(reason, float(count), f"{count:,}") for reason, count in table.reasons.items()]
            yield f"<h3>{escaped(table.table.capitalize())}</h3>{charts.bars(bars)}"


def _odd(report: QualityReport, before: str | None) -> Iterator[str]:
    yield "<h2>Odd about what is good</h2>"
    beside = "No snapshot was made before." if before is None else f"Compared with snapshot {before}."
    yield f'<p class="note">{escaped(beside)}</p>'
    if not report.findings:
        yield "<p>Nothing.</p>"
        return
    yield charts.bars([_bar(one) for one in report.findings])


def _bar(found: Finding) -> Bar:
    label = f"{found.severity}: {found.rule}"
    counted = f"{found.count:,} of {found.of:,}"
    kind = "ours" if found.severity == ERROR else "part"
    such = f" Such as {'; '.join(found.examples)}." if found.examples else ""
    return Bar(label, found.share, counted, kind=kind, what=cell(f"{found.sentence}{such}"))


def _spread(report: QualityReport) -> Iterator[str]:
    yield "<h2>How the good rows are distributed</h2>"
    told = [report.repeats.sentence] if report.repeats else []
    told += [sentence(report.signals)] if report.signals else []
    yield from (f"<p>{quoted(one)}</p>" for one in told)
    yield '<div class="pair">'
    yield from (_drawn(one) for one in report.distributions if one.counts)
    yield "</div>"


def _drawn(found: Distribution) -> str:
    what = f"{found.what.capitalize()} by {found.by}"
    if found.by == "type":  # names stand in no order
        bars = [Bar(name, float(count), f"{count:,}") for name, count in found.counts.items()]
        return f"<div><h3>{escaped(what)}</h3>{charts.bars(bars)}</div>"
    names = list(found.counts)
    caption = f"{what}; the highest column holds {max(found.counts.values()):,}"
    return charts.columns(caption, {"": list(found.counts.values())}, names[0], names[-1])
