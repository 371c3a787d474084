"""`--dataset NAME --path FOLDER_OR_ARCHIVE`: a publisher's own files in the place of `--events` and `--items`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.terminal import Shell

if TYPE_CHECKING:
    from recsys.config import LimitsConfig

DatasetOption = Annotated[
    str | None, typer.Option(help="A public data set by its name, such as movielens-1m, mind or hm; with --path.")
]
PathOption = Annotated[
    Path | None, typer.Option(help="The folder or the archive of the data set, as its publisher ships it.")
]


@dataclass(frozen=True)
class Given:
    """Where the tables of a command are: locations, or frames of what was read already."""

    events: Any
    items: Any
    users: Any = None
    result: dict[str, Any] = field(default_factory=dict)  # what a command's JSON says of a data set


def check_given(
    events: str | None,
    items: str | None,
    users: str | None,
    dataset: str | None,
    path: Path | None,
    append: str | None = None,
) -> None:
    """Raise BadParameter where neither tables nor a data set are given, or both; some may join a snapshot alone."""
    if dataset is None and path is None:
        if append is None and (events is None or items is None):
            raise typer.BadParameter("Give --events and --items, or --dataset and --path.")
    elif dataset is None or path is None or events or items or users:
        raise typer.BadParameter("--dataset and --path go together, in the place of --events, --items and --users.")


@contextmanager
def located(
    session: Shell,
    events: str | None,
    items: str | None,
    users: str | None,
    dataset: str | None,
    path: Path | None,
    limits: "LimitsConfig",
    kept: bool = True,
) -> Iterator[Given]:
    """Yield where tables are, and say what was decided of a data set's.

    Args:
        session: the command's.
        events: a location; with ``items`` it takes the place of a data set.
        items: likewise.
        users: likewise, or None.
        dataset: a name; with ``path`` it takes the place of the tables.
        path: of its files.
        limits: of what is read.
        kept: whether the home may be written to; else the tables of a data set are frames.
    """
    if dataset is None or path is None:
        yield Given(events, items, users)
        return
    from recsys.data.publishers.prepared import prepared

    if kept:
        session.home.make().cache.mkdir(exist_ok=True)
        with prepared(dataset, path, session.home.cache, limits) as tables:
            session.show(*tables.notes)
            users = str(tables.users) if tables.users else None
            yield Given(str(tables.events), str(tables.items), users, _told(dataset, tables.notes))
        return
    import polars as pl

    with (
        tempfile.TemporaryDirectory(prefix="recsys-") as folder,
        prepared(dataset, path, Path(folder), limits) as tables,
    ):
        session.show(*tables.notes)
        described = pl.read_parquet(tables.users) if tables.users else None
        told = _told(dataset, tables.notes)
        yield Given(pl.read_parquet(tables.events), pl.read_parquet(tables.items), described, told)


def _told(dataset: str, notes: tuple[str, ...]) -> dict[str, Any]:
    return {"dataset": {"name": dataset, "notes": list(notes)}}
