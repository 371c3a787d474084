"""From a generation and pairs of queries and items to a generation whose search has learnt from them.

The new one recommends as the old one does, from the same files: an adapter of the search and the items' vectors by it
are all that is added. What pairs gave is recorded by its inputs below ``runs``; the same inputs again find that.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import Hold, digest, digest_file, mark_used, read_json, short_id, staged_folder, write_json
from recsys.callbacks import RunStage, StageProgress, call, step
from recsys.config import PairsConfig, to_dict
from recsys.data.pairs import Asked, asked_of, read_pairs, split_asked
from recsys.evaluation.report import METRICS_FILE
from recsys.home import Home
from recsys.models.checkpoints import Checkpoint
from recsys.models.encoder.backbone import save_lora
from recsys.publishing.binding import BASE, CHOSEN, QUERY, SEARCHED, TAUGHT
from recsys.ranking.search_vectors import save_search_vectors
from recsys.ranking.text_maps import TextMaps
from recsys.store import records
from recsys.store.adapters import save_adapter, verify_adapter
from recsys.store.generations import commit_generation, generation_snapshot, read_generation
from recsys.store.manifests import SEARCH, AdapterCard, GenerationManifest
from recsys.training.pairs import LearntPairs, PairsFigures, PairsWorth, learn_pairs

_DEFAULT = PairsConfig()


@dataclass(frozen=True)
class SearchTraining:
    """What learning from pairs gave.

    Attributes:
        generation: id of the new generation, or None where the adapter does not pay and was not to be kept.
        adapter: id of the search's adapter, likewise.
        parent: the generation whose search was taught.
        figures: hit@1 and MRR@10 of held-out queries without and with the adapter.
        learnt: how many different queries were learnt from.
        history: loss by epoch.
        reused: whether it was found done.
    """

    generation: str | None
    adapter: str | None
    parent: str
    figures: PairsFigures
    learnt: int
    history: list[dict[str, float]]
    reused: bool = False


def teach_search(
    home: Home,
    generation_id: str,
    pairs: Path,
    config: PairsConfig = _DEFAULT,
    seed: int = 0,
    keep: bool = False,
    notes: Mapping[str, Any] | None = None,
    progress: StageProgress | None = None,
    run: RunStage = call,
) -> SearchTraining:
    """Learn from pairs and bind a generation that searches by what was learnt, where that pays. It is not served yet.

    Args:
        home: where state lives.
        generation_id: whose items are searched; its recommendations stay as they are.
        pairs: a table with ``query`` and ``item_id``, and ``weight`` if pairs do not count alike.
        config: settings.
        seed: fixes what is held out, initialisation and order.
        keep: bind it whether or not it pays.
        notes: what the manifest shall say, as JSON values; no part of its id.
        progress: called with stage, done, total.
        run: what runs a stage.

    Raises:
        ArtifactError: there is no such generation, or something of it has changed.
        SourceError, DataError: the pairs cannot be read, or there are too few of the catalogue's items.
    """
    folder, manifest = read_generation(home, generation_id, verify=True)
    key = short_id(generation_id, digest_file(pairs), to_dict(config), seed, keep, version("recsys"))
    record = home.runs / f"pairs-{key}.json"
    found = records.recorded(record, SearchTraining, partial(check, home))
    if found is not None:
        return found
    held = [Hold(folder)]
    snapshot, maps = generation_snapshot(home, manifest), TextMaps.load(folder)
    item_ids = snapshot.item_ids()
    learnt, held_out = split_asked(asked_of(read_pairs(pairs), item_ids), config.held_out_share, seed)
    checkpoint = Checkpoint(home.runs / f"pairs-{key}.checkpoint", key)
    texts = maps.item_texts(snapshot.items())
    made: LearntPairs = run(
        learn_pairs, texts, learnt, held_out, config, maps.text.max_tokens, seed, progress, checkpoint
    )
    figures, adapter_id, taught = made.worth.to_dict(), None, None
    if made.worth.pays or keep:
        card = search_card(manifest, config, seed, maps.text.max_tokens, made, (len(learnt), len(held_out)))
        adapter_id = save_adapter(home, partial(save_lora, made.backbone), card)
        held.append(Hold(home.adapters / adapter_id))  # until the generation names it
        with step(progress, "Bind"):
            table = searched_table(held_out, item_ids, made.worth)
            taught = bind_search(home, folder, manifest, adapter_id, made.vectors, table, figures, notes or {})
    done = SearchTraining(taught, adapter_id, generation_id, figures, len(learnt), made.history)
    write_json(record, asdict(done))
    checkpoint.remove()
    return done


def bind_search(
    home: Home,
    folder: Path,
    manifest: GenerationManifest,
    adapter_id: str,
    vectors: NDArray[np.float32],
    searched: pl.DataFrame,
    figures: PairsFigures,
    notes: Mapping[str, Any],
) -> str:
    """Bind a generation of another's files and of what its search has learnt; return its id."""
    with staged_folder(home.generations) as staging:
        for file in manifest.files:
            (staging / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, staging / file)
        save_search_vectors(vectors, staging)
        searched.write_parquet(staging / SEARCHED)
        write_json(staging / METRICS_FILE, read_json(folder / METRICS_FILE) | {"search": figures})
        taught = replace(
            manifest, id="", search_adapter=adapter_id, files={}, notes={**manifest.notes, **notes},
            absent=manifest.absent - {"search_adapter"},
        )  # fmt: skip
        return commit_generation(home, staging, taught)


def search_card(
    manifest: GenerationManifest,
    config: PairsConfig,
    seed: int,
    max_tokens: int,
    made: LearntPairs,
    queries: tuple[int, int],
) -> AdapterCard:
    """Return the card of an adapter of the search."""
    return AdapterCard(
        task=SEARCH,
        base=made.backbone.name,
        base_digest=made.backbone.base_digest,
        pooling=made.backbone.recorded_pooling,
        snapshot=manifest.snapshot,
        settings=to_dict(config) | {"seed": seed, "max_tokens": max_tokens},
        training={"history": made.history, "queries": dict(zip(("learnt", "held_out"), queries, strict=True))},
        metrics={"held_out": made.worth.to_dict()},
    )


def searched_table(held_out: Sequence[Asked], item_ids: Sequence[str], worth: PairsWorth) -> pl.DataFrame:
    """Return the reciprocal ranks of held-out queries; what people typed is hashed: a generation outlives them."""
    return pl.DataFrame(
        {
            QUERY: [digest(one.text.casefold().encode()) for one in held_out],
            CHOSEN: [digest("\n".join(item_ids[row] for row in one.rows).encode()) for one in held_out],
            BASE: worth.without,
            TAUGHT: worth.given,
        }
    ).sort(QUERY)


def check(home: Home, done: SearchTraining) -> None:
    """Check that what a recorded training made, where anything was kept, is still there and whole.

    Raises:
        ArtifactError: it is not.
    """
    if done.generation is not None and done.adapter is not None:
        read_generation(home, done.generation, verify=True)
        verify_adapter(home, done.adapter)
        mark_used(home.generations / done.generation)
