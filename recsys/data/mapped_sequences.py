"""A snapshot's sequences as columns in files, which a training and the workers of a service map and share.

They lie in the cache of the home, below the snapshot's id and the digest of what it holds, and are made from the
snapshot whenever they are not there. Whoever deletes a snapshot, or changes what is in it, discards them.
"""

import contextlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from recsys.artifacts import (
    ID_DIGITS,
    ArtifactError,
    commit_folder,
    digest_file,
    digest_folder,
    discard_folder,
    read_json,
    short_id,
    staged_folder,
    verify_folder,
    write_json,
)
from recsys.config import to_dict
from recsys.data.sequences import EventSignals, Sequences
from recsys.data.signals import Signals
from recsys.data.snapshot import Snapshot
from recsys.home import Home

MAPPED_FROM = 1_000_000  # events; fewer are read from the snapshot's tables in a moment
FOLDER, MEANING = "sequences", "meaning.json"
_LOG = logging.getLogger(__name__)


def mapped_sequences(snapshot: Snapshot, tie_seed: int | None = None, signals: Signals | None = None) -> Sequences:
    """Return ``snapshot.sequences``; those of many events are mapped from files, which are written first if need be."""
    if snapshot.manifest.counts.events < MAPPED_FROM:
        return snapshot.sequences(tie_seed, signals)
    rules = None if signals is None else [to_dict(rule) for rule in signals.rules]
    kept = _folder(Home(snapshot.path.parents[1]), snapshot.id) / snapshot.manifest.content_digest[:ID_DIGITS]
    place = kept / short_id(tie_seed, rules)
    found = read_mapped(place)
    if found is not None:
        return found
    made = snapshot.sequences(tie_seed, signals)
    try:
        kept.mkdir(parents=True, exist_ok=True)
        for stale in [*kept.parent.iterdir(), place]:  # of what the snapshot held before, or damaged
            if stale not in (kept, place) or (stale == place and place.exists()):
                discard_folder(stale)
        write_mapped(made, place)
    except OSError as error:  # a home that may only be read, or is full
        _LOG.warning("The sequences of snapshot %s are not kept in %s: %s", snapshot.id, place, error)
        return made
    return read_mapped(place) or made


def discard_sequences(home: Home, snapshot_id: str) -> None:
    """Delete what is kept of a snapshot's sequences, if anything is; who has mapped them reads on."""
    with contextlib.suppress(FileNotFoundError):
        discard_folder(_folder(home, snapshot_id))


def write_mapped(sequences: Sequences, place: Path) -> None:
    """Write sequences as a folder of columns, whole or not at all."""
    signals = sequences.signals
    with staged_folder(place.parent) as staging:
        columns: dict[str, Any] = {"items": sequences.items, "offsets": sequences.offsets, "times": sequences.times}
        if signals is not None:
            columns |= {"kinds": signals.kinds, "weights": signals.weights}
        for name, column in columns.items():
            if column is not None:
                np.save(staging / f"{name}.npy", column)
        meaning: dict[str, Any] = {"events": len(sequences.items), "timed": sequences.times is not None}
        meaning["files"] = digest_folder(staging)
        if signals is not None:
            meaning |= {"roles": signals.roles, "taking": signals.taking, "names": signals.names}
        write_json(staging / MEANING, meaning)
        commit_folder(staging, place)


def read_mapped(place: Path) -> Sequences | None:
    """Return the sequences of a folder, mapped and not to be written to; None: it is not there, or is damaged."""
    try:
        meaning = read_json(place / MEANING)
        verify_folder(place, meaning["files"] | {MEANING: digest_file(place / MEANING)})
        items, offsets = _column(place, "items", meaning["events"]), _column(place, "offsets")
        times = _column(place, "times", meaning["events"]) if meaning["timed"] else None
        signals = None
        if "roles" in meaning:
            kinds, weights = (_column(place, name, meaning["events"]) for name in ("kinds", "weights"))
            signals = EventSignals(kinds, weights, *(tuple(meaning[name]) for name in ("roles", "taking", "names")))
        return Sequences(items, offsets, times, signals) if int(offsets[-1]) == meaning["events"] else None
    except (ArtifactError, OSError, ValueError, KeyError, TypeError):
        return None


def _column(place: Path, name: str, length: int | None = None) -> Any:
    column = np.asarray(np.load(place / f"{name}.npy", mmap_mode="r"))
    if length is not None and len(column) != length:
        raise ValueError(f"{place / name}.npy has {len(column)} values, and there are {length} events.")
    return column


def _folder(home: Home, snapshot_id: str) -> Path:
    return home.cache / FOLDER / snapshot_id
