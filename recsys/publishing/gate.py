"""The gate: whether a trained generation may replace the one that is served.

A candidate must beat popularity beyond doubt and must not be worse than the served generation where both were asked the
same targets, neither in all nor for head, tail, warm or cold items alone. Nor may it be worse, beyond doubt, than the
best of the systems that were measured beside it, the blend of its own parts among them. Differences are means over
users with paired bootstrap intervals. Its index must find what an exact search finds, and it must not answer much
slower than what is served.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.bootstrap import paired_bootstrap

TOLERANCE = 0.01  # relative loss of NDCG@10 that counts as noise even where the interval is narrow
SLICE_TOLERANCE = 0.1  # likewise within a slice: what one gains another may lose a little
MIN_SLICE = 50  # targets below which a slice, or a comparison with what stands beside, says nothing
MIN_RECALL = 0.95  # of the index at 10, against an exact search
SLOWER = 2.0  # times the served generation's 95th percentile that an answer may take
SLOWER_MILLISECONDS = 5.0  # and so much above it: twice of almost nothing is nothing
BLEND = "blend"  # of all simple components of a candidate and the baselines beside it
SLOW_SHARE = 95  # percentile of the answers' times


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate passes, and why, one sentence a check."""

    passed: bool
    findings: tuple[str, ...]

    def __add__(self, other: "Verdict") -> "Verdict":
        """Return the verdict that passes where both do, with the findings of both."""
        return Verdict(self.passed and other.passed, self.findings + other.findings)


@dataclass(frozen=True)
class Rehearsal:
    """How a generation answered before it was served.

    Attributes:
        recall: share of the best items by vectors that its index finds.
        milliseconds: (histories,) of its answers.
        served: (histories,) of the served generation's answers to the same, or None.
    """

    recall: float
    milliseconds: NDArray[np.float64]
    served: NDArray[np.float64] | None


def judge(
    candidate: NDArray[np.float64],
    popularity: NDArray[np.float64],
    served: NDArray[np.float64] | None,
    slices: Mapping[str, NDArray[np.bool_]] | None = None,
    seed: int = 0,
) -> Verdict:
    """Judge a candidate by NDCG@10 of each test target.

    Args:
        candidate: (targets,) of the candidate.
        popularity: (targets,) of the popularity baseline on the same targets.
        served: (targets,) of the served generation on the same targets; None where there is none to compare.
        slices: (targets,) which targets belong to each slice, by name; those of few targets are not judged.
        seed: of the bootstrap.
    """
    findings, passed = [], True
    gain = paired_bootstrap(candidate, popularity, seed=seed)
    if gain.low <= 0:
        passed = False
        findings.append(
            f"NDCG@10 {candidate.mean():.4f} is not beyond doubt above popularity's {popularity.mean():.4f} "
            f"(95 % interval of the difference {gain.low:+.4f} to {gain.high:+.4f})."
        )
    else:
        findings.append(f"NDCG@10 {candidate.mean():.4f} beats popularity's {popularity.mean():.4f}.")
    if served is None:
        findings.append("No served generation was asked the same targets.")
        return Verdict(passed, tuple(findings))
    change = paired_bootstrap(candidate, served, seed=seed)
    if change.high < 0 and change.mean_difference < -TOLERANCE * served.mean():
        passed = False
        findings.append(
            f"NDCG@10 {candidate.mean():.4f} is below the served generation's {served.mean():.4f} "
            f"(95 % interval of the difference {change.low:+.4f} to {change.high:+.4f})."
        )
    else:
        findings.append(f"NDCG@10 {candidate.mean():.4f} is no worse than the served generation's {served.mean():.4f}.")
    for name, chosen in (slices or {}).items():
        if chosen.sum() < MIN_SLICE:
            continue
        part, before = candidate[chosen], served[chosen]
        change = paired_bootstrap(part, before, seed=seed)
        if change.high < 0 and change.mean_difference < -SLICE_TOLERANCE * before.mean():
            passed = False
            findings.append(
                f"On {name.replace('_', ' ')} ({chosen.sum():,} targets) NDCG@10 {part.mean():.4f} is below the served "
                f"generation's {before.mean():.4f} (95 % interval of the difference {change.low:+.4f} to "
                f"{change.high:+.4f})."
            )
    return Verdict(passed, tuple(findings))


def judge_parts(
    candidate: NDArray[np.float64],
    simpler: Mapping[str, NDArray[np.float64]],
    frozen: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    seed: int = 0,
) -> Verdict:
    """Judge a candidate beside what it could have been without its towers, and say where its adapter does harm.

    Args:
        candidate: (targets,) NDCG@10 of the candidate.
        simpler: (targets,) of the systems that were measured beside it, by name.
        frozen: (targets,) of what reads the adapter's text and of the same over the base's alone, by name; where the
            adapter's is worse it is said, and passes: the candidate as a whole may make up for it.
        seed: of the bootstrap.
    """
    verdict = Verdict(True, ())
    if simpler:
        name = max(simpler, key=lambda name: (simpler[name].mean(), name))
        best = simpler[name]
        change = paired_bootstrap(candidate, best, seed=seed)
        what = f"NDCG@10 {candidate.mean():.4f} {{}} {_called(name)}, {best.mean():.4f}"
        interval = f"95 % interval of the difference {change.low:+.4f} to {change.high:+.4f}"
        if change.mean_difference >= 0:
            verdict += Verdict(True, (f"{what.format('is no lower than that of')}.",))
        elif change.high >= 0:
            verdict += Verdict(True, (f"{what.format('is below that of')}, though not beyond doubt ({interval}).",))
        elif change.mean_difference >= -TOLERANCE * best.mean():
            verdict += Verdict(True, (f"{what.format('is below that of')}, though by less than 1 % ({interval}).",))
        elif len(candidate) < MIN_SLICE:
            verdict += Verdict(True, (f"{what.format('is below that of')}, though of few targets ({interval}).",))
        else:
            verdict += Verdict(False, (f"{what.format('is below that of')} ({interval}).",))
    for name, (adapted, base) in frozen.items():
        change = paired_bootstrap(adapted, base, seed=seed)
        if change.mean_difference < 0:
            sure = "beyond doubt" if change.high < 0 else "though not beyond doubt"
            finding = (
                f"By the adapter's text {name} has NDCG@10 {adapted.mean():.4f}, by the frozen base's "
                f"{base.mean():.4f}: that is worse, {sure} (95 % interval of the difference {change.low:+.4f} to "
                f"{change.high:+.4f})."
            )
            verdict += Verdict(True, (finding,))
    return verdict


def _called(name: str) -> str:
    return "the blend of its own parts and the baselines without the towers" if name == BLEND else f"{name} alone"


def judge_search(
    taught: NDArray[np.float64], base: NDArray[np.float64], served: NDArray[np.float64] | None, seed: int = 0
) -> Verdict:
    """Judge a search that has learnt from pairs by the reciprocal rank of each held-out query.

    Args:
        taught: (queries,) of the candidate.
        base: (queries,) of its base.
        served: (queries,) of the served generation on the same queries; None where there is none to compare.
        seed: of the bootstrap.
    """
    finding = f"Of {len(taught):,} held-out queries the search's MRR@10 is {taught.mean():.4f}, its base's "
    finding += f"{base.mean():.4f}"
    against, name = (base, "its base's") if served is None else (served, "the served generation's")
    change = paired_bootstrap(taught, against, seed=seed)
    if change.high < 0 and change.mean_difference < -TOLERANCE * against.mean():
        return Verdict(False, (f"{finding}; that is beyond doubt below {name} {against.mean():.4f}.",))
    return Verdict(True, (f"{finding}.",))


def judge_rehearsal(rehearsal: Rehearsal) -> Verdict:
    """Judge how a generation answers: by the recall of its index, and by its time beside the served one."""
    found = rehearsal.recall >= MIN_RECALL
    finding = f"The index finds {rehearsal.recall:.3f} of the nearest items"
    verdict = Verdict(found, (f"{finding}." if found else f"{finding}, which is below {MIN_RECALL}.",))
    if len(rehearsal.milliseconds) == 0:
        return verdict
    own = float(np.percentile(rehearsal.milliseconds, SLOW_SHARE))
    if rehearsal.served is None:
        return verdict + Verdict(True, (f"95 % of its answers take at most {own:.1f} ms.",))
    before = float(np.percentile(rehearsal.served, SLOW_SHARE))
    quick = own <= max(SLOWER * before, before + SLOWER_MILLISECONDS)
    finding = f"95 % of its answers take at most {own:.1f} ms, the served generation's {before:.1f} ms"
    return verdict + Verdict(quick, (f"{finding}." if quick else f"{finding}: that is too slow.",))
