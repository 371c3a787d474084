"""Curves of a training: what was recorded, in its order; what was not trained has none."""

import pytest

from recsys.evaluation.curves import CLASSIFIER, PRETRAINING, SEARCH, Curve, curves, curves_by_epoch, plot


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


def test_curves_by_epoch_hold_what_was_recorded() -> None:
    history = [{"epoch": 0.0, "perplexity": 30.0}, {"epoch": 1.0, "loss": 3.0, "perplexity": 20.0}]
    assert curves_by_epoch(PRETRAINING, history) == [
        Curve("The loss of masked words", "epoch", ((1.0, 3.0),)),
        Curve("The perplexity of held-out texts", "epoch", ((0.0, 30.0), (1.0, 20.0))),
    ]


@pytest.mark.parametrize(
    ("training", "names"),
    [
        (CLASSIFIER, ["train_loss", "dev_loss", "dev_accuracy"]),
        (PRETRAINING, ["loss", "perplexity"]),
        (SEARCH, ["loss"]),
    ],
)
def test_a_training_of_one_history_has_a_curve_of_each_figure(training: str, names: list[str]) -> None:
    history = [{"epoch": epoch} | dict.fromkeys(names, 1 / epoch) for epoch in (1.0, 2.0)]
    drawn = curves_by_epoch(training, history)
    assert [one.points for one in drawn] == [((1.0, 1.0), (2.0, 0.5))] * len(names)
    assert plot(drawn).startswith(b"\x89PNG")
