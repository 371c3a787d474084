"""The gate: what passes, what is refused, and that a gain on the whole does not hide a loss in a part."""

import numpy as np
import pytest

from recsys.config import GateConfig
from recsys.publishing.gate import (
    Rehearsal,
    Verdict,
    judge,
    judge_beside_served,
    judge_bound,
    judge_parts,
    judge_rehearsal,
    judge_search,
    judge_size,
)

N = 400
LIMITS = GateConfig()


@pytest.fixture
def figures():
    rng = np.random.default_rng(0)
    served = rng.choice([0.0, 0.4, 1.0], N, p=[0.6, 0.3, 0.1])
    return served, rng.choice([0.0, 0.4], N, p=[0.95, 0.05])


def beside(candidate, served, slices=None, limits=LIMITS):
    return judge_beside_served(candidate, served, slices or {}, "the same 400 targets", limits)


def test_an_equal_generation_passes(figures):
    served, popularity = figures
    assert judge(served, popularity).passed
    verdict = beside(served, served)
    assert (verdict.passed, verdict.findings) == (
        True,
        (
            f"On the same 400 targets NDCG@10 {served.mean():.4f} is no worse than the served generation's "
            f"{served.mean():.4f}.",
        ),
    )


def test_what_popularity_does_as_well_is_refused(figures):
    _, popularity = figures
    verdict = judge(popularity, popularity)
    assert not verdict.passed
    assert "not beyond doubt above popularity" in verdict.findings[0]


def test_a_worse_generation_is_refused(figures):
    served, _ = figures
    verdict = beside(served * 0.8, served)
    assert not verdict.passed
    assert "below the served generation's" in verdict.findings[0]
    assert beside(served * 0.8, served, limits=GateConfig(tolerance=0.25)).passed


def test_what_is_too_good_is_not_believed(figures):
    served, _ = figures
    leaked = np.where(np.arange(N) % 3 == 0, 1.0, served)
    verdict = beside(leaked, served)
    assert not verdict.passed
    assert "the answers have probably leaked" in verdict.findings[0]
    assert "under another user, item or time" in verdict.findings[0]
    assert beside(leaked, served, limits=GateConfig(implausible_gain=3.0)).passed
    assert beside(np.minimum(served * 1.2, 1), served).passed
    hardly = np.where(np.arange(N) % 10 == 0, 0.1, 0.0)  # three times almost nothing is still almost nothing
    assert beside(3 * hardly, hardly).passed


def test_a_loss_in_a_slice_is_refused_whatever_the_whole_gains(figures):
    served, _ = figures
    tail = np.arange(N) < 100
    candidate = np.where(tail, served * 0.3, np.minimum(served + 0.2, 1))
    limits = GateConfig(implausible_gain=9.0)
    assert candidate.mean() > served.mean()
    assert beside(candidate, served, limits=limits).passed
    verdict = beside(candidate, served, {"tail_items": tail, "head_items": ~tail}, limits)
    assert not verdict.passed
    assert verdict.findings[-1].startswith("On tail items (100 targets)")


def test_a_slice_of_few_targets_says_nothing(figures):
    served, _ = figures
    few = np.arange(N) < LIMITS.min_targets - 1
    candidate = np.where(few, 0, np.minimum(served + 0.05, 1))
    assert beside(candidate, served, {"cold_items": few}).passed
    assert not beside(candidate, served, {"cold_items": few}, GateConfig(min_targets=10)).passed


def test_what_is_bound_must_do_no_worse_on_what_it_has_learnt(figures):
    measured, _ = figures
    assert judge_bound(np.minimum(measured + 0.3, 1), measured).passed
    verdict = judge_bound(measured * 0.5, measured)
    assert not verdict.passed
    assert "it is not what was measured" in verdict.findings[0]
    few = slice(LIMITS.min_targets - 1)
    told = judge_bound(measured[few] * 0.5, measured[few])
    assert told.passed  # and said, since nobody knows
    assert "cannot be told by 49 held-out targets" in told.findings[0]


@pytest.mark.parametrize("lacking", ["users", "items", "events"])
def test_data_that_have_shrunk_are_refused(lacking):
    before = {"users": 943, "items": 1682, "events": 100_000}
    assert judge_size(before, before).passed
    assert judge_size({name: count * 3 for name, count in before.items()}, before).passed
    fewer = before | {lacking: int(0.89 * before[lacking])}
    verdict = judge_size(fewer, before)
    assert not verdict.passed
    assert f"{fewer[lacking]:,} {lacking} where the served generation's has {before[lacking]:,}" in verdict.findings[0]
    assert "all of the input was there" in verdict.findings[0]
    assert judge_size(fewer, before, GateConfig(**{f"fewer_{lacking}": 0.2})).passed
    assert judge_size(before | {lacking: int(0.91 * before[lacking])}, before).passed


def rehearsal(recall=1.0, milliseconds=2.0, served=2.0):
    return Rehearsal(recall, np.full(50, milliseconds), None if served is None else np.full(50, served))


def test_an_index_that_misses_what_is_near_is_refused():
    verdict = judge_rehearsal(rehearsal(recall=0.94))
    assert not verdict.passed
    assert verdict.findings[0] == "The index finds 0.940 of the nearest items, which is below 0.95."
    assert judge_rehearsal(rehearsal(recall=0.95)).passed


def test_a_generation_that_answers_much_slower_is_refused():
    assert judge_rehearsal(rehearsal(milliseconds=39.0, served=20.0)).passed
    verdict = judge_rehearsal(rehearsal(milliseconds=41.0, served=20.0))
    assert not verdict.passed
    assert "41.0 ms, the served generation's 20.0 ms: that is too slow" in verdict.findings[1]
    assert judge_rehearsal(rehearsal(milliseconds=6.0, served=1.5)).passed  # milliseconds are no matter
    assert judge_rehearsal(rehearsal(milliseconds=500.0, served=None)).passed


def test_lists_that_narrow_to_a_few_items_are_refused():
    milliseconds = np.full(50, 2.0)
    assert judge_rehearsal(Rehearsal(1.0, milliseconds, milliseconds, 100, 200)).passed
    narrow = Rehearsal(1.0, milliseconds, milliseconds, 99, 200)
    verdict = judge_rehearsal(narrow)
    assert not verdict.passed
    assert verdict.findings[1] == (
        "Its lists for 50 people hold 99 different items, the served generation's 200: that is too few."
    )
    assert judge_rehearsal(narrow, GateConfig(less_coverage=0.6)).passed


def test_a_search_that_has_learnt_must_find_no_worse_than_what_is_served():
    random = np.random.default_rng(0)
    base, taught = 0.4 * random.random(80), 0.4 + 0.6 * random.random(80)
    assert judge_search(taught, base, None).passed
    assert judge_search(taught, base, taught).passed
    refused = judge_search(base, base, taught)
    assert not refused.passed
    assert "beyond doubt below the served generation's" in refused.findings[0]
    assert not judge_search(base, taught, None).passed


def test_two_verdicts_pass_only_together():
    assert (Verdict(True, ("a",)) + Verdict(True, ("b",))) == Verdict(True, ("a", "b"))
    assert not (Verdict(True, ()) + Verdict(False, ())).passed


def test_what_is_below_the_blend_of_its_own_parts_is_said_and_beyond_doubt_refused(figures):
    blend, _ = figures
    told = judge_parts(blend * 0.8, {"ease": blend * 0.5, "blend": blend}, {})
    assert not told.passed
    assert "is below that of the blend of its own parts and the baselines without the towers" in told.findings[0]
    rng = np.random.default_rng(1)
    doubtful = np.where(rng.random(N) < 0.5, blend - 0.11, blend + 0.1)
    told = judge_parts(doubtful, {"blend": blend}, {})
    assert told.passed
    assert "though not beyond doubt" in told.findings[0]
    told = judge_parts(blend, {"ease": blend * 0.5, "rules": blend * 0.9}, {})
    assert (told.passed, told.findings) == (
        True,
        (f"NDCG@10 {blend.mean():.4f} is no lower than that of rules alone, {told_mean(blend)}.",),
    )
    few = slice(LIMITS.min_targets - 1)
    told = judge_parts(blend[few] * 0.8, {"blend": blend[few]}, {})
    assert told.passed  # so few targets are no proof
    assert "though of few targets" in told.findings[0]
    told = judge_parts(blend * 0.995, {"blend": blend}, {})
    assert told.passed
    assert "though by less than 1 %" in told.findings[0]
    assert judge_parts(blend, {}, {}) == Verdict(True, ())  # an older generation has nothing beside it


def told_mean(blend):
    return f"{(blend * 0.9).mean():.4f}"


def test_an_adapter_whose_text_is_worse_than_the_frozen_one_is_named(figures):
    base, _ = figures
    told = judge_parts(base, {}, {"content": (base * 0.5, base), "towers": (base, base * 0.5)})
    assert told.passed
    (finding,) = told.findings
    assert finding.startswith("By the adapter's text content has NDCG@10")
    assert "that is worse, beyond doubt" in finding
