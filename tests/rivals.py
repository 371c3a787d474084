"""A second adapter and its generation, without training it: the same parts under another name, with other figures."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts import staged_folder
from recsys.evaluation.report import OURS
from recsys.home import Home
from recsys.publishing.binding import HELD_OUT, read_held_out
from recsys.store.adapters import read_card, save_adapter
from recsys.store.generations import commit_generation, current_id, read_generation
from recsys.store.manifests import CARD


def renamed(home: Home, adapter: str, seed: int = 1, **changes: Any) -> str:
    """Store an adapter once more, as if it had been trained with another seed; return the id."""
    card = read_card(home, adapter)
    changed = replace(card, **{"id": "", "files": {}, "settings": card.settings | {"seed": seed}} | changes)
    ignored = shutil.ignore_patterns(CARD)

    def write(folder: Path) -> None:
        shutil.copytree(home.adapters / adapter, folder, ignore=ignored, dirs_exist_ok=True)

    return save_adapter(home, write, changed)


def rival(home: Home, change: pl.Expr, keep: slice = slice(None)) -> tuple[str, str]:
    """Bind the served generation once more, as another adapter's, with other figures; return both adapters."""
    folder, manifest = read_generation(home, str(current_id(home)))
    other = renamed(home, manifest.adapter)
    with staged_folder(home.generations) as staging:
        for name in manifest.files:
            shutil.copy(folder / name, staging / name)
        read_held_out(folder).with_columns(change.alias(OURS))[keep].write_parquet(staging / HELD_OUT)
        commit_generation(home, staging, replace(manifest, adapter=other))
    return manifest.adapter, other
