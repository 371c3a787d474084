"""Names of adapters and generations on the command line: `alias`, `tag` and `note`, and an id by any of its names."""

from typing import Annotated

import typer

from flows.commands.terminal import Shell
from recsys.store.names import Kind, Names, meant, read_names, remove_alias, set_alias, set_note, set_tags

NAMING = ("alias", "tag", "note")
Remove = Annotated[bool, typer.Option("--remove", help="Take the alias, tag or note away instead.")]


def given_names(action: str, remove: bool, *given: str | None) -> list[str]:
    """Return the words that an action needs; too few or too many are bad usage."""
    wanted = {"list": 0, "compare": 2, "alias": 1 if remove else 2, "tag": 2, "note": 1 if remove else 2}.get(action, 1)
    words = [word for word in given if word is not None]
    if action == "merge" and len(words) < 2:
        raise typer.BadParameter(f"merge takes two names at least, not {len(words)}.")
    if action != "merge" and len(words) != wanted:
        raise typer.BadParameter(f"{action} takes {wanted} names, not {len(words)}.")
    if remove and action not in NAMING:
        raise typer.BadParameter("--remove takes an alias, a tag or a note away.")
    return words


def rename(session: Shell, kind: Kind, action: str, words: list[str], remove: bool) -> None:
    """Give an alias, a tag or a note to one of a kind, or take it away.

    Args:
        session: of the command.
        kind: what has names.
        action: one of ``NAMING``.
        words: what is named, then the name; an alias that is removed stands alone, and so does what loses its note.
        remove: take it away instead.
    """
    home, name = session.home, words[-1]
    if action == "alias" and remove:
        chosen = remove_alias(home, kind, name)
        session.show(f"{name} no longer stands for {kind.name} {chosen}.")
    else:
        chosen = meant(home, kind, words[0])
    if action == "alias" and not remove:
        before = set_alias(home, kind, chosen, name)
        session.show(f"{name} stands for {kind.name} {chosen}{f', no longer for {before}' if before else ''}.")
    elif action == "tag":
        set_tags(home, kind, chosen, **{"remove" if remove else "add": (name,)})
    elif action == "note":
        set_note(home, kind, chosen, "" if remove else name)
    names = read_names(home, kind)
    session.result = {"id": chosen, **names.of(chosen)}
    note = session.result["note"]
    session.show(f"{kind.name.capitalize()} {chosen} is called: {shown_names(names, chosen) or 'nothing'}.")
    if note:
        session.show(f"Note: {note}")


def shown_names(names: Names, artifact_id: str) -> str:
    """Return the names of one for a cell: its aliases, then its tags as #tag."""
    found = names.of(artifact_id)
    return " ".join([*found["aliases"], *(f"#{tag}" for tag in found["tags"])])
