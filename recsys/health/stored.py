"""What is stored: whether snapshots, adapters, generations, the pointer and the index are what they were.

All of it is bound by hashes, so a bit that has turned is found; ``quick`` reads manifests and sizes alone.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from recsys.artifacts import MANIFEST, ArtifactError, digest_file, verify_folder
from recsys.callbacks import StageProgress
from recsys.data.columns import ITEM_ID
from recsys.data.snapshot import list_snapshots, open_snapshot
from recsys.errors import RecsysError
from recsys.health.findings import Seen, failed, fine, warning
from recsys.home import Home
from recsys.remote.listing import ADAPTERS, GENERATIONS, SNAPSHOTS, TABLES, folder_of, read_known
from recsys.store.adapters import read_card, verify_adapter
from recsys.store.generations import read_generation
from recsys.store.index import (
    APPROXIMATE_FROM,
    BATCH,
    ROW,
    TEXT,
    VECTOR,
    content_digest,
    open_index,
    whole,
)
from recsys.store.manifests import CARD, TABLE_FOLDER, GenerationManifest, IndexReference
from recsys.store.pointer import read_pointer
from recsys.store.standing import stored_ids

REPAIR = "Restore it from a backup; or delete it, and make it anew from what it was made of."


def look_at_snapshots(home: Home, quick: bool, progress: StageProgress | None = None) -> Iterator[Seen]:
    """See whether each snapshot's files are those of its manifest."""

    def look(snapshot_id: str) -> None:
        folder = home.snapshots / snapshot_id
        files = open_snapshot(home, snapshot_id, verify=False).manifest.files
        _verify(folder, files, MANIFEST, quick)

    yield from _each("snapshots", *_here(home, SNAPSHOTS, stored_ids(home.snapshots, MANIFEST)), look, quick, progress)
    yield from _strangers(home.snapshots, MANIFEST)


def look_at_adapters(home: Home, quick: bool, progress: StageProgress | None = None) -> Iterator[Seen]:
    """See whether each adapter's files are those of its card, and the card that of the id."""

    def look(adapter_id: str) -> None:
        if quick:
            _verify(home.adapters / adapter_id, read_card(home, adapter_id).files, CARD, quick)
        else:
            verify_adapter(home, adapter_id)

    yield from _each("adapters", *_here(home, ADAPTERS, stored_ids(home.adapters, CARD)), look, quick, progress)
    yield from _strangers(home.adapters, CARD)


def look_at_generations(home: Home, quick: bool, progress: StageProgress | None = None) -> Iterator[Seen]:
    """See whether each generation's files are those of its manifest, and what it stands on is there."""

    def look(generation_id: str) -> None:
        folder, manifest = read_generation(home, generation_id, verify=not quick)
        _verify(folder, manifest.files, MANIFEST, True)
        if manifest.snapshot in contents:
            found = contents[manifest.snapshot]
        else:  # which says what is wrong with it
            found = open_snapshot(home, manifest.snapshot, verify=False).manifest.content_digest
        if manifest.snapshot_digest not in (None, found):
            raise ArtifactError(f"Snapshot {manifest.snapshot} is not the one that generation {generation_id} binds.")
        for adapter_id in filter(None, (manifest.adapter, manifest.search_adapter)):
            read_card(home, adapter_id)

    contents = {one.id: one.manifest.content_digest for one in list_snapshots(home)}
    here = _here(home, GENERATIONS, stored_ids(home.generations, MANIFEST))
    yield from _each("generations", *here, look, quick, progress)
    yield from _strangers(home.generations, MANIFEST)


def look_at_pointer(home: Home, quick: bool) -> Iterator[Seen]:
    """See what is served, whether it is whole, and whether there is a way back."""
    pointer = read_pointer(home)
    if pointer is None:
        if stored_ids(home.generations, MANIFEST):
            yield warning("No generation is served, and there are some.", "`recsys publish` serves the newest.")
        else:
            yield fine("no generation is served, and there is none")
        return
    try:
        read_generation(home, pointer.generation, verify=not quick)
        yield fine(f"generation {pointer.generation} is served{'' if quick else ', and is whole'}")
    except RecsysError as error:
        yield failed(
            f"Generation {pointer.generation} is served and is not whole: {error}",
            "`recsys rollback` goes back to the one before, `recsys publish` to the newest.",
        )
    gone = sorted({one for one in pointer.trail if not (home.generations / one / MANIFEST).is_file()})
    if pointer.generation not in pointer.trail[-1:]:
        yield failed("The pointer's trail does not end with what is served.", "Publish again: it is written anew.")
    if [one for one in gone if one in pointer.trail[-2:-1]]:
        yield warning(f"Generation {pointer.trail[-2]}, which a rollback goes to, is gone.", "Publish once more.")


def look_at_index(home: Home, quick: bool, progress: StageProgress | None = None) -> Iterator[Seen]:
    """See whether LanceDB has the versions that generations name, whole and indexed."""
    references: dict[tuple[str, int], IndexReference] = {}
    for generation_id in sorted(stored_ids(home.generations, MANIFEST)):
        with suppress(RecsysError):  # told by another check
            manifest: GenerationManifest = read_generation(home, generation_id)[1]
            references.setdefault((manifest.index.table, manifest.index.version), manifest.index)
    slow: list[str] = []

    def look(name: str) -> None:
        reference = by_name[name]
        with whole(home.lance, reference):
            table = open_index(home.lance, reference)
            indexed = {column for one in table.list_indices() for column in one.columns}
            wanted = {TEXT} | ({VECTOR} if reference.rows >= APPROXIMATE_FROM else set())
            slow.extend(f"{column} of {name} has no index" for column in sorted(wanted - indexed))
            for one in table.list_indices():
                found = table.index_stats(one.name)
                if found is not None and found.num_unindexed_rows:
                    slow.append(f"{found.num_unindexed_rows:,} rows of {name} are not in the index {one.name}")
            if not quick and _stored_digest(table, reference) != reference.digest:
                raise ArtifactError(f"The LanceDB table {name} holds other ids, vectors or texts than were indexed.")

    folders = {f"{table}{TABLE_FOLDER}" for table, _ in references}
    here, elsewhere = _here(home, TABLES, folders)
    by_name = {
        f"{table} (version {version})": one
        for (table, version), one in references.items()
        if f"{table}{TABLE_FOLDER}" in here
    }
    yield from _each("tables", by_name, elsewhere, look, quick, progress)
    for said in slow:
        yield warning(f"{said}: searches are slow.", "Train and publish again: a table is indexed when it is made.")


def _stored_digest(table: object, reference: IndexReference) -> str:
    """Return the digest of a table's ids, vectors and texts; the vectors are held in memory once."""
    vectors = np.zeros((reference.rows, reference.dimensions), np.float32)
    ids, texts = [""] * reference.rows, [""] * reference.rows
    found = table.search().select([ROW, ITEM_ID, TEXT, VECTOR]).limit(reference.rows)  # type: ignore[attr-defined]
    for batch in found.to_batches(BATCH):
        rows = batch[ROW].to_pylist()
        vectors[rows] = batch[VECTOR].flatten().to_numpy().reshape(-1, reference.dimensions)
        for row, item_id, text in zip(rows, batch[ITEM_ID].to_pylist(), batch[TEXT].to_pylist(), strict=True):
            ids[row], texts[row] = item_id, text
    return content_digest(ids, vectors, texts)


def _here(home: Home, room: str, names: Iterable[str]) -> tuple[set[str], int]:
    """Return what of some stored things is on this machine, and how many its object store alone has whole."""
    asked = set(names)
    listed = {name: read_known(home, room, name) for name in asked}
    here = {name for name, one in listed.items() if one is None or not one.missing(folder_of(home, room, name))}
    return here, len(asked) - len(here)


def _each(
    kind: str,
    names: Iterable[str],
    elsewhere: int,
    look: Callable[[str], None],
    quick: bool,
    progress: StageProgress | None,
) -> Iterator[Seen]:
    """Look at each of some stored things; what is wrong with one hides no other."""
    ordered, wrong = sorted(names), 0
    for place, name in enumerate(ordered):
        if progress is not None:
            progress(f"Look at {kind}", place, len(ordered))
        try:
            look(name)
        except (RecsysError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            wrong += 1
            said = str(error) if isinstance(error, RecsysError) else f"{name}: {type(error).__name__}: {error}"
            yield failed(said, REPAIR)
    if progress is not None and ordered:
        progress(f"Look at {kind}", len(ordered), len(ordered))
    if not wrong:
        looked = "are there (--quick: nothing was hashed)" if quick else "are what they were"
        others = f"; {elsewhere} more are in the store alone" if elsewhere else ""
        yield fine((f"{len(ordered)} {looked}" if ordered else "there are none here") + others)


def _verify(folder: Path, files: dict[str, str], manifest: str, quick: bool) -> None:
    if not quick:
        verify_folder(folder, files | {manifest: digest_file(folder / manifest)}, REPAIR)
        return
    for name in files:
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder / name} is missing. {REPAIR}")


def _strangers(room: Path, marker: str) -> Iterator[Seen]:
    """See folders that hold nothing of ours, or what has lost the file that says what it is."""
    if room.is_dir():
        for path in sorted(room.glob("[!.]*/")):
            if not (path / marker).is_file():
                yield warning(f"{path} has no {marker}, so nobody knows what it is.", "Restore the file, or remove it.")
