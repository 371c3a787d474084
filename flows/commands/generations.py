"""Generations and adapters: list, show, compare, name, delete."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.pretty import Pretty

from flows.commands.names import NAMING, rename, shown_names
from flows.commands.tables import EMPTY
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, Shell, shell, table
from recsys.artifacts import read_json
from recsys.home import Home
from recsys.ranking.parts import Parts, parts_of
from recsys.store.manifests import CLASSIFICATION, IMPORTED, PRETRAINING, SEARCH, AdapterCard, GenerationManifest
from recsys.store.names import ADAPTER, GENERATION, meant, read_names

Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="16 hexadecimal digits, an alias, or how one begins.")]
Remove = Annotated[bool, typer.Option("--remove", help="Take the alias, tag or note away instead.")]


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

    given = _given(action, remove, generation_id, name)
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
            _show(session, result | parts_of(folder))
        else:
            delete_generation(session.home, chosen[0])
            session.result = {"deleted": chosen[0]}
            session.show(f"Deleted generation {chosen[0]}.")


def adapters(
    action: Annotated[
        Literal["list", "show", "compare", "delete", "alias", "tag", "note", "import"], typer.Argument()
    ] = "list",
    adapter_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="16 hexadecimal digits, an alias, or how one begins; to import: a PEFT folder."
        ),
    ] = None,
    other: Annotated[
        str | None,
        typer.Argument(metavar="[OTHER]", help="Another adapter to compare with; an alias, a tag, or a note's text."),
    ] = None,
    remove: Remove = False,
    base: Annotated[str | None, typer.Option(help="To import: what it was trained on, as a folder says it.")] = None,
    max_tokens: Annotated[int, typer.Option(min=3, help="To import: of a text that it was trained to read.")] = 64,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List, show, compare, name, import or delete adapters."""
    from recsys.store.adapters import delete_adapter, list_adapters, read_card, when_made

    given = _given(action, remove, adapter_id, other)
    with shell(home, as_json, debug) as session:
        naming = action in NAMING
        chosen = [] if naming or action == "import" else [meant(session.home, ADAPTER, one) for one in given]
        names = read_names(session.home, ADAPTER)
        if naming:
            rename(session, ADAPTER, action, given, remove)
        elif action == "list":
            cards = list_adapters(session.home)
            session.result = {
                "adapters": [
                    card.summary()
                    | {"made": when_made(session.home, card).isoformat(timespec="microseconds")}
                    | names.of(card.id)
                    for card in cards
                ]
            }
            headings = dict.fromkeys(("adapter", "names", "task", "snapshot", "protocol", "parent"), "")
            rows = [
                [
                    card.id, shown_names(names, card.id), card.task,
                    *map(_text, (card.snapshot, card.protocol)),
                    EMPTY if card.parent is None else names.label(card.parent), _adapter_figure(card),
                ]
                for card in cards
            ]  # fmt: skip
            session.show(table(headings | {"figure": "right"}, rows))
        elif action == "show":
            _show(session, read_card(session.home, chosen[0]).summary() | names.of(chosen[0]))
        elif action == "import":
            _import(session, Path(given[0]), base, max_tokens)
        elif action == "compare":
            _compare(session, read_card(session.home, chosen[0]), read_card(session.home, chosen[1]))
        else:
            from recsys.store.exports import delete_encoders  # torch, which a list has no use for

            delete_adapter(session.home, chosen[0])
            delete_encoders(session.home, chosen[0])
            session.result = {"deleted": chosen[0]}
            session.show(f"Deleted adapter {chosen[0]}.")


def _import(session: Shell, folder: Path, base: str | None, max_tokens: int) -> None:
    """Store an adapter from elsewhere, and say what was not taken from it."""
    from recsys.store.imports import import_adapter

    card = import_adapter(session.home, folder, base, max_tokens)
    session.result = card.summary() | {"adapter": card.id}
    left_out = card.training["origin"]["left_out"]
    if left_out:
        session.show(f"Left out, since no vector passes through it: {', '.join(left_out)}.")
    session.show(f"Adapter {card.id} of {card.base}.\nNext: recsys train --adapter {card.id}")


def _given(action: str, remove: bool, *given: str | None) -> list[str]:
    """Return the words that an action needs; too few or too many are bad usage."""
    wanted = {"list": 0, "compare": 2, "alias": 1 if remove else 2, "tag": 2, "note": 1 if remove else 2}.get(action, 1)
    words = [word for word in given if word is not None]
    if len(words) != wanted:
        raise typer.BadParameter(f"{action} takes {wanted} names, not {len(words)}.")
    if remove and action not in NAMING:
        raise typer.BadParameter("--remove takes an alias, a tag or a note away.")
    return words


def _show(session: Shell, result: dict[str, Any]) -> None:
    session.result = result
    session.show(Pretty(result))


def _compare(session: Shell, first: AdapterCard, second: AdapterCard) -> None:
    """Show the settings in which two adapters differ, and all metrics of both."""
    from recsys.interactive.adapters import differences

    values = differences(first, second)
    comparable = (first.snapshot, first.protocol) == (second.snapshot, second.protocol)
    session.result = {"adapters": [first.id, second.id], "comparable": comparable, "values": values}
    headings = {"": "", first.id: "right", second.id: "right"}
    session.show(table(headings, [[name, *map(_text, pair)] for name, pair in values.items()]))
    for card in (first, second):
        if (parts := _parts(session.home, card)) is not None:
            session.show(f"{card.id}: {parts.adapter_part}")
    if not comparable:
        session.show("They were asked different targets, so their metrics cannot be compared.")


def _parts(home: Home, card: AdapterCard) -> Parts | None:
    """Return what the lists by an adapter are made of: as its card says it, or else its newest generation."""
    from recsys.store.generations import newest_last

    if card.training.get("weights"):
        return Parts.of(card.training["weights"])
    made = [one.id for one in newest_last(home) if one.adapter == card.id]
    return Parts.read(home.generations / made[-1]) if made else None


def _generation_figure(home: Home, manifest: GenerationManifest) -> str:
    from recsys.evaluation.headline import METRICS_FILE

    measured = read_json(home.generations / manifest.id / METRICS_FILE).get("protocols", {})
    own = next((name for name in manifest.config.evaluation.protocols if name in measured), None)
    systems = measured[own]["systems"] if own else {}  # of a generation that nobody has measured
    return _figure({name: summary["total"] for name, summary in systems.items()})


def _adapter_figure(card: AdapterCard) -> str:
    if card.task == CLASSIFICATION:
        return f"accuracy {_text(card.metrics['dev']['accuracy'])}"
    if card.task == IMPORTED:
        return EMPTY
    if card.task == PRETRAINING:
        return f"perplexity {card.metrics['perplexity']['after']:.1f}"
    if card.task == SEARCH:
        return f"hit@1 {_text(card.metrics['held_out']['given']['hit@1'])}"
    return f"NDCG@10 {_figure(card.metrics)}"


def _figure(metrics: dict[str, Any]) -> str:
    from recsys.evaluation.headline import HEADLINE, OURS

    return _text(metrics.get(OURS, {}).get(HEADLINE))


def _text(value: Any) -> str:
    return EMPTY if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
