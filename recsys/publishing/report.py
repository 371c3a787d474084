"""The report of a training: one page of what was trained, how well it does and what it changes, from what is stored.

Written after every training below ``runs``, and again at any time without one; it is no part of the generation.
Nobody is named in it: what people did is shown, and who they are is not, since a page outlives whoever is forgotten.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.artifacts import ArtifactError, read_json, write_atomic
from recsys.data.columns import TITLE
from recsys.evaluation import charts, page
from recsys.evaluation.bootstrap import bootstrap_mean
from recsys.evaluation.charts import Bar, escaped, quoted
from recsys.evaluation.curves import curves
from recsys.evaluation.report import METRICS_FILE, OURS
from recsys.home import Home
from recsys.publishing.binding import SLICE, read_held_out
from recsys.publishing.checks import check_gate
from recsys.ranking.blend import Blend
from recsys.ranking.parts import ADAPTED, COMPONENTS
from recsys.ranking.scoring import Scoring
from recsys.ranking.system import POPULARITY
from recsys.serving.answers import Answer, ListRequest
from recsys.serving.recommender import Recommender
from recsys.store.generations import current_id, read_generation, report_path, when_made
from recsys.store.manifests import GenerationManifest
from recsys.store.names import ADAPTER, GENERATION, read_names

SHOWN_PEOPLE, SHOWN_ITEMS, SHOWN_HISTORY = 4, 8, 5
COUNTED_PEOPLE = 60  # whose lists are counted in the histograms
SLICED = (OURS, "blend", POPULARITY)  # systems that are shown by slice


@dataclass(frozen=True)
class _Made:
    """A generation with what its report stands on."""

    home: Home
    folder: Path
    manifest: GenerationManifest
    document: Mapping[str, Any]
    recommender: Recommender


def write_report(home: Home, generation_id: str) -> Path:
    """Write a generation's report from what is stored; return its path.

    Raises:
        ArtifactError: the generation is missing or broken.
    """
    path = report_path(home.make(), generation_id)
    write_atomic(path, report(home, generation_id).encode())
    return path


def report(home: Home, generation_id: str) -> str:
    """Return a generation's report as one HTML file.

    Raises:
        ArtifactError: the generation is missing or broken.
    """
    folder, manifest = read_generation(home, generation_id)
    document = {"data": {}, "protocols": {}, "settings": {}, "environment": {}} | read_json(folder / METRICS_FILE)
    made = _Made(home, folder, manifest, document, Recommender.open(home, generation_id))
    title = f"Training: {read_names(home, GENERATION).label(generation_id)}"
    told = [*_head(made), *page.verdicts(document), *_gate(made), *_made_of(made), *_slices(made), *_learning(made)]
    told += [*_lists(made), *_times(manifest), *page.measured(document), *page.settings(document)]
    return charts.whole_page(title, told)


def _head(made: _Made) -> list[str]:
    manifest, names = made.manifest, read_names(made.home, GENERATION).of(made.manifest.id)
    adapters = read_names(made.home, ADAPTER)
    adapter = f"<p>Adapter {quoted(adapters.label(manifest.adapter))}, snapshot {quoted(manifest.snapshot)}, "
    parts = [f"{adapter}made {when_made(made.home, manifest):%Y-%m-%d %H:%M} UTC.</p>"]
    data = ", ".join(f"{value:,} {name}" for name, value in made.document["data"].items() if isinstance(value, int))
    parts.append(f'<p class="note">{escaped(data)}.</p>')
    if names["tags"]:
        parts.append(f"<p>Tags: {', '.join(map(quoted, names['tags']))}</p>")
    return [*parts, *(f"<p>{quoted(line)}</p>" for line in (names["note"] or "").splitlines() if line.strip())]


def _gate(made: _Made) -> list[str]:
    """Return what the gate says of the held-out figures, beside what is served now."""
    verdict = check_gate(made.home, made.manifest.id, current_id(made.home))
    findings = "".join(f"<li>{escaped(finding)}</li>" for finding in verdict.findings)
    said = "lets it pass by these figures" if verdict.passed else "refuses it"
    return [f"<p>The gate {said}:</p><ul>{findings}</ul>"]


def _made_of(made: _Made) -> list[str]:
    """Return what the lists are made of: the weights that were chosen, and what each adds to the scores of lists."""
    parts = made.recommender.scoring.system.parts
    rows = [
        Bar(name, share, f"{100 * share:.0f} %", None, "ours" if name == ADAPTED else "", COMPONENTS.get(name, ""))
        for name, share in parts.shares.items()
    ]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in parts.weights.items())
    return [
        "<h2>What the lists are made of</h2>",
        f"<p>{escaped(parts.adapter_part)}</p>",
        charts.bars(rows),
        f"<p class=\"note\">Shares of the blend's weight; each component's scores are put on one scale for each person "
        f"first. The weights: {escaped(weights)}.</p>",
    ]


def _slices(made: _Made) -> list[str]:
    """Return NDCG@10 by slice with intervals, and where the held-out items stood, from the gate's targets."""
    held_out, config = read_held_out(made.folder), made.manifest.config
    systems = [name for name in SLICED if name in held_out.columns]
    parts = [f"<h2>Slices of the {len(held_out):,} held-out items</h2>", '<div class="pair">']
    for column in (name for name in held_out.columns if name.startswith(SLICE)):
        chosen = held_out.filter(pl.col(column))
        name = column.removeprefix(SLICE).replace("_", " ")
        parts.append(f"<div><h3>{escaped(name)}: {len(chosen):,}</h3>")
        rows = []
        for system in systems if len(chosen) else ():
            mean = bootstrap_mean(chosen[system].to_numpy(), config.evaluation.bootstrap_samples, config.seed)
            value = float(chosen[system].to_numpy().mean())
            rows.append(Bar(system, value, f"{value:.4f}", (mean.low, mean.high), page.kind_of(system)))
        parts += [charts.bars(rows) if rows else '<p class="note">There are none.</p>', "</div>"]
    places = {name: _places(held_out[name].to_numpy()) for name in systems}
    parts.append("</div>")
    parts.append(charts.columns("Held-out items by their place in the list of 10", places, "place 1", "place 10"))
    share = ", ".join(f"{name} {100 * counts.sum() / max(1, len(held_out)):.0f} %" for name, counts in places.items())
    return [*parts, f'<p class="note">Found among the first ten: {escaped(share)}.</p>']


def _places(figures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return how many held-out items stood at each place from 1 to 10, which NDCG@10 of one item tells."""
    found = figures[figures > 0]
    return np.bincount(np.rint(2 ** (1 / found) - 1).astype(int), minlength=11)[1:11]


def _learning(made: _Made) -> list[str]:
    """Return how loss and validation went."""
    learning = dict(made.document.get("learning", {}))
    system = json.loads((made.folder / "system.json").read_text())
    learning.setdefault("towers", system.get("chosen", {}).get("tower_history", []))
    learning.setdefault("ids", system.get("chosen", {}).get("id_tower_history", []))
    drawn = [charts.curve(one.caption, one.points, one.x) for one in curves(learning)]
    return ["<h2>How it learnt</h2>", f'<div class="pair">{"".join(drawn)}</div>']


def _lists(made: _Made) -> list[str]:
    """Return what is offered, how its scores lie, and a few people's lists before and after."""
    recommender = made.recommender
    people = [user for user in _spread(list(recommender.users.rows), COUNTED_PEOPLE) if recommender.history(user)]
    histories = [recommender.past(user) for user in people]
    answers = recommender.recommend_many(histories, ListRequest(k=10, explain=True))
    items = [item for answer in answers for item in answer.items]
    named, before = _before(made)
    scores = charts.histogram(f"Scores of the ten best items of {len(people)} people", [item.score for item in items])
    parts = ["<h2>What is offered</h2>", scores]
    sums: dict[str, float] = {}
    for item in items:
        for one in item.explanation.components if item.explanation else ():
            sums[one.name] = sums.get(one.name, 0.0) + one.score
    whole = sum(max(0.0, value) for value in sums.values()) or 1.0
    rows = [
        Bar(name, value / whole, f"{100 * value / whole:.0f} %", None, "ours" if name == ADAPTED else "")
        for name, value in sorted(sums.items(), key=lambda pair: -pair[1])
        if value > 0
    ]
    parts += [f"<h3>What the scores of {len(items):,} offered items come from</h3>", charts.bars(rows)]
    heading = f"Lists of this generation beside {named}" if before else "Lists"
    parts.append(f"<h2>{escaped(heading)}</h2>")
    if before is None:
        parts.append(f"<p>{escaped(named)}</p>")
    else:
        others = before.recommend_many(histories, ListRequest(k=10))
        share = np.mean([_shared(answer, other) for answer, other in zip(answers, others, strict=True)] or [0.0])
        parts.append(f"<p>Of the ten best items of {len(people)} people {100 * share:.0f} % are in both lists.</p>")
    for number, user in enumerate(_spread(people, SHOWN_PEOPLE), start=1):
        parts += _person(made, number, recommender.past(user), named, before)
    return parts


def _shared(answer: Answer, other: Answer) -> float:
    """Return the share of a list's items that another holds, too."""
    found = {item.item_id for item in other.items}
    return sum(item.item_id in found for item in answer.items) / max(1, len(answer.items))


def _person(made: _Made, number: int, history: Sequence[str], named: str, before: Recommender | None) -> list[str]:
    catalogue = made.recommender.catalogue
    titles = [catalogue.titles[catalogue.row(item_id)] for item_id in history[-SHOWN_HISTORY:]]
    last = ", ".join(map(quoted, titles))
    answer = made.recommender.recommend(history, k=SHOWN_ITEMS, explain=True)
    marks, lists = dict.fromkeys((item.item_id for item in answer.items), ""), []
    if before is not None:
        others = before.recommend(history, k=SHOWN_ITEMS).items
        places = {item.item_id: place for place, item in enumerate(others, 1)}
        marks = {item_id: f"was {places[item_id]}" if item_id in places else charts.NEW for item_id in marks}
        gone = [(str(item.fields[TITLE]), "" if item.item_id in marks else "gone", "") for item in others]
        lists.append(charts.ranked(f"{named[0].upper()}{named[1:]}", gone))
    rows = [(str(item.fields[TITLE]), marks[item.item_id], "; ".join(item.reasons)) for item in answer.items]
    shown = "".join([charts.ranked("This generation", rows), *lists])
    return [
        f"<h3>Person {number}, {len(history):,} events</h3>",
        f"<p>Last: {last}</p>",
        f'<div class="pair">{shown}</div>',
    ]


def _before(made: _Made) -> tuple[str, Recommender | None]:
    """Return what a generation's lists are compared with, and its name: what is served, or it without its towers."""
    served = current_id(made.home)
    if served not in (None, made.manifest.id):
        with suppress(ArtifactError):
            return f"the served generation {served}", Recommender.open(made.home, served)
    scoring = made.recommender.scoring
    blend = scoring.system.blend
    weights = {name: weight for name, weight in blend.weights.items() if name != ADAPTED}
    if len(weights) == len(blend.weights):
        return scoring.system.parts.adapter_part, None
    if not weights:
        return "All of it hangs on the adapter's text: there is no list without it.", None
    system = replace(scoring.system, blend=Blend(weights, {name: blend.powers[name] for name in weights}))
    without = replace(made.recommender, scoring=Scoring(system, scoring.source))
    return "the same without its towers, which read the adapter's text", without


def _times(manifest: GenerationManifest) -> list[str]:
    """Return how long the stages took, as the manifest says it."""
    notes, parts = manifest.notes, ["<h2>How long it took</h2>"]
    for caption, key in (("Seconds by the clock", "stage_seconds"), ("Seconds of a processor", "cpu_seconds")):
        seconds = notes.get(key)
        if isinstance(seconds, dict) and seconds:
            rows = [Bar(str(name), float(value), f"{value:,.1f} s") for name, value in seconds.items()]
            parts += [f"<h3>{caption}</h3>", charts.bars(rows)]
    if "seconds" in notes:
        parts.append(f"<p>In all {notes['seconds']:,} seconds, the binding aside.</p>")
    return parts if len(parts) > 1 else []


def _spread(people: Sequence[str], count: int) -> list[str]:
    """Return a few of some people, evenly spread over all of them, always the same."""
    count = min(count, len(people))
    return [people[place * len(people) // count] for place in range(count)]
