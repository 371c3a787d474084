"""From a publisher's own files to tables that an ingest reads: found, looked at, and written in the contract's form."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from recsys.artifacts import staged_folder
from recsys.config import LimitsConfig
from recsys.data import columns
from recsys.data.locations import SourceError, Sources, shown
from recsys.data.publishers import amazon, goodbooks, hm, mind, movielens, steam
from recsys.data.publishers.publisher import Publisher
from recsys.data.publishers.shipment import Shipment, find, opened
from recsys.errors import SettingError

DATASETS: Mapping[str, Publisher] = {
    one.name: one for module in (movielens, amazon, mind, goodbooks, steam, hm) for one in module.PUBLISHERS
}
_DEFAULT = LimitsConfig()


@dataclass(frozen=True)
class Prepared:
    """The tables of a data set, in files that are there as long as they are asked for.

    Attributes:
        events: of a Parquet file.
        items: likewise.
        users: likewise; None: nothing is known of them.
        notes: what was decided and left out, in sentences, and who may use the data.
    """

    events: Path
    items: Path
    users: Path | None
    notes: tuple[str, ...]


def publisher_of(name: str) -> Publisher:
    """Return a data set by its name.

    Raises:
        SettingError: there is none of that name.
    """
    if name not in DATASETS:
        near = get_close_matches(name.lower(), DATASETS, 1)
        meant = f"Did you mean {near[0]!r}? There are" if near else "There are"
        raise SettingError(f"There is no data set {name!r}. {meant} {', '.join(DATASETS)}.")
    return DATASETS[name]


@contextmanager
def prepared(
    name: str, path: Path, folder: Path, limits: LimitsConfig = _DEFAULT, sources: Sources | None = None
) -> Iterator[Prepared]:
    """Read a data set as its publisher ships it and yield its tables, which are gone afterwards.

    Args:
        name: one of ``DATASETS``.
        path: a folder, searched in depth, or an archive (zip, tar) of its files, each packed by gzip or zstd or not.
        folder: below which the tables are written; it exists.
        limits: how large one line, and what an archive holds, may be.
        sources: what may be read; None: what RECSYS_SOURCES says.

    Raises:
        SettingError: there is no such data set.
        SourceError: the files may not be read, are absent or damaged, or are those of another data set.
    """
    publisher, allowed = publisher_of(name), sources or Sources.from_environment()
    with staged_folder(folder) as scratch, opened(path, publisher, scratch, allowed, limits) as place:
        try:
            files = find(place, publisher, allowed)
        except SourceError as error:
            raise SourceError(_not_it(error, path, place, publisher, allowed)) from None
        try:
            tables = _write(publisher, Shipment(publisher, files, scratch, limits), scratch)
        except pl.exceptions.PolarsError as error:
            cause = str(error).partition("\n")[0].rstrip(".")
            told = f"{shown(str(path))} cannot be read as {publisher.title}: {cause}."
            raise SourceError(f"{told} Fetch it again from {publisher.page}.") from None
        yield tables


def _not_it(error: SourceError, path: Path, place: Path, publisher: Publisher, allowed: Sources) -> str:
    """Say what a folder is not, what it seems to be, and where the right one comes from."""
    others = [one for one in DATASETS.values() if one is not publisher and _is_one(place, one, allowed)]
    seems = f" It looks like {others[0].title}: --dataset {others[0].name}." if others else ""
    return (
        f"{shown(str(path))} is not {publisher.title}: {error}{seems} {publisher.title} consists of {publisher.files}; "
        f"its publisher has it at {publisher.page}. Download it there and give its folder or archive."
    )


def _is_one(place: Path, publisher: Publisher, allowed: Sources) -> bool:
    try:
        find(place, publisher, allowed)
    except SourceError:
        return False
    return True


def _write(publisher: Publisher, shipment: Shipment, folder: Path) -> Prepared:
    """Write the tables: items each once, events of items that are described, users each once."""
    notes = [*publisher.notes]
    items = publisher.items(shipment).collect()
    described = items.filter(pl.col(columns.TITLE).is_not_null() & pl.col(columns.ITEM_ID).is_not_null())
    # of several rows the one with the most words, then by the title
    words = pl.concat_str(pl.col(pl.String), ignore_nulls=True).str.len_bytes().cast(pl.Int64)
    described = _once(described.sort(columns.ITEM_ID, -words, columns.TITLE), columns.ITEM_ID)
    notes += _left_out(items.height - described.height, "rows of items, without a title or of an item that stays")
    described.write_parquet(folder / "items.parquet")

    everything, target = folder / "all-events.parquet", folder / "events.parquet"
    publisher.events(shipment).sink_parquet(everything)
    events, ids = pl.scan_parquet(everything), described.lazy().select(columns.ITEM_ID)
    unknown = events.select(columns.ITEM_ID).unique().join(ids, columns.ITEM_ID, how="anti").collect()
    if unknown.is_empty():
        everything.rename(target)
    else:
        events.join(unknown.lazy(), columns.ITEM_ID, how="anti", maintain_order="left").sink_parquet(target)
        before, after = (pl.scan_parquet(one).select(pl.len()).collect().item() for one in (everything, target))
        notes += _left_out(before - after, f"events, of {unknown.height:,} items that no file describes")
    users = None
    if publisher.users is not None:
        users = folder / "users.parquet"
        _once(publisher.users(shipment).collect().sort(columns.USER_ID), columns.USER_ID).write_parquet(users)
    return Prepared(target, folder / "items.parquet", users, (*notes, publisher.terms))


def _once(table: pl.DataFrame, key: str) -> pl.DataFrame:
    return table.unique(key, keep="first", maintain_order=True)


def _left_out(count: int, why: str) -> list[str]:
    return [f"Left out: {count:,} {why}."] if count else []
