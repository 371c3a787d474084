"""A generation answers before it is served: what is measured of it, and what a broken served one changes."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from variants import make_variant

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys.publishing.admission import publish
from recsys.publishing.checks import REHEARSED, ROUNDS, check_answers, rehearse, sample_histories
from recsys.ranking.candidates import VectorSource
from recsys.serving.answers import Answer, Recommendation
from recsys.serving.recommender import Recommender
from recsys.store import index
from recsys.store.generations import ConflictError, current_id, promote
from recsys.store.promotions import Cause

REASON = Cause(reason="A test.")


@pytest.fixture(scope="module")
def served(home: Home) -> Recommender:
    return Recommender.open(home)


def test_both_answer_the_same_histories_in_turns(home: Home, served: Recommender) -> None:
    histories = sample_histories(home, served)
    assert 1 < len(histories) <= REHEARSED
    assert all(histories)
    asked: list[str] = []

    class Listening:
        def __init__(self, name: str) -> None:
            self.name = name

        def recommend(self, history: list[str], k: int) -> Answer:
            asked.append(self.name)
            items = [Recommendation(f"{self.name}{len(asked)}", 0.0, (), {}) for _ in range(k)]
            return Answer(items, self.name, self.name, None, [])

        def index_recall(self, *_: object) -> float:
            return 0.5

    ticks = itertools.accumulate(itertools.cycle([0.0, 0.004, 0.0, 0.001]))  # seconds that each of the two takes
    found = rehearse(Listening("new"), Listening("old"), histories, clock=lambda: next(ticks))  # type: ignore[arg-type]
    assert asked == ["new", "old"] * ROUNDS * len(histories)
    assert found.recall == 0.5
    assert found.milliseconds == pytest.approx(np.full(len(histories), 4.0))
    assert found.served == pytest.approx(np.full(len(histories), 1.0))
    assert found.listed == found.listed_served == ROUNDS * len(histories)


def test_a_served_generation_that_is_broken_does_not_stand_in_the_way(home: Home, served: Recommender) -> None:
    def load(_: str) -> Recommender:
        raise ArtifactError("broken")

    verdict = check_answers(home, served, "another", load)
    assert verdict.passed
    assert verdict.findings[1].startswith("95 % of its answers take at most")


def test_the_index_is_compared_with_an_exact_search(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Home(Path(shutil.copytree(home.root, tmp_path / "home")))
    generation_id = str(current_id(copied))
    recommender = Recommender.open(copied)
    histories = sample_histories(copied, recommender)
    assert recommender.index_recall(histories, 10) == 1.0
    recommender.scoring.source.kind = "approximate"  # without an index LanceDB compares all vectors
    assert recommender.index_recall(histories, 10) > 0.99
    monkeypatch.setattr(VectorSource, "named", lambda _, queries, *__: [np.arange(10)] * len(queries))
    assert recommender.index_recall(histories, 10) < 0.9
    monkeypatch.setattr("recsys.ranking.candidates.APPROXIMATE_FROM", 1)
    verdict = publish(copied, generation_id)
    assert not verdict.passed
    assert "of the nearest items, which is below" in verdict.findings[-2]
    assert index.APPROXIMATE_FROM > 1
    assert publish(copied, generation_id, force=True, cause=REASON).findings[-2] == verdict.findings[-2]


def test_of_two_that_publish_at_once_the_later_is_told(home: Home, tmp_path: Path) -> None:
    copied = Home(Path(shutil.copytree(home.root, tmp_path / "home")))
    first = str(current_id(copied))
    mine, _ = make_variant(copied, {"content": 1.0, "rules": 0.5})
    theirs, _ = make_variant(copied, {"rules": 1.0})

    def load(generation_id: str) -> Recommender:
        if current_id(copied) == first:  # while the gate looks at mine, somebody else publishes theirs
            promote(copied, theirs)
        return Recommender.open(copied, generation_id)

    with pytest.raises(ConflictError, match=f"Generation {theirs} was published while {mine} was being judged"):
        publish(copied, mine, load=load)
    assert current_id(copied) == theirs
    with pytest.raises(ConflictError, match=f"Generation {theirs} is served, not {first}"):
        publish(copied, mine, force=True, cause=REASON, expected=first)
    assert current_id(copied) == theirs
    publish(copied, mine, force=True, cause=REASON, expected=theirs)
    assert current_id(copied) == mine
