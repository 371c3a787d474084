"""The main job from download to answers: the pipeline on MovieLens 100K, then the service, asked over HTTP."""

from dataclasses import dataclass
from typing import Any

import httpx

from flows import progress
from flows.forms import Folder
from flows.pipeline import pipeline
from flows.reports import sample_users
from flows.runs import flow, stage
from flows.runtime import open_home
from flows.train import Training
from flows.work import STEPS
from recsys.config import EvaluationConfig, ModelConfig
from recsys.data.snapshot import open_snapshot
from recsys.home import Home
from services.serve import running

# The protocol that gives the adapter and by which the gate judges. Each is a training of its own: leave-one-out as well
# would double the time and change nothing that is served; `recsys evaluate` measures it.
MODEL = ModelConfig(evaluation=EvaluationConfig(protocols=("temporal",)))
UNKNOWN_USER = "somebody-new"
ITEMS = 5
ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Demo:
    """The training behind the service, and what the service answered: user id → the answer's JSON."""

    training: Training
    answers: dict[str, dict[str, Any]]


@flow("demo", STEPS)
def demo_movielens(home: Folder | None = None) -> Demo:
    """Run the pipeline on MovieLens 100K, start the service on loopback, ask it for four users and stop it.

    Args:
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
    """
    place = open_home(home)
    training = pipeline(home=str(place.root), model=MODEL, live=False)
    users = sample_users(open_snapshot(place, training.snapshot))
    return Demo(training, ask_service(place, [*users, UNKNOWN_USER]))


@stage("ask the service")
def ask_service(home: Home, user_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Start the service, ask for recommendations over HTTP, stop it, and return the answer for each user."""
    answers = {}
    with progress.step("Start the service"), running(home, texts=False) as url:
        for user_id in user_ids:
            body = {"user_id": user_id, "k": ITEMS, "explain": True}
            answer = httpx.post(f"{url}/v1/recommend", json=body, timeout=ANSWER_SECONDS)
            answers[user_id] = answer.raise_for_status().json()
    return answers
