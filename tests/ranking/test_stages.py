"""The timer: every moment belongs to one stage."""

import pytest

from recsys.ranking.stages import StageTimer, unmeasured


def test_laps_share_out_the_whole_time_however_often_a_stage_comes_back() -> None:
    watch = StageTimer()
    for stage in ("rules", "search", "rules", "search", "fields"):
        watch.end_stage(stage)
    totals = watch.totals()
    assert list(totals) == ["rules", "search", "fields"]
    assert sum(totals.values()) == pytest.approx(watch.ends[-1][1] - watch.started)
    assert all(seconds >= 0 for seconds in totals.values())
    assert totals["rules"] == pytest.approx(watch.ends[0][1] - watch.started + watch.ends[2][1] - watch.ends[1][1])


def test_nothing_is_measured_for_those_who_do_not_ask() -> None:
    assert StageTimer().totals() == {}
    assert unmeasured("rules") is None
