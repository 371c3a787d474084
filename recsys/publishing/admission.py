"""Whether a generation may be served, and the switch: the gate on its held-out figures and on how it answers.

The figures were written when it was bound. How it answers is seen by letting it answer, beside the one that is served:
both lists take turns on the same histories, so that what else the machine does slows both.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from types import EllipsisType

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError
from recsys.data.columns import ITEM_ID, USER_ID
from recsys.data.snapshot import open_snapshot
from recsys.evaluation.report import FROZEN, OURS
from recsys.home import Home
from recsys.publishing.binding import BASE, CHOSEN, QUERY, SEARCHED, SLICE, TAUGHT, read_held_out
from recsys.publishing.gate import Rehearsal, Verdict, judge, judge_parts, judge_rehearsal, judge_search
from recsys.publishing.verification import refusing, verify_answers, verify_stored
from recsys.ranking.parts import Parts
from recsys.ranking.system import POPULARITY
from recsys.serving.history import History
from recsys.serving.recommender import Recommender
from recsys.store.generations import ConflictError, current_id, promote, read_generation
from recsys.store.index import keep_version
from recsys.store.pointer import refuse
from recsys.store.promotions import Action, Cause, Promotion

REHEARSED = 100  # histories that a generation answers before it is served
ROUNDS = 3  # times that each is answered; the quickest counts
RECALL_AT = 10
Figures = NDArray[np.float64]


def publish(
    home: Home,
    generation_id: str,
    *,
    force: bool = False,
    load: Callable[[str], Recommender] | None = None,
    expected: str | EllipsisType | None = ...,
    cause: Cause | None = None,
) -> Verdict:
    """Verify a generation, judge it, and switch the pointer to it if the gate lets it pass, or with ``force``.

    Every check is made with ``force`` too, and the log of promotions keeps what was said. The pointer moves only from
    the generation that this one was judged against: of two that publish at the same time the later one is told.

    Args:
        home: where state lives.
        generation_id: what shall be served.
        force: serve it whatever the gate says; what is broken is not served even so.
        load: opens a generation by id, without live items, so that both are measured alike; None: from its files.
        expected: what must be served now, None for nothing; an ellipsis: whatever is.
        cause: who publishes, and why, which ``force`` takes; None: whoever runs this.

    Raises:
        ArtifactError: the generation is missing or broken; the pointer stays, and the log says why.
        ConflictError: another generation is served than was expected or judged against; the pointer stays.
        SettingError: ``force`` has no reason.
    """
    cause = cause or Cause()
    cause.check(force)
    served = current_id(home)
    if expected is not ... and served != expected:
        raise ConflictError(f"Generation {served} is served, not {expected}. Look again before you publish.")
    opened = cache(load or partial(Recommender.open, home))
    with refusing(home, generation_id, served, cause, force):
        manifest = verify_stored(home, generation_id)
        verify_answers(home, opened(generation_id))
    verdict = check_gate(home, generation_id, served) + check_search(home, generation_id, served)
    verdict += check_answers(home, generation_id, served, opened)
    action: Action = "publish" if verdict.passed or force else "refused"
    decided = Promotion.make(
        action, generation_id, served, cause, forced=force, passed=verdict.passed, findings=verdict.findings
    )
    if action == "refused":
        refuse(home, decided)
    else:
        keep_version(home.lance, manifest.index, generation_id)
        promote(home, generation_id, served, decided)
    return verdict


def check_gate(home: Home, generation_id: str, served_id: str | None) -> Verdict:
    """Judge a generation by its own held-out targets, and against the served one where the targets are the same.

    Raises:
        ArtifactError: there is no such generation.
    """
    folder, manifest = read_generation(home, generation_id)
    candidate = read_held_out(folder)
    served: NDArray[np.float64] | None = None
    if served_id is not None and served_id != generation_id:
        served_folder, _ = read_generation(home, served_id)
        other = read_held_out(served_folder)
        if other.select(USER_ID, ITEM_ID).equals(candidate.select(USER_ID, ITEM_ID)):
            served = other[OURS].to_numpy()
    parts = {
        name.removeprefix(SLICE): candidate[name].to_numpy() for name in candidate.columns if name.startswith(SLICE)
    }
    own, seed = candidate[OURS].to_numpy(), manifest.config.seed
    verdict = judge(own, candidate[POPULARITY].to_numpy(), served, parts, seed)
    verdict += judge_parts(own, *_beside(candidate), seed)
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


def check_search(home: Home, generation_id: str, served_id: str | None) -> Verdict:
    """Judge what a generation's search has learnt from pairs, against the served one where both held out the same.

    Raises:
        ArtifactError: there is no such generation.
    """
    path = read_generation(home, generation_id)[0] / SEARCHED
    before = None if served_id in (None, generation_id) else read_generation(home, str(served_id))[0] / SEARCHED
    if not path.is_file():
        if before is None or not before.is_file():
            return Verdict(True, ())
        return Verdict(True, ("The served generation's search has learnt from pairs, this one's not: `recsys teach`.",))
    own, served = pl.read_parquet(path, glob=False), None
    if before is not None and before.is_file():
        other = pl.read_parquet(before, glob=False)
        if other.select(QUERY, CHOSEN).equals(own.select(QUERY, CHOSEN)):
            served = other[TAUGHT].to_numpy()
    return judge_search(own[TAUGHT].to_numpy(), own[BASE].to_numpy(), served)


def check_answers(home: Home, generation_id: str, served_id: str | None, load: Callable[[str], Recommender]) -> Verdict:
    """Judge how a generation answers, beside the served one where that is another and whole.

    Args:
        home: where state lives.
        generation_id: the candidate.
        served_id: what is served; None: nothing is.
        load: opens a generation by id.

    Raises:
        ArtifactError: the candidate cannot be opened.
    """
    candidate = load(generation_id)
    served: Recommender | None = None
    if served_id is not None and served_id != generation_id:
        with suppress(ArtifactError):  # what is broken must not stand in the way of what replaces it
            served = load(served_id)
    return judge_rehearsal(rehearse(candidate, served, sample_histories(home, candidate)))


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
    for place in range(ROUNDS):
        for number, history in enumerate(histories):
            for who, recommender in enumerate(answering):
                started = clock()
                recommender.recommend(history)
                seconds[who, place, number] = clock() - started
    quickest = seconds.min(axis=1) * 1_000
    recall = candidate.index_recall(histories, RECALL_AT)
    return Rehearsal(recall, quickest[0], None if served is None else quickest[1])


def sample_histories(home: Home, recommender: Recommender) -> list[History]:
    """Return the histories of up to ``REHEARSED`` people of a generation's snapshot, evenly spread over all of them."""
    users = open_snapshot(home, recommender.snapshot_id, verify=False).user_ids()
    count = min(REHEARSED, len(users))
    return [recommender.past(users[place * len(users) // count]) for place in range(count)]
