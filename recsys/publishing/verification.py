"""Whether a generation is whole, whatever its quality is: nobody, and no reason, serves one that is not.

``verify_stored`` looks at files, ``verify_answers`` at what was opened and how it answers; the gate is asked elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from recsys.artifacts import MANIFEST, ArtifactError
from recsys.data.columns import ITEM_ID
from recsys.data.snapshot import open_snapshot
from recsys.errors import RecsysError
from recsys.home import Home
from recsys.store.adapters import verify_adapter
from recsys.store.generations import generation_snapshot, read_generation
from recsys.store.index import BATCH, ROW, map_vectors, open_index, whole
from recsys.store.manifests import GenerationManifest
from recsys.store.pointer import refuse
from recsys.store.promotions import Cause, Promotion

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender  # torch, which going back has no use for

ASKED = 3  # people of the snapshot, beside one of whom nothing is known
LENGTH = 10  # of their lists


def verify_stored(home: Home, generation_id: str) -> GenerationManifest:
    """Check all that a generation binds: every hash, the index against the snapshot, every number of its files.

    Raises:
        ArtifactError: something is missing, changed, of another size, or no number.
    """
    folder, manifest = read_generation(home, generation_id, verify=True)
    for adapter_id in filter(None, (manifest.adapter, manifest.search_adapter)):
        verify_adapter(home, adapter_id)
    item_ids = generation_snapshot(home, manifest).item_ids()
    with whole(home.lance, manifest.index):
        table = open_index(home.lance, manifest.index)
        named = table.search().select([ROW, ITEM_ID]).limit(manifest.index.rows).to_arrow().sort_by(ROW)
        vectors = map_vectors(home.lance, table, manifest.index)
    if named[ITEM_ID].to_pylist() != item_ids:
        _broken(generation_id, f"its index has {len(named):,} items, which are not the {len(item_ids):,} of snapshot "
                f"{manifest.snapshot}")  # fmt: skip
    row = _without_direction(vectors)
    if row is not None:
        _broken(generation_id, f"the vector of item {item_ids[row]!r} is zero or not finite")
    for path in sorted(folder.glob("*.safetensors")):
        name = _not_finite(path)
        if name is not None:
            _broken(generation_id, f"{path.name} holds a number in {name!r} that is not finite")
    return manifest


def verify_answers(home: Home, recommender: "Recommender") -> None:
    """Check what was opened against its snapshot, and let it answer a few people and somebody unknown.

    Args:
        home: where state lives.
        recommender: as it was opened, without live items.

    Raises:
        ArtifactError: it holds more or fewer users or items, or an answer is short, names an item twice or an unknown
            one, or has a score that is no number.
    """
    counts = open_snapshot(home, recommender.snapshot_id, verify=False).manifest.counts
    catalogue, popularity = recommender.catalogue, recommender.scoring.system.popularity
    sizes = {
        "users": (len(recommender.users.rows), counts.users),
        "items": (len(catalogue), counts.items),
        "vectors": (len(recommender.scoring.source.vectors), counts.items),
        "counts of events by item": (len(popularity.counts), counts.items),
    }
    for name, (found, wanted) in sizes.items():
        if found != wanted:
            _broken(recommender.generation_id, f"it holds {found:,} {name}, its snapshot {wanted:,}")
    people = sorted(recommender.users.rows)
    asked = [people[place * len(people) // ASKED] for place in range(min(ASKED, len(people)))]
    offered = int(catalogue.available.sum())
    for user_id in (None, *asked):
        history = [] if user_id is None else recommender.past(user_id)
        answer = recommender.recommend(history, k=LENGTH)
        ids = [item.item_id for item in answer.items]
        least = min(LENGTH, offered - len(set(history)))
        whom = (
            "somebody unknown" if user_id is None else "somebody of its snapshot"
        )  # the log outlives who is forgotten
        if not least <= len(ids) <= LENGTH:
            _broken(recommender.generation_id, f"it offers {len(ids)} items to {whom}, who was to get {least}")
        if len(set(ids)) < len(ids) or not all(map(recommender.known_item, ids)):
            _broken(recommender.generation_id, f"it offers {whom} an item twice, or one that there is not")
        if not np.isfinite([item.score for item in answer.items]).all():
            _broken(recommender.generation_id, f"it gives {whom} a score that is no number")


@contextmanager
def refusing(home: Home, generation_id: str, served: str | None, cause: Cause, forced: bool = False) -> Iterator[None]:
    """Write into the log of promotions that a generation is broken, where the block finds it so.

    Raises:
        ArtifactError: it is, whatever the block raised.
    """
    try:
        yield
    except Exception as error:  # whatever a broken file makes its reader raise
        said = str(error) if isinstance(error, RecsysError) else f"{type(error).__name__}: {error}"
        if generation_id in (path.parent.name for path in home.generations.glob(f"[!.]*/{MANIFEST}")):  # not mistyped
            found = (said,)
            refuse(
                home,
                Promotion.make("refused", generation_id, served, cause, forced=forced, passed=False, findings=found),
            )
        if isinstance(error, RecsysError):
            raise
        raise ArtifactError(f"Generation {generation_id} cannot be opened: {said}. Train and publish again.") from error


def _without_direction(vectors: NDArray[np.float32]) -> int | None:
    """Return the first row of (items, dimensions) that is zero or not finite."""
    for start in range(0, len(vectors), BATCH):
        norms = np.linalg.norm(vectors[start : start + BATCH], axis=1)
        bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
        if len(bad):
            return start + int(bad[0])
    return None


def _not_finite(path: Path) -> str | None:
    """Return the name of the first tensor of a file with a number that is not finite."""
    with safe_open(path, framework="numpy") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
                return str(name)
    return None


def _broken(generation_id: str, what: str) -> NoReturn:
    raise ArtifactError(f"Generation {generation_id} cannot be served: {what}. Train and publish again.")
