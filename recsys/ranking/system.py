"""The whole trained system: experts, towers over text vectors, and the blend that ranks with them.

Reading and scoring only, so that a service starts without what training needs; ``recsys.training.fit_system`` makes it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recsys.data.sequences import SIGNALS, Scorer, Sequences, Weighing
from recsys.experts.again import AGAIN, BuyAgain
from recsys.experts.content import Content
from recsys.experts.lexical import Lexicon
from recsys.experts.popularity import Popularity
from recsys.experts.sparse import ItemMatrixScorer
from recsys.models.towers.tower import EVERYTHING, TOWERS, TwoTower
from recsys.ranking.blend import Blend
from recsys.ranking.parts import SETTINGS, Parts

IDS = "ids"
POPULARITY = "popularity"
CONTENT = "content"
LEXICAL = "lexical"
RULES, KNN, EASE = "rules", "knn", "ease"
LEXICON = "lexicon"


Chosen = TypedDict(  # what validation chose, and what it saw; a system without towers over ids lacks the last two
    "Chosen",
    {
        "decays": dict[str, float],  # of the history, by expert
        "ridge": float | None,
        "weighing": Weighing,  # by how much events counted; absent: they have no signals, or counted as these say
        "aversions": dict[str, float],  # how much dislikes take, by expert, where it is not as much as likes give
        "expert_ndcg@10": dict[str, float],
        "validation_ndcg@10": float,  # of the blend
        "epochs": int,
        "tower_history": list[dict[str, float]],
        "id_epochs": int,
        "id_tower_history": list[dict[str, float]],
    },
    total=False,
)


@dataclass(frozen=True)
class System:
    """Fitted scorers over one catalogue and the blend over them.

    Attributes:
        towers: text, id residual and history.
        ids: the same over ids alone where events are many enough to learn from, or None.
        experts: rules, ItemKNN and, where the catalogue allows, EASE and words in common.
        content: text vectors of the base model, whitened.
        lexicon: the words behind the lexical expert, or None where there is none.
        popularity: event counts.
        blend: weights over all of these by name.
        chosen: what validation chose.
        again: how likely and how soon items of a history are taken again, or None where few are.
        repeats: whether people come back to their items, so that these are offered unless a request says otherwise.
    """

    towers: TwoTower
    ids: TwoTower | None
    experts: dict[str, ItemMatrixScorer]
    content: Content
    lexicon: Lexicon | None
    popularity: Popularity
    blend: Blend
    chosen: Chosen
    again: BuyAgain | None = None
    repeats: bool = False

    @property
    def weighing(self) -> Weighing:
        """By how much the events of a history count."""
        return self.chosen.get("weighing", SIGNALS)

    @property
    def learnt(self) -> dict[str, TwoTower]:
        """The trained towers by name."""
        return {TOWERS: self.towers} | ({} if self.ids is None else {IDS: self.ids})

    @property
    def components(self) -> dict[str, Scorer]:
        """All scorers by name."""
        return {**self.learnt, CONTENT: self.content, POPULARITY: self.popularity, **self.sparse}

    @property
    def sparse(self) -> dict[str, ItemMatrixScorer | BuyAgain]:
        """The scorers that name few items, by name."""
        return {**self.experts} if self.again is None else {**self.experts, AGAIN: self.again}

    @property
    def parts(self) -> Parts:
        """What the lists are made of, and what of it hangs on the adapter."""
        return Parts.of(self.blend.weights)

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """The towers' unit vectors, (items, dimensions): what closeness of items is measured by."""
        return self.towers.vectors.cpu().numpy()

    def dense_vectors(self, rows: slice = EVERYTHING) -> dict[str, NDArray[np.float32]]:
        """Return the item vectors of the components whose score is a dot product, (rows, width) by name.

        Side by side they are what the index holds, so that one search serves any weights of the blend.
        """
        learnt = {name: towers.search_matrix(rows) for name, towers in self.learnt.items()}
        return {**learnt, CONTENT: self.content.vectors[rows]}

    def dense_widths(self) -> dict[str, int]:
        """Return how many columns of the index each component of ``dense_vectors`` has, in their order."""
        learnt = {name: towers.vectors.shape[1] + 1 for name, towers in self.learnt.items()}
        return {**learnt, CONTENT: self.content.vectors.shape[1]}

    def new_dense_vectors(
        self, tower_features: NDArray[np.float32], content_features: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Return what ``dense_vectors`` would hold for items that were not trained on, from their whitened vectors."""
        learnt = {name: towers.new_search_rows(tower_features) for name, towers in self.learnt.items()}
        return {**learnt, CONTENT: self.content.unit(content_features)}

    def dense_queries(self, histories: Sequences) -> dict[str, NDArray[np.float32]]:
        """Return the queries that belong to ``dense_vectors``, (rows, width) by name."""
        learnt = {name: towers.search_queries(histories) for name, towers in self.learnt.items()}
        return {**learnt, CONTENT: self.content.queries(histories)}

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) blended scores."""
        return self.blend.score(self.components, histories)

    def save(self, folder: Path) -> None:
        """Write everything into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, towers in self.learnt.items():
            towers.save(folder, name)
        for name, expert in self.experts.items():
            expert.save(folder, name)
        self.content.save(folder, CONTENT)
        if self.lexicon is not None:
            self.lexicon.save(folder, LEXICON)
        save_file({"counts": self.popularity.counts}, folder / f"{POPULARITY}.safetensors")
        settings: dict[str, Any] = {
            "blend": vars(self.blend),
            "ids": self.ids is not None,
            "experts": sorted(self.experts),
            "chosen": self.chosen,
        }
        if self.repeats:
            settings["repeats"] = True
        if self.again is not None and AGAIN in self.blend.weights:
            self.again.save(folder, AGAIN)
            settings["again"] = True
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "System":
        """Read what ``save`` wrote."""
        settings = json.loads((folder / SETTINGS).read_text())
        return cls(
            towers=TwoTower.load(folder),
            ids=TwoTower.load(folder, IDS) if settings.get("ids") else None,
            experts={name: ItemMatrixScorer.load(folder, name) for name in settings["experts"]},
            content=Content.load(folder, CONTENT),
            lexicon=Lexicon.load(folder, LEXICON) if LEXICAL in settings["experts"] else None,
            popularity=Popularity(load_file(folder / f"{POPULARITY}.safetensors")["counts"]),
            blend=Blend(**settings["blend"]),
            chosen=settings["chosen"],
            again=BuyAgain.load(folder, AGAIN) if settings.get("again") else None,
            repeats=bool(settings.get("repeats")),
        )
