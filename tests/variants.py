"""A second generation beside the one that the pipeline made: another adapter, another blend, other lists."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from recsys.artifacts import MANIFEST, staged_folder
from recsys.config import IngestConfig, SignalConfig, to_dict
from recsys.data.snapshot import open_snapshot, write_snapshot
from recsys.evaluation.report import OURS
from recsys.home import Home
from recsys.publishing.binding import HELD_OUT
from recsys.store.adapters import read_card, save_adapter
from recsys.store.generations import commit_generation, current_id, read_generation
from recsys.store.manifests import CARD


def make_variant(
    home: Home, weights: dict[str, float], worse: bool = False, adapter: str | None = None
) -> tuple[str, str]:
    """Commit a generation like the current one, by an adapter of its own and with other weights; return both ids.

    With ``worse`` its held-out figures are such that the gate refuses it; with ``adapter`` it is by that one.
    """
    folder, manifest = read_generation(home, str(current_id(home)))
    source = home.adapters / manifest.adapter
    card = read_card(home, manifest.adapter)

    def write(place: Path) -> None:
        shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns(CARD))

    variant = replace(card, parent=manifest.adapter, further={"weights": weights})
    adapter_id = adapter or save_adapter(home, write, variant)
    with staged_folder(home.generations) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        settings = json.loads((staging / "system.json").read_text())
        settings["blend"] = {"weights": weights, "powers": dict.fromkeys(weights, 1.0)}
        (staging / "system.json").write_text(json.dumps(settings))
        if worse:
            held_out = pl.read_parquet(staging / HELD_OUT)
            held_out.with_columns(pl.lit(0.0).alias(OURS)).write_parquet(staging / HELD_OUT)
        return commit_generation(home, staging, replace(manifest, adapter=adapter_id, notes={})), adapter_id


def describe_users(home: Home, users: pl.DataFrame | None, context: pl.DataFrame | None = None) -> str:
    """Commit a generation like the current one, of a snapshot that has a table of users beside; return its id.

    With ``context``, columns of its events, a row each, these are declared as well.
    """
    folder, manifest = read_generation(home, str(current_id(home)))
    snapshot = open_snapshot(home, manifest.snapshot)
    events = snapshot.events() if context is None else pl.concat([snapshot.events(), context], how="horizontal")
    config = IngestConfig(context_columns=None if context is None else tuple(context.columns))
    described = write_snapshot(home, events, snapshot.items(), snapshot.quarantine(), config=config, users=users)
    bound = replace(
        manifest, snapshot=described.id, snapshot_digest=described.manifest.content_digest, notes={}, absent=frozenset()
    )
    with staged_folder(home.generations) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        return commit_generation(home, staging, bound)


def rewritten(home: Home, items: pl.DataFrame) -> str:
    """Commit a generation like the current one, of a snapshot with other columns of the same items; return its id."""
    folder, manifest = read_generation(home, str(current_id(home)))
    snapshot = open_snapshot(home, manifest.snapshot)
    other = write_snapshot(home, snapshot.events(), items, snapshot.quarantine())
    bound = replace(
        manifest, snapshot=other.id, snapshot_digest=other.manifest.content_digest, notes={}, absent=frozenset()
    )
    with staged_folder(home.generations) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        return commit_generation(home, staging, bound)


def give_meaning(home: Home, rules: Sequence[SignalConfig]) -> str:
    """Commit a generation like the current one, to which events mean what some rules say; return its id."""
    folder, manifest = read_generation(home, str(current_id(home)))
    settings = manifest.settings | {"signals": [to_dict(rule) for rule in rules]}
    with staged_folder(home.generations) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        return commit_generation(home, staging, replace(manifest, settings=settings, notes={}))
