"""The artifact of an ingest: what was read and set aside, what has changed since the last snapshot, distributions."""

from collections.abc import Mapping
from dataclasses import asdict

from flows.runs import for_the_ui, show_markdown
from recsys.data.distributions import Change, Distribution, changes, distributions, previous
from recsys.data.findings.finding import Finding
from recsys.data.findings.gathered import look_at, snapshot_findings
from recsys.data.signals import sentence, suggested
from recsys.data.snapshot import Snapshot, list_snapshots
from recsys.evaluation.plain import in_markdown
from recsys.home import Home

BAR = 24  # characters of the longest
EIGHTHS = " ▏▎▍▌▋▊▉█"


@for_the_ui
def report_quality(home: Home, snapshot: Snapshot) -> None:
    """Show how many rows were read and set aside, and why, what is other than before, and how all is distributed."""
    before = previous(list_snapshots(home), snapshot)
    counts = ", ".join(f"{count:,} {name}" for name, count in asdict(snapshot.manifest.counts).items())
    repeats = f" {in_markdown(snapshot.manifest.repeats.sentence)}" if snapshot.manifest.repeats else ""
    means = in_markdown(sentence(suggested(snapshot.kinds())))
    joined = f" {snapshot.manifest.appended.sentence}" if snapshot.manifest.appended else ""
    described = f"Snapshot {snapshot.id}: {counts}.{joined}{repeats}{_described(snapshot)}"
    parts = [" ".join(filter(None, [described, means])), _rows(snapshot)]
    if before is None:
        parts.append("No snapshot was made before this one.")
    else:
        parts += [f"### Since snapshot {before.id}", _changed(changes(before, snapshot))]
    look = look_at(snapshot)
    parts += _odd(snapshot_findings(home, snapshot, look))
    earlier = {(one.what, one.by): one for one in distributions(before)} if before else {}
    parts += [_drawn(one, earlier.get((one.what, one.by))) for one in look.distributions(snapshot.items())]
    show_markdown("\n\n".join(parts), key="quality", description=f"Snapshot {snapshot.id}: {counts}.")


@for_the_ui
def report_dataset(name: str, notes: tuple[str, ...]) -> None:
    """Show what was decided of a data set's files, what of them was left out, and who may use it."""
    lines = "\n".join(f"- {in_markdown(note)}" for note in notes)
    show_markdown(f"Data set {in_markdown(name)}:\n\n{lines}", key="dataset", description=f"Data set {name}.")


def _rows(snapshot: Snapshot) -> str:
    tables = snapshot.manifest.quality.values()
    rows = [
        f"| {one.table} | {one.rows:,} | {one.quarantined:,} | {_reasons(one.reasons)} | {one.duplicates:,} |"
        for one in tables
    ]
    heading = "| table | rows | set aside | reasons | of them duplicates |"
    return "\n".join([heading, "| --- | ---: | ---: | --- | ---: |", *rows])


def _odd(found: tuple[Finding, ...]) -> list[str]:
    """Return what is odd about the good rows as a table, or that nothing is."""
    if not found:
        return ["Nothing is odd about the rows that are good."]
    rows = [
        f"| {one.severity} | {one.rule} | {100 * one.share:.2f} % "
        f"| {in_markdown(one.sentence)} {in_markdown('; '.join(one.examples))} |"
        for one in found
    ]
    return [
        "### Odd about what is good",
        "\n".join(["| | rule | share | what it says |", "| --- | --- | ---: | --- |", *rows]),
    ]


def _reasons(reasons: Mapping[str, int]) -> str:
    return in_markdown("; ".join(f"{count:,} × {reason}" for reason, count in reasons.items()))


def _changed(found: list[Change]) -> str:
    rows = [f"| {one.name} | {one.before:,} | {one.now:,} | {_relative(one)} |" for one in found]
    return "\n".join(["| | before | now | change |", "| --- | ---: | ---: | ---: |", *rows])


def _relative(change: Change) -> str:
    if "the other" in change.name or not change.before:
        return ""
    return f"{100 * (change.now / change.before - 1):+.1f} %"


def _drawn(found: Distribution, before: Distribution | None) -> str:
    """Return a table with a bar a class; where classes are no dates, with the share that each had before."""
    most, shares = max(found.counts.values(), default=0), found.shares
    dated = before is None or (found.what == "events" and found.by != "type")
    earlier = {} if dated or before is None else before.shares
    heading = f"| {found.by} | {found.what} | share |{'' if dated else ' before |'} |"
    lines = [f"### {found.what.capitalize()} by {found.by}", "", heading]
    lines.append(f"| --- | ---: | ---: |{'' if dated else ' ---: |'} --- |")
    for name, count in found.counts.items():
        past = "" if dated else f" {100 * earlier.get(name, 0.0):.1f} % |"
        lines.append(f"| {in_markdown(name)} | {count:,} | {100 * shares[name]:.1f} % |{past} {_bar(count, most)} |")
    return "\n".join(lines)


def _bar(count: int, most: int) -> str:
    """Return a bar of blocks, to an eighth of a character, the longest for ``most``."""
    eighths = round(8 * BAR * count / most) if most else 0
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _described(snapshot: Snapshot) -> str:
    """Say what is known beside who did what, and which of it makes no segments."""
    described, context = snapshot.manifest.described, snapshot.manifest.context or {}
    said = [f"{described.rows:,} users have attributes."] if described else []
    said += [f"A request may give {', '.join(context)}."] if context else []
    unused = {**(described.unused if described else {}), **context}
    said += [f"{name}: {why}" for name, why in unused.items() if why]
    return f" {in_markdown(' '.join(said))}" if said else ""
