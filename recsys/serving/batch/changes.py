"""What has changed since another batch: users whose list is another, block by block of both, in the order of ids."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from recsys.artifacts import MANIFEST, commit_file, digest_file, staged_file, write_json
from recsys.callbacks import Progress
from recsys.data.columns import ITEM_ID, RANK, USER_ID
from recsys.serving.batch.lists import Batch, alone
from recsys.serving.batch.manifest import CHANGES, BatchManifest, Changes, read_manifest

_BEFORE = "rank_before"
_LIST = pl.List(pl.String)
_LISTS = pl.Schema({USER_ID: pl.String(), ITEM_ID: pl.String(), RANK: pl.Int32()}).to_frame()
SCHEMA = pl.Schema({USER_ID: pl.String(), "item_ids": _LIST, "entered": _LIST, "left": _LIST, "moved": _LIST})


def changed(new: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """Return the users whose list is another, by ``user_id``.

    Args:
        new: lists, with ``user_id``, ``item_id`` and ``rank``.
        old: those before, of the same users.

    Returns:
        ``item_ids``: the new list, empty where there is none any more; ``entered``: what is new in it; ``left``: what
        it has no longer, by the rank that it had; ``moved``: what has another rank.
    """
    keys = [USER_ID, ITEM_ID]
    before = old.select(*keys, pl.col(RANK).alias(_BEFORE))
    both = new.select(*keys, RANK).join(before, on=keys, how="full", coalesce=True)
    item, rank, before_rank = pl.col(ITEM_ID), pl.col(RANK), pl.col(_BEFORE)
    lists = (
        both.sort(USER_ID, RANK, _BEFORE, nulls_last=True)
        .group_by(USER_ID, maintain_order=True)
        .agg(
            item.filter(rank.is_not_null()).alias("item_ids"),
            item.filter(before_rank.is_null()).alias("entered"),
            item.filter(rank.is_null()).alias("left"),
            item.filter(rank != before_rank).alias("moved"),
        )
    )
    another = pl.sum_horizontal(pl.col(name).list.len() for name in ("entered", "left", "moved")) > 0
    return lists.filter(another).cast(SCHEMA)


def write_changes(batch: Batch, since: Path, progress: Progress | None = None) -> Batch:
    """Write what has changed since another finished folder, and note it in the manifest; found where it is there.

    Raises:
        ArtifactError: the other folder is not finished, or another process writes into this one.
    """
    before = read_manifest(since)
    with alone(batch.folder):
        manifest = read_manifest(batch.folder)
        path = batch.folder / CHANGES
        noted = manifest.changes
        if noted is not None and noted.since == before.id and path.exists() and digest_file(path) == noted.sha256:
            return replace(batch, manifest=manifest)
        users = 0
        with staged_file(batch.folder) as staging:
            with pq.ParquetWriter(staging, SCHEMA.to_frame().to_arrow().schema) as writer:
                for number, frame in enumerate(_changes(batch.folder, manifest, since, before), 1):
                    users += frame.height
                    if frame.height:
                        writer.write_table(frame.to_arrow())
                    if progress is not None:
                        progress(number, len(manifest.parts))
            sha256 = digest_file(staging)
            commit_file(staging, path)
        noted = Changes(since=before.id, generation=before.inputs.generation, users=users, sha256=sha256)
        manifest = replace(manifest, changes=noted)
        write_json(batch.folder / MANIFEST, manifest.to_dict())
    return replace(batch, manifest=manifest)


def _changes(folder: Path, new: BatchManifest, since: Path, old: BatchManifest) -> Iterator[pl.DataFrame]:
    after, columns = "", [USER_ID, ITEM_ID, RANK]  # of all ids the least
    for number in range(max(1, len(new.parts))):
        last = number >= len(new.parts) - 1
        until = None if last else new.parts[number].last
        within = pl.col(USER_ID) > after
        if until is not None:
            within &= pl.col(USER_ID) <= until
        reached = [one for one in old.parts if one.last > after and (until is None or one.first <= until)]
        frames = [pl.read_parquet(since / one.name, columns=columns).filter(within) for one in reached]
        lists = [pl.read_parquet(folder / part.name, columns=columns) for part in new.parts[number : number + 1]]
        yield changed(pl.concat([_LISTS, *lists]), pl.concat([_LISTS, *frames]))
        after = until or after
