"""A generation and all that it stands on in a folder of its own, to be carried to another machine and served there.

The folder is a home of what never changes: snapshot, adapters, table and generation, each as its own home has it. No
live event, no key and no log of a home is in it; of the people in the snapshot, all that the snapshot says.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recsys.artifacts import Hold, commit_folder, locked, make_room, staged_folder, write_json
from recsys.home import Home
from recsys.record import Record
from recsys.store.adapters import verify_adapter
from recsys.store.generations import ConflictError, current_id, generation_snapshot, promote, read_generation
from recsys.store.index import indexing
from recsys.store.manifests import TABLE_FOLDER, GenerationManifest
from recsys.store.promotions import Cause, Promotion

BUNDLE = "bundle.json"
_LOCK = ".bundle.lock"


@dataclass(frozen=True, kw_only=True)
class Bundle(Record):
    """What is in a bundle.

    Attributes:
        generation: its id.
    """

    generation: str


def bundle_generation(home: Home, generation_id: str, folder: Path) -> None:
    """Copy a generation, and all that it stands on, into an empty folder.

    Raises:
        ArtifactError: something of it is missing or broken.
    """
    held = Hold(read_generation(home, generation_id)[0])  # so that nothing of it is pruned meanwhile
    for path in _parts(home, _verified(home, generation_id)):
        shutil.copytree(path, folder / path.relative_to(home.root))
    write_json(folder / BUNDLE, {"generation": generation_id})
    del held


def read_bundle(folder: Path) -> Bundle:
    """Return what is in a bundle.

    Raises:
        ArtifactError: the folder is none.
    """
    return Bundle.read(folder / BUNDLE, "Make the bundle again.")


def serve_bundle(folder: Path, home: Home, cause: Cause) -> str | None:
    """Serve a bundled generation in a home that serves nothing yet; return what the home serves then.

    A home that serves something is left as it is: whoever runs it may have published since. Several processes may ask
    for the same at once.

    Raises:
        ArtifactError: the bundle is broken; the home serves nothing.
        OSError: the home cannot be written to.
    """
    if (served := current_id(home)) is not None:
        return served
    generation_id = read_bundle(folder).generation
    bundled = Home(folder)
    manifest = _verified(bundled, generation_id)
    with locked(home.make().root / _LOCK), indexing(home.lance):
        for path in _parts(bundled, manifest):
            _install(path, home.root / path.relative_to(folder))
        made = Promotion.make("publish", generation_id, None, cause)
        with suppress(ConflictError):  # somebody has published meanwhile
            promote(home, generation_id, None, made)
    return current_id(home)


def _verified(home: Home, generation_id: str) -> GenerationManifest:
    """Compare every file that a generation stands on with its hash; return what it is.

    Raises:
        ArtifactError: something is missing or broken.
    """
    manifest = read_generation(home, generation_id, verify=True)[1]
    generation_snapshot(home, manifest)
    for adapter_id in _adapters(manifest):
        verify_adapter(home, adapter_id)
    return manifest


def _adapters(manifest: GenerationManifest) -> list[str]:
    return [one for one in dict.fromkeys((manifest.adapter, manifest.search_adapter)) if one is not None]


def _parts(home: Home, manifest: GenerationManifest) -> Iterator[Path]:
    """Yield the folders of what a generation stands on, and its own as the last."""
    yield home.snapshots / manifest.snapshot
    yield from (home.adapters / adapter_id for adapter_id in _adapters(manifest))
    yield home.lance / f"{manifest.index.table}{TABLE_FOLDER}"
    yield home.generations / manifest.id


def _install(source: Path, final: Path) -> None:
    """Copy a folder to its place in one step; one that is there stays."""
    if final.exists():
        return
    with staged_folder(make_room(final.parent)) as staging:
        shutil.copytree(source, staging, dirs_exist_ok=True)
        commit_folder(staging, final)
