"""Curves of a training: what was recorded, in its order; what was not trained has none."""

from recsys.evaluation.curves import Curve, curves, plot


def test_curves_hold_what_was_recorded() -> None:
    learning = {
        "adapter": [{"round": 0, "loss": 2.0}, {"round": 1, "loss": 1.5}],
        "towers": [{"epoch": 1, "loss": 3.0, "validation": 0.1}, {"epoch": 2, "loss": 2.0}],
        "ids": [],
    }
    drawn = curves(learning)
    assert drawn == [
        Curve("The adapter's loss", "round", ((0, 2.0), (1, 1.5))),
        Curve("The towers' loss", "epoch", ((1, 3.0), (2, 2.0))),
        Curve("The towers' NDCG@10 on validation", "epoch", ((1, 0.1),)),
    ]
    assert plot(drawn).startswith(b"\x89PNG")


def test_a_frozen_adapter_has_a_curve_without_points() -> None:
    drawn = curves({"adapter": [], "towers": [], "ids": []})
    assert [one.points for one in drawn] == [(), (), ()]
    assert plot(drawn).startswith(b"\x89PNG")
