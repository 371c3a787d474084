"""Artifacts: what a run leaves for people to look at in the Prefect UI.

Keys are fixed, so that the UI shows the history of each: the quality of the input, the metrics by protocol, the chart,
where the training's report lies, sample recommendations, the gate's verdict and the log of promotions.
"""

import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows.runs import for_the_ui, show_image, show_markdown, show_table
from recsys.data.columns import ITEM_ID, TITLE
from recsys.data.signals import sentence, suggested
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.evaluation.plain import in_markdown
from recsys.home import Home
from recsys.ranking.parts import Parts
from recsys.store.generations import report_path
from recsys.store.pointer import list_promotions

if TYPE_CHECKING:
    from recsys.publishing.gate import Verdict  # torch, which an ingest has no use for

SAMPLE_USERS = 3
SAMPLE_ITEMS = 5
HISTORY_ITEMS = 5
PROMOTIONS = 50  # of the log, the newest


@for_the_ui
def report_quality(snapshot: Snapshot) -> None:
    """Show how many rows were read and set aside, and why, and how often users came back to an item, if they did."""
    rows = [
        {"table": one.table, "rows": one.rows, "set aside": one.quarantined, "reasons": _reasons(one.reasons)}
        for one in snapshot.manifest.quality.values()
    ]
    counts = ", ".join(f"{count:,} {name}" for name, count in asdict(snapshot.manifest.counts).items())
    repeats = f" {in_markdown(snapshot.manifest.repeats.sentence)}" if snapshot.manifest.repeats else ""
    means = in_markdown(sentence(suggested(snapshot.events())))
    described = f"Snapshot {snapshot.id}: {counts}.{repeats}{_described(snapshot)}"
    show_table(rows, key="quality", description=" ".join(filter(None, [described, means])))


def _described(snapshot: Snapshot) -> str:
    """Say what is known beside who did what, and which of it makes no segments."""
    described, context = snapshot.manifest.described, snapshot.manifest.context or {}
    said = [f"{described.rows:,} users have attributes."] if described else []
    said += [f"A request may give {', '.join(context)}."] if context else []
    unused = {**(described.unused if described else {}), **context}
    said += [f"{name}: {why}" for name, why in unused.items() if why]
    return f" {in_markdown(' '.join(said))}" if said else ""


@for_the_ui
def report_metrics(document: Mapping[str, Any]) -> None:
    """Show every protocol's table, and the chart of ours against the baselines."""
    from recsys.evaluation.page import markdown, plot  # matplotlib, which an ingest has no use for

    name = document["data"]["name"]
    for protocol in document["protocols"]:
        show_markdown(markdown(document, protocol), key=f"metrics-{protocol}", description=f"Metrics on {name}.")
    drawing = base64.b64encode(plot(document, "png")).decode()
    show_image(f"data:image/png;base64,{drawing}", key="ours-against-baselines", description=f"NDCG@10 on {name}.")


@for_the_ui
def report_training(home: Home, generation_id: str) -> None:
    """Show where a training's report lies, if one was written, and what an adapter moves, in a sentence."""
    path = report_path(home, generation_id)
    if not path.is_file():  # of a training that an older version has recorded
        return
    parts = Parts.read(home.generations / generation_id)
    said = in_markdown(parts.adapter_part) if parts else ""
    link = f"[The report of generation {generation_id}]({path.as_uri()})"
    show_markdown(
        f"{link}, on the machine that ran this: `{path}`.\n\n{said}",
        key="training-report",
        description=f"Curves, slices, lists and times of generation {generation_id}.",
    )


@for_the_ui
def report_samples(home: Home, generation_id: str) -> None:
    """Show what a few users did last and what the generation offers them."""
    from recsys.serving.recommender import Recommender  # torch, which an ingest has no use for

    recommender = Recommender.open(home, generation_id)
    snapshot = open_snapshot(home, recommender.snapshot_id, verify=False)  # opening the generation has verified it
    titles = dict(snapshot.items().select(ITEM_ID, TITLE).iter_rows())
    parts = [f"Generation {generation_id}, adapter {recommender.adapter_id}.\n"]
    for user_id in sample_users(snapshot):
        history = recommender.past(user_id)
        answer = recommender.recommend(history, k=SAMPLE_ITEMS, explain=True)
        last = ", ".join(in_markdown(titles[item]) for item in history[-HISTORY_ITEMS:])
        parts.append(f"### User {in_markdown(user_id)}\n\nLast: {last}\n")
        parts.append("| recommended | score | reasons |\n| --- | ---: | --- |")
        parts += [
            f"| {in_markdown(item.fields[TITLE])} | {item.score:.3f} | {in_markdown('; '.join(item.reasons))} |"
            for item in answer.items
        ]
        parts.append("")
    show_markdown("\n".join(parts), key="sample-recommendations", description="What some users are offered.")


@for_the_ui
def report_verdict(generation_id: str, verdict: "Verdict", force: bool) -> None:
    """Show what the gate found."""
    outcome = "passed" if verdict.passed else "published against the gate" if force else "refused"
    lines = [f"Generation {generation_id}: **{outcome}**.", "", *(f"- {finding}" for finding in verdict.findings)]
    show_markdown("\n".join(lines), key="gate", description=f"The gate on {generation_id}.")


def sample_users(snapshot: Snapshot, count: int = SAMPLE_USERS) -> list[str]:
    """Return a few user ids, evenly spread over all of them, always the same."""
    user_ids = snapshot.user_ids()
    return [user_ids[place * len(user_ids) // count] for place in range(min(count, len(user_ids)))]


@for_the_ui
def report_promotions(home: Home) -> None:
    """Show what was served when, by whom and why."""
    rows = [
        {
            "at": one.at, "what": one.outcome, "generation": one.generation, "before": one.previous or "",
            "by": in_markdown(one.by), "run": one.run or "", "reason": in_markdown(one.reason or ""),
            "findings": in_markdown(" ".join(one.findings)),
        }
        for one in list_promotions(home)[:PROMOTIONS]
    ]  # fmt: skip
    show_table(
        rows, key="promotions", description=f"What was served when, by whom and why: {in_markdown(str(home.root))}."
    )


def _reasons(reasons: Mapping[str, int]) -> str:
    return "; ".join(f"{count:,} × {reason}" for reason, count in reasons.items())
