"""Forecasts and Holm's correction have the error rates that they state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.monitoring.checks import ALARM, NOTICE, OK, Reading, holm, judged
from recsys.monitoring.forecasts import COUNT, SHARE, SQUARES, Forecast, foretold, foretold_count

chances = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(chances)
def test_holm_is_a_step_down_that_keeps_the_order(found: list[float]) -> None:
    corrected = holm(found)
    for own, one in zip(corrected, found, strict=True):
        assert own >= one
        better = sorted(found)[: sum(other <= one for other in found)]
        steps = [(len(found) - rank) * other for rank, other in enumerate(better)]
        # equal ones are corrected by their place among themselves, the first of them the most
        assert own <= min(1.0, max(steps)) + 1e-12
    assert [one for _, one in sorted(zip(found, corrected, strict=True))] == sorted(corrected)
    assert min(corrected) == pytest.approx(min(1.0, len(found) * min(found)))


@pytest.mark.parametrize("bunches", [1, 4])
@pytest.mark.parametrize("wanted", [1, 3])
def test_a_count_is_outside_its_interval_as_often_as_stated(bunches: int, wanted: int) -> None:
    random, days = np.random.default_rng(7), np.arange(84 + wanted)
    means = 300 * np.exp(0.004 * days) * np.array([1.0, 1.1, 1.2, 0.9, 0.8, 2.0, 0.5])[days % 7]
    outside = 0
    for _ in range(400):
        counts = bunches * random.poisson(means / bunches)
        forecast = foretold_count(days[:84].tolist(), counts[:84].tolist(), days[84:].tolist())
        assert forecast is not None
        found, (low, high) = int(counts[84:].sum()), forecast.interval(0.1)
        outside += not low <= found <= high
        assert (forecast.p(found) < 0.1) == (not low <= found <= high)
    # 400 trials at 0.1 have a standard error of 0.015; where sampling is the least, it is fewer
    assert 0.05 < outside / 400 < 0.15


def test_a_share_is_outside_its_interval_as_often_as_stated() -> None:
    random = np.random.default_rng(8)
    outside = 0
    for _ in range(600):
        shares = random.beta(20, 180, 13)
        forecast = foretold(shares[:-1].tolist(), SHARE, 0.0)
        assert forecast is not None
        low, high = forecast.interval(0.1)
        outside += not low <= shares[-1] <= high
    assert 0.06 < outside / 600 < 0.14


def test_sampling_is_the_least_that_a_share_varies_by() -> None:
    lucky = foretold([0.0] * 12, SHARE, sampling=1 / 4_000)
    assert lucky is not None
    assert lucky.p(1 / 1_000) > 0.01  # one of a thousand events, where none was for twelve weeks
    assert lucky.p(0.05) < 1e-4


def test_too_few_weeks_foretell_nothing() -> None:
    assert foretold([1.0] * 5, SQUARES, 0.0) is None
    assert foretold_count(range(35), [100] * 35, [35]) is None
    assert foretold_count(range(84), [0] * 84, [84]) is None
    assert foretold_count(range(84), [100] * 84, [84]) is not None


@given(st.floats(0, 1e6))
def test_scales_can_be_gone_back(value: float) -> None:
    for scale in (COUNT, SQUARES):
        assert scale.back(scale.onto(value)) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert SHARE.back(SHARE.onto(value / 1e6)) == pytest.approx(value / 1e6, abs=1e-9)


def test_a_finding_is_an_alarm_where_its_effect_is_large() -> None:
    usual = Forecast(COUNT, 20.0, 1.0, 10)

    def read(p: float, effect: float) -> Reading:
        return Reading("volume", "Seen.", "Do.", figure=1.0, forecast=usual, p=p, effect=effect, least_effect=0.2)

    found = judged([read(0.001, 0.5), read(0.001, 0.1), read(0.5, 0.5)], 0.01)
    assert [check.level for check in found] == [ALARM, NOTICE, OK]
    assert [check.sentence for check in found] == ["Seen. Do.", "Seen. Do.", "Seen."]
    assert found[0].corrected == pytest.approx(0.003)
    many = judged([read(0.001, 0.5)] + [read(0.5, 0.5)] * 19, 0.01)
    assert many[0].level == OK  # one of twenty is by chance
    assert many[0].interval is not None
    assert many[0].interval[0] < 100 < many[0].interval[1]
