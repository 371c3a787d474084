"""Generations: everything one answer needs, bound by hashes, and the small pointer to the one that is served.

A generation is committed in one rename and never changes. Switching replaces one file; a crash leaves the old pointer
or the new.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING

from recsys.artifacts import (
    MANIFEST,
    ArtifactError,
    check_id,
    commit_folder,
    digest_file,
    digest_folder,
    made_at,
    now,
    read_each,
    refuse_links,
    remove_staging,
    verify_folder,
    write_json,
)
from recsys.home import Home
from recsys.remote.bucket import OvertakenError
from recsys.remote.claims import deleting, putting
from recsys.remote.folders import discard_stored, fetch, found, push_generation, withdraw
from recsys.remote.listing import GENERATIONS, TABLES, known
from recsys.store.manifests import MADE, TABLE_FOLDER, GenerationManifest, IndexReference
from recsys.store.names import GENERATION, forget_names, steady_names
from recsys.store.pointer import leave_trail, pointer_lock, read_pointer, switch, trail_of
from recsys.store.promotions import Cause, Promotion
from recsys.store.shadow import read_shadow

if TYPE_CHECKING:
    from recsys.data.snapshot import Snapshot

_LOG = logging.getLogger(__name__)


class ConflictError(ArtifactError):
    """Another generation was served meanwhile than the one that a decision rested on. The pointer stays."""

    passing = True


def commit_generation(home: Home, staging: Path, manifest: GenerationManifest) -> str:
    """Seal a staging folder as a generation and return its id.

    Args:
        home: where state lives.
        staging: a folder below ``home.generations`` with the generation's own files.
        manifest: what else the generation stands on; its id and files are filled in, and when it was made.
    """
    sealed = manifest.sealed(digest_folder(staging))
    sealed = replace(sealed, notes={**sealed.notes, MADE: now()})
    write_json(staging / MANIFEST, sealed.to_dict())
    commit_folder(staging, home.generations / sealed.id)
    _keep(home, sealed)
    return sealed.id


def read_generation(home: Home, generation_id: str, verify: bool = False) -> tuple[Path, GenerationManifest]:
    """Return a generation's folder and manifest; with ``verify`` every file is hashed and compared.

    Raises:
        ArtifactError: there is no such generation, or it is not what it was.
    """
    check_id(generation_id, "generation")
    fetch(home, GENERATIONS, generation_id)
    folder, manifest = home.generations / generation_id, read_manifest(home, generation_id)
    if verify:
        path = folder / MANIFEST
        verify_folder(folder, manifest.files | {MANIFEST: digest_file(path)})
        if manifest.content_id != generation_id:
            raise ArtifactError(f"{path} has changed since it was written. Publish again, or roll back.")
    return folder, manifest


def read_manifest(home: Home, generation_id: str) -> GenerationManifest:
    """Return a generation's manifest; of a home on an object store its other files may not be here.

    Raises:
        ArtifactError: there is no such generation, or the manifest is another's.
    """
    check_id(generation_id, "generation")
    found(home, GENERATIONS, generation_id)
    folder = home.generations / generation_id
    path = folder / MANIFEST
    refuse_links(home.generations, folder)
    if not path.is_file():
        raise ArtifactError(f"There is no generation {generation_id!r}. `recsys generations` lists those that exist.")
    manifest = GenerationManifest.read(path, "Publish again, or roll back.")
    if manifest.id != generation_id:
        raise ArtifactError(f"{path} has changed since it was written: it names another. Roll back.")
    return manifest


def generation_snapshot(home: Home, manifest: GenerationManifest) -> "Snapshot":
    """Open the snapshot that a generation was made from, and check that it is the very one.

    Raises:
        ArtifactError: it is missing or is not what it was.
    """
    from recsys.data.snapshot import open_snapshot  # Polars, which a list of generations has no use for

    return open_snapshot(home, manifest.snapshot, content_digest=manifest.snapshot_digest)


def list_generations(home: Home) -> list[GenerationManifest]:
    """Return the manifests of all generations, by id; a folder without a manifest of ours is left out."""
    return read_each(home.generations, MANIFEST, lambda generation_id: read_manifest(home, generation_id))


def newest_last(home: Home) -> list[GenerationManifest]:
    """Return the manifests of all generations in the order in which they were made."""
    return sorted(list_generations(home), key=lambda one: (when_made(home, one), one.id))


def newest_with(home: Home, *adapters: str) -> str | None:
    """Return the id of the newest generation that one of some adapters made, or None where they made none."""
    made = [one.id for one in newest_last(home) if one.adapter in adapters]
    return made[-1] if made else None


def newest_id(home: Home, served: bool = True) -> str:
    """Return the id of the newest generation; without ``served``, of the newest that is not current.

    Raises:
        ArtifactError: there is none.
    """
    current = current_id(home)
    found = [one.id for one in newest_last(home) if served or one.id != current]
    if not found:
        such = "generation" if served else "generation that is not served"
        raise ArtifactError(f"There is no {such} in {home.generations}. Run `recsys train` first.")
    return found[-1]


def when_made(home: Home, manifest: GenerationManifest) -> datetime:
    """Return when a generation was made (UTC)."""
    return made_at(manifest.notes.get(MADE), home.generations / manifest.id / MANIFEST)


def report_path(home: Home, generation_id: str) -> Path:
    """Return where the page about a generation's training lies, if it was written."""
    return home.runs / f"report-{generation_id}.html"


def current_id(home: Home) -> str | None:
    """Return the id of the generation that is served, or None before the first one.

    Raises:
        ArtifactError: the pointer is broken.
    """
    pointer = read_pointer(home)
    return None if pointer is None else pointer.generation


def promote(
    home: Home,
    generation_id: str,
    expected: str | EllipsisType | None = ...,
    promotion: Promotion | None = None,
) -> None:
    """Point at a generation after checking every file of it; all workers follow, and the log has a line more.

    Args:
        home: where state lives.
        generation_id: what shall be served.
        expected: what must be served until now, None for nothing; an ellipsis: whatever is.
        promotion: how it was decided; None: by whoever runs this, without a gate.

    Raises:
        ArtifactError: the generation is missing or broken; the pointer stays.
        ConflictError: another one than ``expected`` is served; the pointer stays.
    """
    _, manifest = read_generation(home, generation_id, verify=True)
    with putting(home), pointer_lock(home):
        _keep(home, manifest)
        read_manifest(home, generation_id)  # somebody may have deleted it while its files were read
        trail = trail_of(home)
        served = trail[-1] if trail else None
        if served == generation_id:
            return
        if expected is not ... and served != expected:
            raise ConflictError(
                f"Generation {served} was published while {generation_id} was being judged against "
                f"{expected or 'nothing'}. Publish again to have it judged against {served}."
            )
        decided = promotion or Promotion.make("publish", generation_id, served, Cause())
        _switch(home, [*trail, generation_id], replace(decided, previous=served))


def rollback(
    home: Home,
    expected: str | EllipsisType | None = ...,
    to: str | None = None,
    cause: Cause | None = None,
) -> str:
    """Point back at the generation before the current one, or at any other; return its id.

    What is gone back from is no way back: going back twice goes back two steps, and who goes back after another was
    published comes to where that one was published from.

    Args:
        home: where state lives.
        expected: what must be served until now; an ellipsis: whatever is. Of two that roll back at once one goes back.
        to: the generation to go to; None: the one before. Where it is served already, nothing happens.
        cause: who goes back and why; None: whoever runs this.

    Raises:
        ArtifactError: there is none before it, or it is missing or broken; the pointer stays.
        ConflictError: another one than ``expected`` is served; the pointer stays.
        SettingError: the reason is none.
    """
    cause = cause or Cause()
    cause.check()
    with putting(home), pointer_lock(home):
        served = current_id(home)
        if expected is not ... and served != expected:
            raise ConflictError(
                f"Generation {served} is served, no longer {expected}. Look again before you roll back."
            )
        target = previous_id(home) if to is None else to
        _keep(home, read_generation(home, target, verify=True)[1])
        if target != served:
            back = Promotion.make("rollback", target, served, cause)
            _switch(home, _trail_back(trail_of(home), target), back)
        return target


def _switch(home: Home, trail: list[str], promotion: Promotion) -> None:
    """Move the pointer.

    Raises:
        ConflictError: another machine has moved it in the same moment.
    """
    try:
        switch(home, trail, promotion)
    except OvertakenError:
        raise ConflictError(
            f"Another machine has served another generation than {trail[-1]} meanwhile. Look again, and repeat it."
        ) from None


def _keep(home: Home, manifest: GenerationManifest) -> None:
    """Have the store of a home keep a generation, with what it stands on."""
    adapters = [one for one in (manifest.adapter, manifest.search_adapter) if one is not None]
    push_generation(home, manifest.id, manifest.snapshot, adapters, f"{manifest.index.table}{TABLE_FOLDER}")


def _trail_back(trail: list[str], target: str) -> list[str]:
    """Return the trail on which a generation is gone back to: as it was then, or in the place of what is served."""
    earlier = trail[:-1]
    if target not in earlier:
        return [*earlier, target]
    return earlier[: len(earlier) - earlier[::-1].index(target)]


def previous_id(home: Home) -> str:
    """Return the id of the generation that ``rollback`` would go back to.

    Raises:
        ArtifactError: there is none.
    """
    earlier = earlier_ids(home)
    if not earlier:
        raise ArtifactError("There is no earlier generation to go back to. `recsys generations` lists what exists.")
    return earlier[0]


def earlier_ids(home: Home) -> list[str]:
    """Return the ids of the generations that were served before the current one, the last one first.

    Raises:
        ArtifactError: the pointer is broken.
    """
    return trail_of(home)[-2::-1]


def clean_up(home: Home) -> int:
    """Remove what crashed writers left and tables that no generation names; return how many entries went.

    What somebody else is writing or reading stays.
    """
    rooms = [
        home.root,
        home.cache,
        home.snapshots,
        home.adapters,
        home.encoders,
        home.generations,
        home.lance,
        home.runs,
    ]
    rooms += [path for path in home.runs.rglob("*") if path.is_dir()]  # checkpoints lie deeper
    removed = sum(remove_staging(room) for room in rooms) + len(_drop_indexes(home))
    if removed:
        _LOG.info("Removed %d entries that ended runs had left in %s.", removed, home.root)
    return removed


def delete_generation(home: Home, generation_id: str) -> None:
    """Delete a generation that does not answer, its names and its report, and its table where no other names that.

    A table that a service still reads stays until the next ``clean_up``.

    Raises:
        ArtifactError: it is the current one or the shadow, or does not exist.
    """
    with deleting(home):
        manifest = discard_generation(home, generation_id)
        _drop_indexes(home)
        release_index(home, manifest)
        withdraw_tables(home)


def discard_generation(
    home: Home, generation_id: str, guard: Callable[[], AbstractContextManager[object]] = nullcontext
) -> GenerationManifest:
    """Delete a generation that does not answer, its names and its report; return its manifest.

    Its table stays until the next ``clean_up``.

    Args:
        home: where state lives.
        generation_id: which.
        guard: entered when neither the pointer nor a name can move to it any more; raises where it shall stay.

    Raises:
        ArtifactError: it is the current one or the shadow, or does not exist.
    """
    manifest = read_manifest(home, generation_id)
    with pointer_lock(home), steady_names(home, GENERATION), guard():
        trail = trail_of(home)
        if trail and trail[-1] == generation_id:
            raise ArtifactError(f"{generation_id} is being served. Publish another one or roll back first.")
        shadow = read_shadow(home)
        if shadow is not None and shadow.generation == generation_id:
            raise ArtifactError(
                f"{generation_id} is the shadow, which answers a share of the requests too. End it first: "
                f"DELETE /v1/generations/{generation_id}/shadow."
            )
        leave_trail(home, generation_id)
        discard_stored(home, GENERATIONS, generation_id)
    forget_names(home, GENERATION, generation_id)
    report_path(home, generation_id).unlink(missing_ok=True)
    return manifest


def release_index(home: Home, manifest: GenerationManifest) -> None:
    """Take the tag of a generation that is gone from its table, where that is still there for another one."""
    from recsys.store.index import release_version  # as below

    try:
        if home.lance.exists():
            release_version(home.lance, manifest.index, manifest.id)
    except (ValueError, RuntimeError, OSError) as error:  # a tag too many costs some disk, and nothing else
        _LOG.warning("The table %s keeps the tag of %s: %s", manifest.index.table, manifest.id, error)


def withdraw_tables(home: Home) -> None:
    """Take from a home's store the tables that no generation names; for who lets nobody put meanwhile."""
    names = {path.stem for path in known(home, TABLES, "x").parent.glob("*.json")}
    for name in sorted(names - {f"{one.table}{TABLE_FOLDER}" for one in _named_indexes(home)} if names else ()):
        withdraw(home, TABLES, name)


def _drop_indexes(home: Home) -> list[str]:
    from recsys.store.index import drop_indexes  # brings LanceDB, for which the service's supervisor has no use

    try:
        return drop_indexes(home.lance, lambda: _named_indexes(home))
    except ArtifactError as error:
        _LOG.warning("No table was dropped: a generation that cannot be read may need it. %s", error)
        return []


def _named_indexes(home: Home) -> list[IndexReference]:
    """Return what all generations name.

    Raises:
        ArtifactError: one of them cannot be read.
    """
    folders = [path.parent.name for path in home.generations.glob(f"[!.]*/{MANIFEST}")]
    return [read_manifest(home, generation_id).index for generation_id in folders]
