"""What the gate has looked at, as a table has it: each check with its figure, its limit and its own verdict."""

import numpy as np

from recsys.publishing.gate import Check, Rehearsal, Verdict, judge, judge_rehearsal, judge_size


def test_each_check_has_a_verdict_of_its_own() -> None:
    worse = judge(np.full(60, 0.1), np.full(60, 0.2))
    found = worse + judge_size({"users": 90, "items": 80, "events": 500}, {"users": 100, "items": 80, "events": 500})
    assert not found.passed
    assert [passed for _, passed in found.checks] == [False, True]
    assert found.checks[0][0] == Check("NDCG@10 beside popularity", "0.1000", "above 0.2000, beyond doubt")
    assert found.checks[1][0].figure == "90 users, 80 items, 500 events"
    assert len(found.checks) == len(found.findings)


def test_limits_of_times_are_those_that_hold_beside_what_is_served() -> None:
    seen = judge_rehearsal(Rehearsal(0.5, np.full(10, 30.0), np.full(10, 10.0), 5, 50))
    recall, listed, time = seen.checks
    assert recall == (Check("recall of the index", "0.500", "at least 0.95"), False)
    assert time[0].figure == "30.0 ms"
    assert not time[1]
    assert not listed[1]


def test_what_is_only_told_is_a_remark() -> None:
    assert Verdict(True, ("Nothing is served yet.",)).checks == ((Check("remark"), True),)
