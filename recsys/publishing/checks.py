"""What the gate looks at: held-out figures, the data behind them, what is bound, and how it answers.

The figures were written when the generation was bound. How it answers is seen by letting it answer, beside the one that
is served: both lists take turns on the same histories, so that what else the machine does slows both.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError
from recsys.config import GateConfig
from recsys.data.columns import ITEM_ID, USER_ID
from recsys.data.snapshot import open_snapshot
from recsys.evaluation.report import FROZEN, HEADLINE, OURS
from recsys.home import Home
from recsys.publishing.binding import BASE, CHOSEN, QUERY, SEARCHED, SLICE, TAUGHT
from recsys.publishing.comparison import MANY, Incomparable, compared
from recsys.publishing.gate import (
    DEFAULT,
    Check,
    Rehearsal,
    Verdict,
    judge,
    judge_again,
    judge_beside_served,
    judge_bound,
    judge_parts,
    judge_rehearsal,
    judge_search,
    judge_size,
    verdict_of,
)
from recsys.publishing.held_out import HeldOut, protocol_of, read_table
from recsys.publishing.measured import Measured
from recsys.ranking.parts import Parts
from recsys.ranking.system import CONTENT, EASE, KNN, LEXICAL, POPULARITY, RULES, TOWERS
from recsys.ranking.text_maps import MAPS
from recsys.serving.history import History
from recsys.serving.recommender import Recommender
from recsys.store.adapters import read_card
from recsys.store.generations import read_generation
from recsys.store.manifests import GOING_ON, GOING_ON_SETTINGS

REHEARSED = 100  # histories that a generation answers before it is served
ROUNDS = 3  # times that each is answered; the quickest counts
RECALL_AT = LISTED = 10
MOST_ITEMS = 5_000  # of a catalogue for which EASE is fitted again only to see the same figures
COLUMNS = {TOWERS: f"{OURS}.{TOWERS}", CONTENT: "bert-whitened"} | {name: name for name in (RULES, KNN, EASE, LEXICAL)}
SAME_FIGURE = 1e-9  # a mean is added up in another order
Figures = NDArray[np.float64]
Load = Callable[[str], Recommender]


def judged(home: Home, generation_id: str, served_id: str | None, load: Load, limits: GateConfig = DEFAULT) -> Verdict:
    """Judge whether a generation may be served, by everything that the gate looks at.

    Args:
        home: where state lives.
        generation_id: the candidate.
        served_id: what is served; None: nothing is.
        load: opens a generation by id, without live items, so that both are measured alike.
        limits: see ``GateConfig``.

    Raises:
        ArtifactError: the candidate is missing, or is not what was bound.
    """
    candidate, adapter = load(generation_id), check_adapter(home, generation_id)
    verdict = check_gate(home, generation_id, served_id, limits)
    verdict += check_size(home, generation_id, served_id, limits)
    verdict += check_search(home, generation_id, served_id, limits)
    verdict += adapter
    if adapter.passed:  # by another's towers nothing can be put together
        verdict += check_measured(home, generation_id, limits)
    verdict += check_bound(home, candidate, limits)
    return verdict + check_answers(home, candidate, served_id, load, limits)


def check_gate(home: Home, generation_id: str, served_id: str | None, limits: GateConfig = DEFAULT) -> Verdict:
    """Judge a generation by its own held-out targets, and beside what is served by those that neither has learnt from.

    Where the two cannot be compared it is refused: nobody knows which is better, and a person may overrule that. A
    served generation that is broken refuses nothing.

    Raises:
        ArtifactError: there is no such generation.
    """
    folder, manifest = read_generation(home, generation_id)
    table, seed = read_table(home, generation_id), manifest.config.seed
    own = table[OURS].to_numpy()
    verdict = judge(own, table[POPULARITY].to_numpy(), seed)
    if served_id in (None, generation_id):
        verdict += Verdict(True, ("No other generation is served that it could be compared with.",))
    else:
        both = compared(home, generation_id, str(served_id), limits)
        if isinstance(both, Incomparable):
            said = f"Not comparable with what is served. {both.reason}"
            verdict += verdict_of(both.broken, said, Check("beside what is served"))
        else:
            verdict += judge_beside_served(both.candidate, both.served, both.slices, both.asked, limits, seed)
    verdict += judge_parts(own, *_beside(table), limits, seed)
    made_of = Parts.read(folder)
    if made_of is not None and not made_of.adapter_share:
        verdict += Verdict(True, (made_of.adapter_part,))
    return verdict


def _beside(held_out: pl.DataFrame) -> tuple[dict[str, Figures], dict[str, tuple[Figures, Figures]]]:
    """Return what was measured beside a candidate: systems without its towers, and pairs by adapted and frozen text."""
    no_system = (OURS, POPULARITY, USER_ID, ITEM_ID)
    names = [name for name in held_out.columns if name not in no_system and not name.startswith((f"{OURS}.", SLICE))]
    pairs = {
        adapted.removeprefix(f"{OURS}."): (held_out[adapted].to_numpy(), held_out[base].to_numpy())
        for adapted, base in FROZEN.items()
        if {adapted, base} <= set(held_out.columns)
    }
    return {name: held_out[name].to_numpy() for name in names}, pairs


def check_size(home: Home, generation_id: str, served_id: str | None, limits: GateConfig = DEFAULT) -> Verdict:
    """Judge whether a generation's snapshot has shrunk beside the served one's; one that is gone refuses nothing.

    Raises:
        ArtifactError: the candidate or its snapshot is missing.
    """
    if served_id in (None, generation_id):
        return Verdict(True, ())
    own = _counts(home, generation_id)
    try:
        served = _counts(home, str(served_id))
    except ArtifactError as error:
        return Verdict(True, (f"How large the served generation's snapshot was is not known: {error}",))
    return judge_size(own, served, limits)


def _counts(home: Home, generation_id: str) -> dict[str, int]:
    _, manifest = read_generation(home, generation_id)
    return asdict(open_snapshot(home, manifest.snapshot, verify=False).manifest.counts)


def check_search(home: Home, generation_id: str, served_id: str | None, limits: GateConfig = DEFAULT) -> Verdict:
    """Judge what a generation's search has learnt from pairs, against the served one where both held out the same.

    Raises:
        ArtifactError: there is no such generation.
    """
    path = read_generation(home, generation_id)[0] / SEARCHED
    before = None if served_id in (None, generation_id) else home.generations / str(served_id) / SEARCHED
    if not path.is_file():
        if before is None or not before.is_file():
            return Verdict(True, ())
        return Verdict(True, ("The served generation's search has learnt from pairs, this one's not: `recsys teach`.",))
    own, served = pl.read_parquet(path, glob=False), None
    if before is not None and before.is_file():
        other = pl.read_parquet(before, glob=False)
        if other.select(QUERY, CHOSEN).equals(own.select(QUERY, CHOSEN)):
            served = other[TAUGHT].to_numpy()
    return judge_search(own[TAUGHT].to_numpy(), own[BASE].to_numpy(), served, limits)


def check_measured(home: Home, generation_id: str, limits: GateConfig = DEFAULT) -> Verdict:
    """Judge whether a generation's figures come again when it is put together as it was measured.

    Not asked of an older generation, whose adapter has no towers with it, nor where EASE would take minutes to fit.

    Raises:
        ArtifactError: the generation or its snapshot is missing or changed.
    """
    _, manifest = read_generation(home, generation_id)
    slow = manifest.index.rows > MOST_ITEMS and f"{EASE}.safetensors" in manifest.files
    if slow or not (home.adapters / manifest.adapter / GOING_ON / GOING_ON_SETTINGS).is_file():
        return Verdict(True, ())
    again = Measured.of(home, generation_id)
    asked = again.own.some(MANY)
    if not len(asked):
        said = "Its held-out figures are of no target of its snapshot. Train again."
        return verdict_of(False, said, Check("held-out figures"))
    if len(asked) < limits.min_targets:
        return Verdict(True, ())
    figures = asked.answered_by(again.system, again.system.weighing)
    return judge_again(figures, asked.figures[OURS].to_numpy(), limits, manifest.config.seed)


def check_bound(home: Home, candidate: Recommender, limits: GateConfig = DEFAULT) -> Verdict:
    """Judge whether a loaded generation is what was measured, whole and by component, by its held-out targets.

    It has been fitted on these as well since. So its figures are no measure of its worth, but a generation that does
    worse than before has other weights, vectors or settings than those that were measured.

    Raises:
        ArtifactError: its snapshot or the card of its adapter is missing or changed.
    """
    if protocol_of(home, candidate.generation_id) is None:
        return Verdict(True, ("Whether what is bound is what was measured cannot be told: nobody knows how it was.",))
    asked, system = HeldOut.of(home, candidate.generation_id).some(MANY), candidate.scoring.system
    seed, found = asked.config.seed, asked.figures
    if len(asked) < limits.min_targets:
        return judge_bound(np.zeros(len(asked)), found[OURS].to_numpy(), None, limits, seed)
    verdict = judge_bound(asked.answered_by(system, system.weighing), found[OURS].to_numpy(), None, limits, seed)
    for name, column in COLUMNS.items():
        if name in system.components and column in found.columns:
            figures = asked.answered_by(system.components[name], system.weighing)
            verdict += judge_bound(figures, found[column].to_numpy(), name, limits, seed)
    return verdict


def check_adapter(home: Home, generation_id: str) -> Verdict:
    """Judge whether a generation's adapter is the one of its vectors and figures: another's would read new items.

    Raises:
        ArtifactError: the generation or the card of its adapter is missing or changed.
    """
    _, manifest = read_generation(home, generation_id)
    card = read_card(home, manifest.adapter)
    said, own = card.metrics.get(OURS, {}).get(HEADLINE), read_table(home, generation_id)[OURS].to_numpy().mean()
    maps = {manifest.files.get(MAPS), card.files.get(f"{GOING_ON}/{MAPS}")}
    if len(maps) == 1 and said is not None and abs(said - own) < SAME_FIGURE:
        return Verdict(True, ())
    finding, check = f"Adapter {card.id} is not that of its vectors: ", Check("adapter of the vectors", card.id)
    if len(maps) > 1:
        return verdict_of(False, f"{finding}it turns texts into other features. Train again.", check)
    told = "nothing" if said is None else f"{HEADLINE.upper()} {said:.4f}"
    finding += f"its card says {told}, the held-out figures say {own:.4f}. Train again."
    return verdict_of(False, finding, check)


def check_answers(
    home: Home, candidate: Recommender, served_id: str | None, load: Load, limits: GateConfig = DEFAULT
) -> Verdict:
    """Judge how a generation answers, beside the served one where that is another and whole.

    Args:
        home: where state lives.
        candidate: the loaded generation.
        served_id: what is served; None: nothing is.
        load: opens a generation by id.
        limits: see ``GateConfig``.
    """
    served: Recommender | None = None
    if served_id is not None and served_id != candidate.generation_id:
        with suppress(ArtifactError):  # what is broken must not stand in the way of what replaces it
            served = load(served_id)
    return judge_rehearsal(rehearse(candidate, served, sample_histories(home, candidate)), limits)


def rehearse(
    candidate: Recommender,
    served: Recommender | None,
    histories: Sequence[Sequence[str]],
    clock: Callable[[], float] = time.perf_counter,
) -> Rehearsal:
    """Let a generation answer some histories before it is served, in turns with the one that is.

    Args:
        candidate: the loaded generation.
        served: what is served, or None.
        histories: item ids, oldest first.
        clock: seconds.
    """
    answering = [candidate] + ([] if served is None else [served])
    seconds = np.full((len(answering), ROUNDS, len(histories)), np.inf)
    listed: list[set[str]] = [set() for _ in answering]
    for place in range(ROUNDS):
        for number, history in enumerate(histories):
            for who, recommender in enumerate(answering):
                started = clock()
                answer = recommender.recommend(history, k=LISTED)
                seconds[who, place, number] = clock() - started
                listed[who].update(item.item_id for item in answer.items)
    quickest = seconds.min(axis=1) * 1_000
    recall = candidate.index_recall(histories, RECALL_AT)
    own, *others = map(len, listed)
    return Rehearsal(recall, quickest[0], None if served is None else quickest[1], own, others[0] if others else None)


def sample_histories(home: Home, recommender: Recommender) -> list[History]:
    """Return the histories of up to ``REHEARSED`` people of a generation's snapshot, evenly spread over all of them."""
    users = open_snapshot(home, recommender.snapshot_id, verify=False).user_ids()
    count = min(REHEARSED, len(users))
    return [recommender.past(users[place * len(users) // count]) for place in range(count)]
