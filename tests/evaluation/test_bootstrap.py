"""Bootstrap: against resampling spelled out, by coverage of a known mean, and its laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation import bootstrap
from recsys.evaluation.bootstrap import bootstrap_mean, paired_bootstrap

VALUES = st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=30)


@given(VALUES, st.integers(0, 3))
def test_laws(pairs, seed):
    ours, theirs = np.array(pairs).T
    interval = paired_bootstrap(ours, theirs, 200, seed)
    assert interval == paired_bootstrap(ours, theirs, 200, seed)
    assert interval.low <= interval.high
    assert interval.mean_difference == pytest.approx((ours - theirs).mean(), abs=1e-9)
    order = np.random.default_rng(0).permutation(len(ours))
    assert interval.low == pytest.approx(paired_bootstrap(ours[order], theirs[order], 200, seed).low, abs=1e-9)
    assert (interval.ratio is None) == (theirs.mean() == 0)
    mean = bootstrap_mean(ours, 200, seed)
    assert ours.min() - 1e-9 <= mean.low <= mean.high <= ours.max() + 1e-9


def test_the_same_intervals_as_drawing_users():
    random = np.random.default_rng(1)
    ours, theirs = random.choice([0, 0.3, 1], (2, 400))
    drawn = random.integers(0, 400, (4_000, 400))
    differences = (ours - theirs)[drawn].mean(axis=1)
    ratios = ours[drawn].mean(axis=1) / theirs[drawn].mean(axis=1)
    interval = paired_bootstrap(ours, theirs, 4_000)
    assert [interval.low, interval.high] == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.004)
    assert [interval.ratio_low, interval.ratio_high] == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.015)


def test_pairs_are_kept_together():
    theirs = np.random.default_rng(0).random(500)
    interval = paired_bootstrap(theirs + 0.1, theirs, 500)  # always better by the same
    assert interval.low == pytest.approx(0.1)
    assert interval.high == pytest.approx(0.1)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(5)
    hits = 0
    for seed in range(300):
        mean = bootstrap_mean((random.random(200) < 0.3).astype(float), 500, seed)
        hits += mean.low <= 0.3 <= mean.high
    assert 0.90 <= hits / 300 <= 0.985


def test_chunks_hold_all_samples(monkeypatch):
    values = np.random.default_rng(0).random(50)
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 50 * 7)
    chunks = list(bootstrap._sample_means(values[:, None], 100, 0))
    assert sum(len(chunk) for chunk in chunks) == 100
    assert max(len(chunk) for chunk in chunks) == 7


def test_no_ratio_over_nothing():
    assert paired_bootstrap(np.ones(4), np.zeros(4), 50).ratio is None
    assert paired_bootstrap(np.zeros(4), np.ones(4), 50).ratio == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [([1.0], [1.0, 2.0], "same users"), ([], [], "at least one value"), ([np.nan], [1.0], "finite")],
)
def test_refusals(ours, theirs, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(np.array(ours), np.array(theirs))
