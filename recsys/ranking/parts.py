"""What a generation's lists are made of: the weight of each component in the blend, and how much hangs on its adapter.

Read from the generation's settings alone, so that whoever lists generations needs no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.artifacts import ArtifactError, read_json

SETTINGS = "system.json"
ADAPTED = (
    "towers"  # the only component that reads the adapter's text: content and the search by meaning read the base's
)

COMPONENTS = {
    "towers": "taste learnt over the adapter's text: a Transformer over the history, a projection of the text",
    "ids": "the same learnt over item ids alone, without text",
    "content": "nearness to the history's items by the base model's text, whitened; the adapter has no part in it",
    "lexical": "words in common with the history's items (BM25)",
    "rules": "what follows what, newer events counting more",
    "knn": "what the same people chose (ItemKNN)",
    "ease": "what goes together, in closed form (EASE)",
    "popularity": "how often an item was chosen, newer events counting more",
    "again": "what the history holds, by how likely and how soon it is taken again",
}


@dataclass(frozen=True)
class Parts:
    """The weights of a blend, whose components' scores have one scale for each user.

    Attributes:
        weights: by component, the largest first; a component that is absent has none.
    """

    weights: dict[str, float]

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> "Parts":
        """Return the parts of a blend's weights."""
        kept = {name: float(weight) for name, weight in weights.items() if weight > 0}
        return cls(dict(sorted(kept.items(), key=lambda pair: (-pair[1], pair[0]))))

    @classmethod
    def read(cls, folder: Path) -> "Parts | None":
        """Return the parts of the system in a generation's folder, or None where it has no readable one."""
        try:
            return cls.of(read_json(folder / SETTINGS)["blend"]["weights"])
        except (ArtifactError, KeyError, TypeError, ValueError, AttributeError):
            return None

    @property
    def shares(self) -> dict[str, float]:
        """Each component's share of all weight, the largest first; they sum to 1."""
        whole = sum(self.weights.values())
        return {name: weight / whole for name, weight in self.weights.items()}

    @property
    def adapter_share(self) -> float:
        """The share of the weight that hangs on the adapter's text, from 0 to 1."""
        return self.shares.get(ADAPTED, 0.0)

    @property
    def adapter_part(self) -> str:
        """What the adapter moves, as one reads it."""
        if self.adapter_share:
            return (
                f"The adapter's part in this generation's lists: the towers, which read its text, have "
                f"{100 * self.adapter_share:.0f} % of the blend's weight."
            )
        return (
            "The adapter has no part in this generation's lists: the blend gives the towers no weight. It still moves "
            "similar items, diversity and vectors of texts; new items and searches stand on the base's text alone."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return weights, the adapter's share and the sentence about it as JSON values."""
        return {"weights": self.weights, "adapter_share": self.adapter_share, "adapter_part": self.adapter_part}


def parts_of(folder: Path) -> dict[str, Any]:
    """Return the parts of a generation's folder as JSON values; null where it has no readable system."""
    found = Parts.read(folder)
    return dict.fromkeys(("weights", "adapter_share", "adapter_part")) if found is None else found.to_dict()
