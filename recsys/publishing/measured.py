"""The system that a generation was measured by, again: before it learnt the held-out events as well.

What is served has learnt from everything, so nothing of its snapshot can be asked of it. But the adapter's folder keeps
the towers as they were measured, and all else is fitted in moments on the training part: that is the system whose
figures are in the table, and whatever it has not learnt from can be asked of it, tomorrow's events too.
"""

import json
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError
from recsys.config import TARGET, ModelConfig
from recsys.data.sequences import Sequences
from recsys.data.signals import signals_of
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.report import OURS
from recsys.evaluation.splits import Targets
from recsys.experts.popularity import Popularity
from recsys.home import Home
from recsys.models.towers.tower import TOWERS, TwoTower
from recsys.publishing.held_out import HeldOut
from recsys.ranking.system import IDS, System
from recsys.selection.catalogue import Catalogue
from recsys.serving.history import KnownHistory
from recsys.serving.users import SnapshotUsers
from recsys.store.adapters import verify_adapter
from recsys.store.generations import read_generation
from recsys.store.manifests import GOING_ON, GOING_ON_SETTINGS
from recsys.training.fit_experts import refit_again, refit_experts

Figures = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """A generation's system as it was measured.

    Attributes:
        own: its held-out targets.
        system: fitted on the training part alone.
    """

    own: HeldOut
    system: System

    @classmethod
    def of(cls, home: Home, generation_id: str) -> "Measured":
        """Put a generation's system together as it was measured.

        Raises:
            ArtifactError: something of it is missing or changed, or its adapter has no towers with it.
        """
        folder, manifest = read_generation(home, generation_id, verify=True)
        state = verify_adapter(home, manifest.adapter) / GOING_ON
        if not (state / GOING_ON_SETTINGS).is_file():
            raise ArtifactError(f"Adapter {manifest.adapter} has no towers as they were measured.")
        kept = json.loads((state / GOING_ON_SETTINGS).read_text())["towers"]
        own, bound = HeldOut.of(home, generation_id), System.load(folder)
        train, catalogue, experts = own.split.train.weighed(bound.weighing), own.split.catalogue, own.config.experts
        towers = {name: TwoTower.load(state, name) for name in kept}
        if any(len(one.vectors) != catalogue for one in towers.values()):
            raise ArtifactError(f"The towers of adapter {manifest.adapter} are of another catalogue.")
        system = replace(
            bound,
            towers=towers[TOWERS],
            ids=towers.get(IDS),
            experts=refit_experts(bound, train, catalogue, experts),
            popularity=Popularity.fit(train, catalogue, experts.popularity_half_life_days),
            again=refit_again(bound, train, catalogue),
        )
        return cls(own, system)

    def answers(self, asked: HeldOut) -> tuple[NDArray[np.int64], Figures]:
        """Answer another generation's targets after histories that end at the same moments.

        Left out are targets that this system has learnt from and those whose item it does not know: what is new is no
        question of which of both is better. Events mean what they mean to it.

        Returns:
            The places of the targets that were answered, (n,), and NDCG@10 of each, (n,).
        """
        items = Catalogue(self.own.snapshot.items())
        users, wanted = asked.snapshot.user_ids(), asked.snapshot.item_ids()
        rows = [items.find(wanted[item]) for item in asked.targets.items]
        fresh = self._fresh(asked)
        places = np.array([place for place, row in enumerate(rows) if row is not None and fresh[place]], dtype=np.int64)
        if not len(places):
            return places, np.empty(0)
        known, moments = SnapshotUsers.of(asked.snapshot), asked.moments()
        meaning, weighing = signals_of(self.own.config), self.system.weighing
        histories = [
            KnownHistory.of(known.past(users[asked.targets.users[place]])[: moments[place]], items, meaning, weighing)[
                0
            ]
            for place in places
        ]
        targets = Targets(
            asked.targets.users[places],
            Sequences.joined([history.sequence for history in histories]),
            np.array([rows[place] for place in places], dtype=np.int32),
            asked.targets.repeats,
        )
        return places, ndcg(evaluate(OURS, self.system, targets, seed=self.own.config.seed).ranks, 10)

    def _fresh(self, asked: HeldOut) -> NDArray[np.bool_]:
        """Tell which targets this has not learnt from: their user has had the item more often by then, (n,)."""
        train = self.own.split.train
        own_users = {user: row for row, user in enumerate(self.own.snapshot.user_ids())}
        own_items = {item: row for row, item in enumerate(self.own.snapshot.item_ids())}
        users, items = asked.snapshot.user_ids(), asked.snapshot.item_ids()
        fresh = np.ones(len(asked), dtype=bool)
        for place, (user, item) in enumerate(zip(asked.targets.users, asked.targets.items, strict=True)):
            row, column = own_users.get(users[user]), own_items.get(items[item])
            if row is not None and column is not None:
                learnt = np.count_nonzero(train.row(row) == column)
                fresh[place] = learnt <= np.count_nonzero(asked.targets.histories.row(place) == item)
        return fresh


def asks_alike(one: ModelConfig, other: ModelConfig) -> bool:
    """Tell whether the settings of both ask for events of the same kind."""
    kinds = [
        {(rule.event_type, rule.at_least, rule.below) for rule in config.signals or () if rule.role == TARGET}
        for config in (one, other)
    ]
    return kinds[0] == kinds[1]
