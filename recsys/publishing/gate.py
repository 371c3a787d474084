"""The gate: whether a trained generation may replace the one that is served.

A candidate must beat popularity beyond doubt and must not be worse than the served generation on targets that neither
has learnt from, neither in all nor in a slice of them. Where there are too few of these, nobody knows, and it is
refused. Nor may it be worse, beyond doubt, than the best of the systems that were measured beside it, or so much better
than what is served that it has probably seen the answers. What is bound must be what was measured, of data that have
not shrunk. Differences are means over users with paired bootstrap intervals. Its index must find what an exact search
finds, its lists must not narrow to a few items, and it must not answer much slower than what is served.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.config import GateConfig
from recsys.evaluation.bootstrap import Interval, paired_bootstrap

BLEND = "blend"  # of all simple components of a candidate and the baselines beside it
SLOW_SHARE = 95  # percentile of the answers' times
_TIME = "time of 95 % of its answers"
DEFAULT = GateConfig()
Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One thing that the gate has looked at.

    Attributes:
        name: what.
        figure: of the candidate; None: it has none.
        limit: what the figure is held against; None: it is only told.
    """

    name: str
    figure: str | None = None
    limit: str | None = None


_REMARK = Check("remark")


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate passes, and why, one sentence a check.

    Attributes:
        passed: whether it does.
        findings: a sentence a check.
        checks: what each finding is of, and whether it passes.
    """

    passed: bool
    findings: tuple[str, ...]
    checks: tuple[tuple[Check, bool], ...] = ()

    def __post_init__(self) -> None:
        if len(self.checks) < len(self.findings):  # told without figures
            object.__setattr__(self, "checks", ((_REMARK, self.passed),) * len(self.findings))

    @property
    def objections(self) -> tuple[str, ...]:
        """The findings of the checks that it does not pass."""
        return tuple(said for said, (_, passed) in zip(self.findings, self.checks, strict=True) if not passed)

    def __add__(self, other: "Verdict") -> "Verdict":
        """Return the verdict that passes where both do, with the findings of both."""
        return Verdict(self.passed and other.passed, self.findings + other.findings, self.checks + other.checks)


@dataclass(frozen=True)
class Rehearsal:
    """How a generation answered before it was served.

    Attributes:
        recall: share of the best items by vectors that its index finds.
        milliseconds: (histories,) of its answers.
        served: (histories,) of the served generation's answers to the same, or None.
        listed: different items in all of its answers.
        listed_served: different items in all of the served generation's answers, or None.
    """

    recall: float
    milliseconds: Figures
    served: Figures | None
    listed: int = 0
    listed_served: int | None = None


def judge(candidate: Figures, popularity: Figures, seed: int = 0) -> Verdict:
    """Judge a candidate beside popularity.

    Args:
        candidate: (targets,) NDCG@10 of the candidate.
        popularity: (targets,) of the popularity baseline on the same targets.
        seed: of the bootstrap.
    """
    own, other = candidate.mean(), popularity.mean()
    gain = paired_bootstrap(candidate, popularity, seed=seed)
    check = Check("NDCG@10 beside popularity", f"{own:.4f}", f"above {other:.4f}, beyond doubt")
    if gain.low <= 0:
        return _refused(
            f"NDCG@10 {own:.4f} is not beyond doubt above popularity's {other:.4f} {_interval(gain)}.", check
        )
    return _passed(f"NDCG@10 {own:.4f} beats popularity's {other:.4f}.", check)


def judge_beside_served(
    candidate: Figures,
    served: Figures,
    slices: Mapping[str, NDArray[np.bool_]],
    asked: str,
    limits: GateConfig = DEFAULT,
    seed: int = 0,
) -> Verdict:
    """Judge a candidate beside what is served, on targets that neither has learnt from.

    Args:
        candidate: (targets,) NDCG@10 of the candidate.
        served: (targets,) of the served generation on the same targets.
        slices: (targets,) which targets belong to each slice, by name; those of few targets are not judged.
        asked: how it was found what the served generation answers, in words that follow "On".
        limits: see ``GateConfig``.
        seed: of the bootstrap.
    """
    own, before = candidate.mean(), served.mean()
    change = paired_bootstrap(candidate, served, seed=seed)
    beside = f"the served generation's {before:.4f}"
    least = max(limits.implausible_difference, limits.implausible_gain * before)
    check = Check(
        "NDCG@10 beside what is served", f"{own:.4f}", f"from {_less(before, limits.tolerance)} to {before + least:.4f}"
    )
    if _is_worse(change, before, limits.tolerance):
        verdict = _refused(f"On {asked} NDCG@10 {own:.4f} is below {beside} {_interval(change)}.", check)
    elif _is_implausible(change, limits):
        verdict = _refused(
            f"On {asked} NDCG@10 {own:.4f} is so far above {beside} {_interval(change)} that the answers have probably "
            f"leaked: more than {least:+.4f} is not believed. Look for held-out events among those that were learnt "
            "from, under another user, item or time, and for columns of the items that are written after the event.",
            check,
        )
    else:
        verdict = _passed(f"On {asked} NDCG@10 {own:.4f} is no worse than {beside}.", check)
    for name, chosen in slices.items():
        if chosen.sum() < limits.min_targets:
            continue
        part, other = candidate[chosen], served[chosen]
        change = paired_bootstrap(part, other, seed=seed)
        if _is_worse(change, other.mean(), limits.slice_tolerance):
            verdict += _refused(
                f"On {name.replace('_', ' ')} ({chosen.sum():,} targets) NDCG@10 {part.mean():.4f} is below the served "
                f"generation's {other.mean():.4f} {_interval(change)}.",
                Check(
                    f"NDCG@10 on {name.replace('_', ' ')} beside what is served", f"{part.mean():.4f}",
                    f"at least {_less(other.mean(), limits.slice_tolerance)}",
                ),
            )  # fmt: skip
    return verdict


def judge_parts(
    candidate: Figures,
    simpler: Mapping[str, Figures],
    frozen: Mapping[str, tuple[Figures, Figures]],
    limits: GateConfig = DEFAULT,
    seed: int = 0,
) -> Verdict:
    """Judge a candidate beside what it could have been without its towers, and say where its adapter does harm.

    Args:
        candidate: (targets,) NDCG@10 of the candidate.
        simpler: (targets,) of the systems that were measured beside it, by name.
        frozen: (targets,) of what reads the adapter's text and of the same over the base's alone, by name; where the
            adapter's is worse it is said, and passes: the candidate as a whole may make up for it.
        limits: see ``GateConfig``.
        seed: of the bootstrap.
    """
    verdict = Verdict(True, ())
    if simpler:
        name = max(simpler, key=lambda name: (simpler[name].mean(), name))
        best = simpler[name]
        change = paired_bootstrap(candidate, best, seed=seed)
        what = f"NDCG@10 {candidate.mean():.4f} {{}} {_called(name)}, {best.mean():.4f}"
        interval = f"95 % interval of the difference {change.low:+.4f} to {change.high:+.4f}"
        least = _less(best.mean(), limits.tolerance)
        check = Check(
            f"NDCG@10 beside {_called(name)}", f"{candidate.mean():.4f}", f"at least {least}, unless by chance"
        )
        if change.mean_difference >= 0:
            verdict += _passed(f"{what.format('is no lower than that of')}.", check)
        elif change.high >= 0:
            verdict += _passed(f"{what.format('is below that of')}, though not beyond doubt ({interval}).", check)
        elif change.mean_difference >= -limits.tolerance * best.mean():
            less = f"{100 * limits.tolerance:g} %"
            verdict += _passed(f"{what.format('is below that of')}, though by less than {less} ({interval}).", check)
        elif len(candidate) < limits.min_targets:
            verdict += _passed(f"{what.format('is below that of')}, though of few targets ({interval}).", check)
        else:
            verdict += _refused(f"{what.format('is below that of')} ({interval}).", check)
    for name, (adapted, base) in frozen.items():
        change = paired_bootstrap(adapted, base, seed=seed)
        if change.mean_difference < 0:
            sure = "beyond doubt" if change.high < 0 else "though not beyond doubt"
            verdict += _passed(
                f"By the adapter's text {name} has NDCG@10 {adapted.mean():.4f}, by the frozen base's "
                f"{base.mean():.4f}: that is worse, {sure} {_interval(change)}.",
                Check(f"NDCG@10 of {name} by the adapter's text", f"{adapted.mean():.4f}"),
            )
    return verdict


def judge_again(again: Figures, measured: Figures, limits: GateConfig = DEFAULT, seed: int = 0) -> Verdict:
    """Judge whether the figures are those of a system that has not learnt from the held-out events.

    Args:
        again: (targets,) NDCG@10 of the system put together again, all but its towers fitted on the training part.
        measured: (targets,) as its table has them.
        limits: see ``GateConfig``.
        seed: of the bootstrap.
    """
    change = paired_bootstrap(again, measured, seed=seed)
    what = (
        f"Put together again as it was measured, it has NDCG@10 {again.mean():.4f} on {len(again):,} held-out targets"
    )
    check = Check(
        "NDCG@10 put together again", f"{again.mean():.4f}", f"{measured.mean():.4f} ± {limits.tolerance:.0%}"
    )
    differs = change.low > 0 or change.high < 0
    if differs and abs(change.mean_difference) > limits.tolerance * measured.mean():
        return _refused(
            f"{what}, and its figures say {measured.mean():.4f} {_interval(change)}: they are of another system, or of "
            "one that had learnt from held-out events. Train again.",
            check,
        )
    return _passed(f"{what}, as its figures say.", check)


def judge_bound(
    bound: Figures, measured: Figures, part: str | None = None, limits: GateConfig = DEFAULT, seed: int = 0
) -> Verdict:
    """Judge whether what is bound is what was measured: it has learnt the targets since, and must do no worse on them.

    Args:
        bound: (targets,) NDCG@10 of what would be served, with histories that end before the targets.
        measured: (targets,) of what was measured on the same targets.
        part: a component of the blend, which is told of only where it does worse; None: the whole.
        limits: see ``GateConfig``.
        seed: of the bootstrap.
    """
    if len(bound) < limits.min_targets:
        return (
            Verdict(True, ())
            if part
            else _passed(
                f"Whether what is bound is what was measured cannot be told by {len(bound):,} held-out targets of its "
                f"snapshot; {limits.min_targets:,} are needed."
            )
        )
    change = paired_bootstrap(bound, measured, seed=seed)
    what = f"Of what is bound {part} has" if part else "What is bound has"
    what += f" NDCG@10 {bound.mean():.4f} on {len(bound):,} held-out targets that it has learnt since"
    least = _less(measured.mean(), limits.bound_tolerance)
    check = Check(f"NDCG@10 of {part or 'what is bound'}", f"{bound.mean():.4f}", f"at least {least}")
    if _is_worse(change, measured.mean(), limits.bound_tolerance):
        return _refused(
            f"{what}, and {measured.mean():.4f} was measured before {_interval(change)}: it is not what was measured. "
            "Train again.",
            check,
        )
    return Verdict(True, ()) if part else _passed(f"{what}, {measured.mean():.4f} was measured before.", check)


def judge_size(own: Mapping[str, int], served: Mapping[str, int], limits: GateConfig = DEFAULT) -> Verdict:
    """Judge whether the data have shrunk: a feed that broke off trains a model that knows less of the world.

    Args:
        own: how many ``users``, ``items`` and ``events`` the candidate's snapshot holds.
        served: likewise the served generation's.
        limits: see ``GateConfig``.
    """
    shares = {"users": limits.fewer_users, "items": limits.fewer_items, "events": limits.fewer_events}
    lost = [
        f"{own[name]:,} {name} where the served generation's has {served[name]:,} ({own[name] / served[name] - 1:.0%}; "
        f"{share:.0%} may be lacking)"
        for name, share in shares.items()
        if own[name] < (1 - share) * served[name]
    ]
    figure = ", ".join(f"{own[name]:,} {name}" for name in shares)
    least = ", ".join(f"{(1 - share) * served[name]:,.0f} {name}" for name, share in shares.items())
    check = Check("size of the snapshot", figure, f"at least {least}")
    if lost:
        return _refused(f"Its snapshot has {', '.join(lost)}. Look whether all of the input was there.", check)
    counts = ", ".join(f"{own[name]:,} {name} ({served[name]:,})" for name in shares)
    return _passed(f"Its snapshot has {counts}; in brackets the served generation's.", check)


def judge_search(
    taught: Figures, base: Figures, served: Figures | None, limits: GateConfig = DEFAULT, seed: int = 0
) -> Verdict:
    """Judge a search that has learnt from pairs by the reciprocal rank of each held-out query.

    Args:
        taught: (queries,) of the candidate.
        base: (queries,) of its base.
        served: (queries,) of the served generation on the same queries; None where there is none to compare.
        limits: see ``GateConfig``.
        seed: of the bootstrap.
    """
    finding = f"Of {len(taught):,} held-out queries the search's MRR@10 is {taught.mean():.4f}, its base's "
    finding += f"{base.mean():.4f}"
    against, name = (base, "its base's") if served is None else (served, "the served generation's")
    change = paired_bootstrap(taught, against, seed=seed)
    least = _less(against.mean(), limits.tolerance)
    check = Check("MRR@10 of the search", f"{taught.mean():.4f}", f"at least {least}, unless by chance")
    if _is_worse(change, against.mean(), limits.tolerance):
        return _refused(f"{finding}; that is beyond doubt below {name} {against.mean():.4f}.", check)
    return _passed(f"{finding}.", check)


def judge_rehearsal(rehearsal: Rehearsal, limits: GateConfig = DEFAULT) -> Verdict:
    """Judge how a generation answers: by the recall of its index, and by its lists and their time beside the served.

    Args:
        rehearsal: what was seen.
        limits: see ``GateConfig``.
    """
    found = rehearsal.recall >= limits.min_recall
    finding = f"The index finds {rehearsal.recall:.3f} of the nearest items"
    check = Check("recall of the index", f"{rehearsal.recall:.3f}", f"at least {limits.min_recall:g}")
    verdict = verdict_of(found, f"{finding}." if found else f"{finding}, which is below {limits.min_recall:g}.", check)
    if len(rehearsal.milliseconds) == 0:
        return verdict
    if rehearsal.listed_served is not None:
        wide = rehearsal.listed >= (1 - limits.less_coverage) * rehearsal.listed_served
        finding = f"Its lists for {len(rehearsal.milliseconds):,} people hold {rehearsal.listed:,} different items, "
        finding += f"the served generation's {rehearsal.listed_served:,}"
        least = f"{(1 - limits.less_coverage) * rehearsal.listed_served:,.0f}"
        check = Check("different items in its lists", f"{rehearsal.listed:,}", f"at least {least}")
        verdict += verdict_of(wide, f"{finding}." if wide else f"{finding}: that is too few.", check)
    own = float(np.percentile(rehearsal.milliseconds, SLOW_SHARE))
    if rehearsal.served is None:
        return verdict + _passed(f"95 % of its answers take at most {own:.1f} ms.", Check(_TIME, f"{own:.1f} ms"))
    before = float(np.percentile(rehearsal.served, SLOW_SHARE))
    most = max(limits.slower * before, before + limits.slower_milliseconds)
    quick = own <= most
    finding = f"95 % of its answers take at most {own:.1f} ms, the served generation's {before:.1f} ms"
    check = Check(_TIME, f"{own:.1f} ms", f"at most {most:.1f} ms")
    return verdict + verdict_of(quick, f"{finding}." if quick else f"{finding}: that is too slow.", check)


def _is_worse(change: Interval, before: float, tolerance: float) -> bool:
    return change.high < 0 and change.mean_difference < -tolerance * before


def _is_implausible(change: Interval, limits: GateConfig) -> bool:
    """Tell whether a gain is implausible: relative and absolute, and the first beyond doubt."""
    return (
        change.ratio_low is not None
        and change.ratio_low > 1 + limits.implausible_gain
        and change.mean_difference >= limits.implausible_difference
    )


def _interval(change: Interval) -> str:
    return f"(95 % interval of the difference {change.low:+.4f} to {change.high:+.4f})"


def _called(name: str) -> str:
    return "the blend of its own parts and the baselines without the towers" if name == BLEND else f"{name} alone"


def _less(figure: float, tolerance: float) -> str:
    return f"{(1 - tolerance) * figure:.4f}"


def verdict_of(passed: bool, finding: str, check: Check) -> Verdict:
    """Return the verdict of one check."""
    return Verdict(passed, (finding,), ((check, passed),))


def _passed(finding: str, check: Check = _REMARK) -> Verdict:
    return verdict_of(True, finding, check)


def _refused(finding: str, check: Check = _REMARK) -> Verdict:
    return verdict_of(False, finding, check)
