"""Over made-up shops: nothing is found while nothing is wrong, known shifts are, and the same data gives the same."""

import dataclasses
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from infra.benchmarks.monitoring import Shop, caught, weeks
from infra.benchmarks.shifts import SHIFTS, SMALL_BOT, newer
from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.monitoring.arrivals import numbers
from recsys.monitoring.checks import ALARM, LOOK, OK, TRAIN
from recsys.monitoring.monitor import Watched, monitor
from recsys.monitoring.windows import History


def test_weeks_as_they_are_give_no_more_false_alarms_than_stated(shop: Shop) -> None:
    reports = [monitor(week) for _, week in weeks(shop)]
    assert len(reports) == 16
    assert all(len(report.checks) >= 18 for report in reports)
    assert [
        report.findings for report in reports if report.findings
    ] == []  # at 1 % each, one in seven such tests has one
    chances = [check.p for report in reports for check in report.checks if check.p is not None]
    assert np.mean(np.array(chances) < 0.05) < 0.08


def test_a_higher_rate_of_false_alarms_is_a_setting(shop: Shop) -> None:
    loose = [monitor(week, MonitorConfig(false_alarms=0.9)) for _, week in weeks(shop)]
    assert sum(bool(report.findings) for report in loose) > 0


@pytest.mark.parametrize("name", sorted(set(SHIFTS) - {SMALL_BOT}))
def test_a_shift_is_caught_by_the_check_that_is_meant_for_it(watched: Watched, name: str) -> None:
    shift, meant = SHIFTS[name]
    report = monitor(shift(watched, np.random.default_rng(1)))
    assert caught(report, meant), [(check.name, check.level, check.p) for check in report.checks]


def test_lost_events_call_for_a_look_and_other_tastes_for_a_training(watched: Watched) -> None:
    random = np.random.default_rng(1)
    turned = monitor(SHIFTS["popularity turned upside down"][0](watched, random))
    assert {check.remedy for check in turned.findings} == {TRAIN}
    assert turned.training_helps
    lost = monitor(SHIFTS["half of the last day's events lost"][0](watched, random))
    assert LOOK in {check.remedy for check in lost.findings if check.level == ALARM}
    assert not lost.training_helps
    assert not monitor(watched).training_helps


@pytest.mark.parametrize(("times", "level"), [(0.4, ALARM), (0.6, OK), (1.5, OK), (100.0, ALARM)])
def test_numbers_of_items_are_compared_with_what_they_were(watched: Watched, times: float, level: str) -> None:
    assert watched.catalogue is not None
    other = watched.catalogue.with_columns(pl.col("price") * times, margin=pl.lit(None, pl.Float64))
    found = numbers(watched.items, other, MonitorConfig())
    assert found is not None
    assert found.seen.startswith(f"price is {times:.3g} times what it was")
    assert found.beyond is (level == ALARM)
    assert numbers(watched.items, other.drop("price"), MonitorConfig()) is None


def test_a_silent_day_is_an_alarm(watched: Watched) -> None:
    silent = newer(watched).filter(pl.col(columns.TIMESTAMP) < watched.until - timedelta(days=1))
    report = monitor(dataclasses.replace(watched, newer=silent))
    assert [check.name for check in report.findings if check.level == ALARM] == ["volume"]
    assert "0 events in a day" in report.findings[0].sentence


def test_a_training_that_is_older_is_compared_with_what_older_trainings_met(shop: Shop) -> None:
    week = shop.week(39, age=28)
    history = History.of(week.events, newer(week), week.until)
    windows = history.windows(7, MonitorConfig())
    for window in (*windows.past, windows.now):
        assert window.days[0] - window.reference[1] == 21
        assert window.reference[1] - window.reference[0] == 56
    assert [one.days[0] for one in windows.past] == [windows.now.days[0] - 7 * back for back in range(12, 0, -1)]


def test_days_that_nobody_knows_are_compared_with_nothing(shop: Shop) -> None:
    week = shop.week(39, age=28)
    late = newer(week).filter(pl.col(columns.TIMESTAMP) >= week.until - timedelta(days=7))
    history = History.of(week.events, late, week.until)
    starts = [window.days[0] for window in history.windows(7, MonitorConfig()).past]
    now = history.windows(7, MonitorConfig()).now.days[0]
    assert now - starts[-1] == 35  # three weeks between are not known, nor whether the training's last day was whole
    assert monitor(dataclasses.replace(week, newer=late)).level == OK


def test_what_is_too_short_for_a_comparison_says_so(watched: Watched) -> None:
    short = watched.events.filter(pl.col(columns.TIMESTAMP) >= watched.until - timedelta(days=28))
    report = monitor(dataclasses.replace(watched, events=short))
    (volume,) = [check for check in report.checks if check.name == "volume"]
    assert volume.level == OK
    assert volume.p is None
    assert "Too few weeks" in volume.sentence


def test_the_same_data_in_another_order_gives_the_same_report(watched: Watched) -> None:
    shuffled = dataclasses.replace(watched, newer=newer(watched).sample(fraction=1, shuffle=True, seed=1))
    assert monitor(shuffled).to_dict() == monitor(watched).to_dict()


def test_vectors_of_other_texts_are_told_by_permutation(watched: Watched) -> None:
    assert watched.vectors is not None
    known, alike = watched.vectors.known[::2], watched.vectors.known[1::2][:40]
    for new, level in ((alike, OK), (alike + 1, ALARM)):
        vectors = dataclasses.replace(watched.vectors, texts=(known, new))
        checks = monitor(dataclasses.replace(watched, vectors=vectors)).checks
        assert {check.name: check.level for check in checks}["embeddings of new texts"] == level
