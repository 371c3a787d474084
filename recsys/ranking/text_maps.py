"""How a generation's items became text, and how text vectors became features.

Kept with the generation, so that a new item gets the vectors that it would have had in training.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from safetensors.numpy import load_file, save_file

from recsys.config import TextConfig, from_stored, to_dict
from recsys.data.text import chosen_fields, item_texts
from recsys.models.towers.whitening import Whitening
from recsys.ranking.system import CONTENT, TOWERS

SETTINGS, MAPS = "text.json", "text.safetensors"


@dataclass(frozen=True)
class TextMaps:
    """How a generation's items became text, and text vectors became features.

    Attributes:
        text: settings with the fields written out.
        towers: the map from base and adapter vectors side by side to the towers' features.
        content: the map from base vectors to the features of content-based filtering.
    """

    text: TextConfig
    towers: Whitening
    content: Whitening

    def item_texts(self, items: pl.DataFrame) -> list[str]:
        """Return the texts of item rows, read as the catalogue was; columns that are absent count as empty."""
        absent = [name for name in self.text.fields or () if name not in items.columns]
        return item_texts(items.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in absent), self.text)

    def save(self, folder: Path) -> None:
        """Write ``text.json`` and ``text.safetensors``."""
        (folder / SETTINGS).write_text(json.dumps(to_dict(self.text), indent=2, sort_keys=True) + "\n")
        maps = {TOWERS: self.towers, CONTENT: self.content}
        save_file(
            {f"{name}.{key}": value for name, one in maps.items() for key, value in vars(one).items()}, folder / MAPS
        )

    @classmethod
    def load(cls, folder: Path) -> "TextMaps":
        """Read what ``save`` wrote."""
        tensors = load_file(folder / MAPS)
        towers, content = (Whitening(tensors[f"{name}.mean"], tensors[f"{name}.matrix"]) for name in (TOWERS, CONTENT))
        return cls(from_stored(TextConfig, json.loads((folder / SETTINGS).read_text())), towers, content)


def written_out(items: pl.DataFrame, config: TextConfig) -> TextConfig:
    """Return text settings whose fields no longer depend on the catalogue, so that a new item is read alike."""
    return replace(config, fields=chosen_fields(items, config))
