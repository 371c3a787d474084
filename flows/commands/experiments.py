"""`recsys experiments`: all that was tried, in one table, for people and for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.commands.tables import as_cell
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, shell, table

if TYPE_CHECKING:
    import polars as pl


def experiments(
    kind: Annotated[
        Literal["generation", "adapter", "trial"] | None, typer.Option(help="Only these; all by default.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write all columns into this CSV file; lists become JSON.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write all columns into this Parquet file.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List generations, adapters and trials of searches with what was set, measured and called, the newest first."""
    with shell(home, as_json, debug) as session:
        from recsys.interactive.experiments import experiments as all_of

        found = all_of(home=session.home)
        found = found if kind is None else found.filter(kind=kind)
        if csv is not None:
            _flat(found).write_csv(csv)
        if parquet is not None:
            found.write_parquet(parquet)
        session.result = {"experiments": [_json(row) for row in found.iter_rows(named=True)]}
        headings = {"experiment": "", "kind": "", "names": "", "made": "", "NDCG@10": "right", "settings": ""}
        rows = [_row(row) for row in session.result["experiments"]]
        session.show(table(headings, rows))
        for file in (csv, parquet):
            if file is not None:
                session.show(f"Written to {file.absolute()}.")


def _row(row: dict[str, Any]) -> list[str]:
    settings = [f"{name.removeprefix('settings.')}={value}" for name, value in row["settings"].items()]
    names = " ".join([*row["aliases"], *(f"#{tag}" for tag in row["tags"])])
    low, high = row["ndcg@10_low"], row["ndcg@10_high"]
    figure = as_cell(row["ndcg@10"]) + (f" ({low:.4f} to {high:.4f})" if low is not None else "")
    return [row["experiment"], row["kind"], names, row["made"][:16].replace("T", " "), figure, ", ".join(settings)]


def _json(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as JSON values, what was set in one object."""
    settings = {name: value for name, value in row.items() if name.startswith("settings.") and value is not None}
    rest = {name: value for name, value in row.items() if not name.startswith("settings.")}
    lists = {name: row[name] or [] for name in ("aliases", "tags")}
    return {**rest, **lists, "made": row["made"].isoformat(timespec="microseconds"), "settings": settings}


def _flat(found: "pl.DataFrame") -> "pl.DataFrame":
    """Return a frame without lists, of which CSV knows nothing."""
    import json

    import polars as pl

    return found.with_columns(
        pl.Series(name, [json.dumps(list(value or [])) for value in found[name].to_list()], pl.String)
        for name in ("aliases", "tags")
    )
