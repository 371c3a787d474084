"""Generations: list, show, name, delete."""

from typing import Annotated, Literal

import typer

from flows.commands.names import NAMING, Remove, given_names, rename, shown_names
from flows.commands.tables import figure, show_values
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, shell, table
from recsys.home import Home
from recsys.ranking.parts import parts_of
from recsys.store.manifests import GenerationManifest
from recsys.store.names import ADAPTER, GENERATION, meant, read_names

Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="16 hexadecimal digits, an alias, or how one begins.")]


def generations(
    action: Annotated[Literal["list", "show", "delete", "alias", "tag", "note"], typer.Argument()] = "list",
    generation_id: Id = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="An alias, a tag, or a note's text.")] = None,
    remove: Remove = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List, show, name or delete generations."""
    from recsys.store.generations import current_id, delete_generation, newest_last, read_generation, when_made

    given = given_names(action, remove, generation_id, name)
    with shell(home, as_json, debug) as session:
        naming = action in NAMING
        chosen = [] if naming else [meant(session.home, GENERATION, one) for one in given]
        names, adapters = read_names(session.home, GENERATION), read_names(session.home, ADAPTER)
        if naming:
            rename(session, GENERATION, action, given, remove)
        elif action == "list":
            found = newest_last(session.home)[::-1]
            served, made = current_id(session.home), {one.id: when_made(session.home, one) for one in found}
            session.result = {
                "generations": [
                    one.summary()
                    | {"current": one.id == served, "made": made[one.id].isoformat(timespec="microseconds")}
                    | names.of(one.id)
                    | parts_of(session.home.generations / one.id)
                    for one in found
                ]
            }
            headings = dict.fromkeys(("generation", "names", "served", "made", "adapter", "snapshot"), "")
            rows = [
                [
                    one.id, shown_names(names, one.id), "yes" if one.id == served else "",
                    f"{made[one.id]:%Y-%m-%d %H:%M:%S}", adapters.label(one.adapter), one.snapshot,
                    _generation_figure(session.home, one),
                ]
                for one in found
            ]  # fmt: skip
            session.show(table(headings | {"NDCG@10": "right"}, rows))
        elif action == "show":
            folder, manifest = read_generation(session.home, chosen[0])
            current = current_id(session.home) == chosen[0]
            result = manifest.summary() | {"current": current, "path": str(folder)} | names.of(chosen[0])
            show_values(session, result | parts_of(folder))
        else:
            delete_generation(session.home, chosen[0])
            session.result = {"deleted": chosen[0]}
            session.show(f"Deleted generation {chosen[0]}.")


def _generation_figure(home: Home, manifest: GenerationManifest) -> str:
    from recsys.evaluation.headline import measured_by

    measured = measured_by(home.generations / manifest.id)
    own = next((name for name in manifest.config.evaluation.protocols if name in measured), None)
    systems = measured[own]["systems"] if own else {}  # of a generation that nobody has measured
    return figure({name: summary["total"] for name, summary in systems.items()})
