"""What a second objective costs, over held-out targets that a small scorer knows."""

import numpy as np
import polars as pl
import pytest

from recsys.config import EvaluationConfig, ModelConfig, from_dict, to_dict
from recsys.data.sequences import Sequences
from recsys.errors import SettingError
from recsys.evaluation.objective import WEIGHTS, objective_values, trade_off
from recsys.evaluation.splits import Targets
from recsys.selection.scales import robust

ITEMS, USERS = 40, 30


class Fixed:
    """Scores that are drawn for each user by the first item of the history."""

    def score(self, histories: Sequences) -> np.ndarray:
        first = histories.items[histories.offsets[:-1]]
        return np.stack([np.random.default_rng(int(one)).normal(size=ITEMS) for one in first]).astype(np.float32)


def test_at_nothing_it_is_the_evaluation_and_with_more_the_values_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    histories = Sequences.from_lists([[user, user + 1] for user in range(USERS)])
    scores = Fixed().score(histories)
    scores[histories.rows(), histories.items] = -np.inf
    items = np.argsort(-scores, axis=1)[np.arange(USERS), random.integers(0, 15, USERS)].astype(np.int32)
    values = random.lognormal(size=ITEMS)
    values[3] = np.nan
    targets = Targets(np.arange(USERS, dtype=np.int32), histories, items)
    found = trade_off("margin", Fixed(), targets, values, robust(values))
    assert (found["field"], found["targets"], len(found["points"])) == ("margin", USERS, len(WEIGHTS))
    places = (scores > scores[np.arange(USERS), items][:, None]).sum(axis=1)
    expected = np.where(places < 10, 1 / np.log2(places + 2), 0).mean()
    assert found["points"][0]["ndcg"] == pytest.approx(expected)
    best = np.argsort(-scores, axis=1)[:, :10]
    assert found["points"][0]["mean"] == pytest.approx(np.nanmean(values[best]))
    means = [point["mean"] for point in found["points"]]
    assert means == sorted(means)
    assert means[0] < means[-1]
    assert found["points"][-1]["ndcg"] < found["points"][0]["ndcg"]
    monkeypatch.setattr("recsys.evaluation.objective.SCORES_AT_ONCE", 3 * ITEMS)
    again = trade_off("margin", Fixed(), targets, values, robust(values))
    for one, other in zip(again["points"], found["points"], strict=True):
        assert one == pytest.approx(other)


def test_a_field_that_is_no_column_of_numbers_is_told_before_anything_runs() -> None:
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"], "margin": [1, None]})
    assert objective_values(items, ModelConfig()) is None
    for field, said in (("colour", "Columns of numbers: margin"), ("title", "which is a text")):
        config = ModelConfig(evaluation=EvaluationConfig(objective=field))
        with pytest.raises(SettingError, match=said):
            objective_values(items, config)
    config = ModelConfig(evaluation=EvaluationConfig(objective="margin"))
    values = objective_values(items, config)
    assert values is not None
    np.testing.assert_array_equal(values, [1.0, np.nan])


def test_settings_without_an_objective_are_those_of_before() -> None:
    assert "objective" not in to_dict(ModelConfig())["evaluation"]
    config = ModelConfig(evaluation=EvaluationConfig(objective="margin"))
    assert from_dict(ModelConfig, to_dict(config)) == config
