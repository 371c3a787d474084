"""Artifacts: what a run leaves for people to look at in the Prefect UI.

Keys are fixed, so that the UI shows the history of each: the metrics by protocol, the chart, how a training learnt,
where its report lies, sample recommendations before and after, the gate's verdict, the log of promotions and the
Bento. The input's are in ``flows.quality_report``.
"""

import base64
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from flows.runs import for_the_ui, show_image, show_markdown, show_table
from recsys.artifacts import ArtifactError, read_json
from recsys.data.columns import ITEM_ID, TITLE
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.evaluation.headline import METRICS_FILE
from recsys.evaluation.plain import in_markdown
from recsys.home import Home
from recsys.ranking.parts import Parts
from recsys.store.generations import current_id, report_path
from recsys.store.pointer import list_promotions

if TYPE_CHECKING:
    from recsys.publishing.gate import Verdict  # torch, which an ingest has no use for
    from recsys.serving.answers import Recommendation

SAMPLE_USERS = 3
SAMPLE_ITEMS = 5
HISTORY_ITEMS = 5
PROMOTIONS = 50  # of the log, the newest


@for_the_ui
def report_metrics(document: Mapping[str, Any]) -> None:
    """Show every protocol's table, and the chart of ours against the baselines."""
    from recsys.evaluation.page import markdown, plot  # matplotlib, which an ingest has no use for

    name = document["data"]["name"]
    for protocol in document["protocols"]:
        show_markdown(markdown(document, protocol), key=f"metrics-{protocol}", description=f"Metrics on {name}.")
    show_image(_inline(plot(document, "png")), key="ours-against-baselines", description=f"NDCG@10 on {name}.")


@for_the_ui
def report_training(home: Home, generation_id: str) -> None:
    """Show how a training learnt, where its report lies, if there is one, and what an adapter moves, in a sentence."""
    path = report_path(home, generation_id)
    if not path.is_file():  # of a training that an older version has recorded
        return
    learning = read_json(home.generations / generation_id / METRICS_FILE).get("learning")
    if learning:
        from recsys.evaluation.curves import curves, plot  # matplotlib, which an ingest has no use for

        drawing = _inline(plot(curves(learning)))
        show_image(drawing, key="learning-curves", description=f"How generation {generation_id} learnt.")
    parts = Parts.read(home.generations / generation_id)
    said = in_markdown(parts.adapter_part) if parts else ""
    link = f"[The report of generation {generation_id}]({path.as_uri()})"
    show_markdown(
        f"{link}, on the machine that ran this: `{path}`.\n\n{said}",
        key="training-report",
        description=f"Curves, slices, lists and times of generation {generation_id}.",
    )


@for_the_ui
def report_epochs(training: str, history: Sequence[Mapping[str, float]], description: str) -> None:
    """Show a training of one history by epoch, as ``recsys.evaluation.curves`` knows it: a table and its curves."""
    from recsys.evaluation.curves import curves_by_epoch, plot

    names = dict.fromkeys(name for row in reversed(history) for name in row)  # the first row may have fewer
    rows = [{name: round(row[name], 4) if name in row else None for name in names} for row in history]
    show_table(rows, key=training, description=description)
    show_image(_inline(plot(curves_by_epoch(training, history))), key=f"{training}-curves", description=description)


@for_the_ui
def report_found(what: str) -> None:
    """Say in the log and among the artifacts that a training was found done."""
    from prefect import get_run_logger

    said = f"Found done: {what}. The same inputs, settings and seed were given before, so nothing was trained."
    get_run_logger().info(said)
    show_markdown(said, key="found-done", description=f"Found done: {what}.")


@for_the_ui
def report_samples(home: Home, generation_id: str) -> None:
    """Show what a few users did last, what a generation offers them, and what they get from the one that is served."""
    from recsys.serving.recommender import Recommender  # torch, which an ingest has no use for

    recommender = Recommender.open(home, generation_id)
    snapshot = open_snapshot(home, recommender.snapshot_id, verify=False)  # opening the generation has verified it
    titles = dict(snapshot.items().select(ITEM_ID, TITLE).iter_rows())
    served_id, served = current_id(home), None
    before = f"Before: the served generation {served_id}"
    if served_id is None:
        before = "Nothing is served yet."
    elif served_id == generation_id:
        before = "It is what is served."
    else:
        try:
            served = Recommender.open(home, served_id)
            before = f"{before}, adapter {served.adapter_id}."
        except ArtifactError:  # what is broken stands in nobody's way
            before = f"{before}, which is broken and not shown."
    parts = [f"Generation {generation_id}, adapter {recommender.adapter_id}. {before}\n"]
    for user_id in sample_users(snapshot):
        history = recommender.past(user_id)
        offered = recommender.recommend(history, k=SAMPLE_ITEMS, explain=True).items
        last = ", ".join(in_markdown(titles[item]) for item in history[-HISTORY_ITEMS:])
        parts.append(f"### User {in_markdown(user_id)}\n\nLast: {last}\n")
        earlier = None if served is None else served.recommend(history, k=SAMPLE_ITEMS).items
        parts += [*_listed(offered, earlier), ""]
    show_markdown("\n".join(parts), key="sample-recommendations", description="What some users are offered.")


def _listed(offered: Sequence["Recommendation"], before: Sequence["Recommendation"] | None) -> list[str]:
    """Return the rows of a list, beside those of the list before where there is one."""
    heading, rule = "| recommended | score | reasons |", "| --- | ---: | --- |"
    rows = [
        f"| {in_markdown(item.fields[TITLE])} | {item.score:.3f} | {in_markdown('; '.join(item.reasons))} |"
        for item in offered
    ]
    if before is None:
        return [heading, rule, *rows]
    places = {item.item_id: place for place, item in enumerate(before, 1)}
    marks = [f"was {places[item.item_id]}" if item.item_id in places else "new" for item in offered]
    titles = [in_markdown(item.fields[TITLE]) for item in before]
    beside = zip_longest(titles, marks, rows, fillvalue="")
    lines = [f"| {title} | {mark} {row or '| | | |'}" for title, mark, row in beside]
    return [f"| before | | {heading[2:]}", f"| --- | --- {rule}", *lines]


@for_the_ui
def report_verdict(generation_id: str, verdict: "Verdict", force: bool) -> None:
    """Show what the gate found."""
    outcome = "passed" if verdict.passed else "published against the gate" if force else "refused"
    rows = [
        f"| {'passed' if passed else '**refused**'} | {one.name} | {one.figure or ''} | {one.limit or ''} | {said} |"
        for (one, passed), said in zip(verdict.checks, verdict.findings, strict=True)
    ]
    heading = ["| verdict | check | figure | limit | finding |", "| --- | --- | ---: | --- | --- |"]
    lines = [f"Generation {generation_id}: **{outcome}**.", "", *heading, *rows]
    show_markdown("\n".join(lines), key="gate", description=f"The gate on {generation_id}: {outcome}.")


@for_the_ui
def report_bento(generation_id: str, tag: str) -> None:
    """Show which Bento carries a generation, and what to do with it."""
    lines = [f"Bento `{tag}` carries generation {generation_id}.", "", f"    bentoml serve {tag}"]
    lines += [f"    bentoml containerize {tag}", f"    bentoml export {tag} recsys.bento"]
    show_markdown("\n".join(lines), key="bento", description=f"The Bento of {generation_id}: {tag}.")


def _inline(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


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
