"""Adapters: list, show, compare, name, bring in, merge, delete."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.commands.names import NAMING, Remove, given_names, rename, shown_names
from flows.commands.tables import EMPTY, as_cell, figure, show_values
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, Shell, shell, table
from recsys.home import Home
from recsys.ranking.parts import Parts
from recsys.store.manifests import CLASSIFICATION, PRETRAINING, RECOMMENDATION, SEARCH, AdapterCard
from recsys.store.names import ADAPTER, Names, meant, read_names

SHORT = 8  # digits of an id that nearly always tell it
Action = Literal["list", "show", "compare", "delete", "alias", "tag", "note", "import", "merge"]


def adapters(
    action: Annotated[Action, typer.Argument()] = "list",
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...",
            help="16 hexadecimal digits, an alias, or how one begins; two to compare, some to merge; to import: a PEFT "
            "folder. After the id: an alias, a tag, or a note's text.",
        ),
    ] = None,
    remove: Remove = False,
    sort: Annotated[
        Literal["id", "made", "figure", "name", "task"],
        typer.Option(help="To list by: newest first, the best of each task first, or from a to z."),
    ] = "made",
    tag: Annotated[str | None, typer.Option(help="To list: only what has this tag.")] = None,
    task: Annotated[str | None, typer.Option(help="To list: only what is for this.")] = None,
    users: Annotated[int, typer.Option(min=0, max=50, help="To compare: people whose lists are shown.")] = 3,
    base: Annotated[str | None, typer.Option(help="To import: what it was trained on, as a folder says it.")] = None,
    max_tokens: Annotated[int, typer.Option(min=3, help="To import: of a text that it was trained to read.")] = 64,
    weights: Annotated[
        str | None, typer.Option(help="To merge: a number above 0 each, by commas; equal ones by default.")
    ] = None,
    method: Annotated[
        Literal["cat", "linear", "svd"],
        typer.Option(help="To merge: the sum exactly, its factors alone, or the nearest of --rank."),
    ] = "cat",
    rank: Annotated[int | None, typer.Option(min=1, help="To merge by svd; the largest of theirs by default.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List, show, compare, name, import, merge or delete adapters."""
    words = given_names(action, remove, *(given or ()))
    with shell(home, as_json, debug) as session:
        if action in NAMING:
            rename(session, ADAPTER, action, words, remove)
        elif action == "list":
            _list(session, sort, tag, task)
        elif action == "import":
            _import(session, Path(words[0]), base, max_tokens)
        else:
            _act(session, action, [meant(session.home, ADAPTER, one) for one in words], users, weights, method, rank)


def _act(
    session: Shell, action: str, chosen: list[str], users: int, weights: str | None, method: Any, rank: int | None
) -> None:
    """Do what an action does with adapters by their ids."""
    from recsys.store.adapters import delete_adapter, read_card

    if action == "show":
        names = read_names(session.home, ADAPTER)
        show_values(session, read_card(session.home, chosen[0]).summary() | names.of(chosen[0]))
    elif action == "merge":
        _merge(session, chosen, weights, method, rank)
    elif action == "compare":
        first, second = (read_card(session.home, one) for one in chosen)
        _compare(session, first, second, users)
    else:
        from recsys.store.exports import delete_encoders  # torch, which a list has no use for

        delete_adapter(session.home, chosen[0])
        delete_encoders(session.home, chosen[0])
        session.result = {"deleted": chosen[0]}
        session.show(f"Deleted adapter {chosen[0]}.")


def _list(session: Shell, sort: str, tag: str | None, task: str | None) -> None:
    """Show the adapters that have a tag and a task, each with when it was made and what people call it."""
    from recsys.store.adapters import list_adapters, when_made

    names = read_names(session.home, ADAPTER)
    cards = [card for card in list_adapters(session.home) if task in (None, card.task)]
    cards = [card for card in cards if tag is None or tag in names.of(card.id)["tags"]]
    made = {card.id: when_made(session.home, card) for card in cards}
    cards = _sorted(cards, sort, names, made)
    session.result = {
        "adapters": [
            card.summary() | {"made": made[card.id].isoformat(timespec="microseconds")} | names.of(card.id)
            for card in cards
        ]
    }
    headings = dict.fromkeys(("adapter", "names", "made", "task", "snapshot", "from"), "")
    rows = [
        [
            card.id, shown_names(names, card.id), f"{made[card.id]:%Y-%m-%d}", card.task,
            as_cell(card.snapshot), _parents(card, names), _figure(card),
        ]
        for card in cards
    ]  # fmt: skip
    session.show(table(headings | {"figure": "right"}, rows))
    for card in cards:
        if note := names.of(card.id)["note"]:
            session.show(f"{names.label(card.id)}: {note}")


def _sorted(cards: list[AdapterCard], sort: str, names: Names, made: dict[str, datetime]) -> list[AdapterCard]:
    """Return adapters in an order; what has no figure or no name comes last, and equal ones by id."""
    cards = sorted(cards, key=lambda card: card.id)
    if sort == "made":
        return sorted(cards, key=lambda card: made[card.id], reverse=True)
    if sort == "name":
        return sorted(cards, key=lambda card: (not shown_names(names, card.id), shown_names(names, card.id)))
    if sort in ("task", "figure"):
        worth = {card.id: _value(card) if sort == "figure" else None for card in cards}
        return sorted(cards, key=lambda card: (card.task, worth[card.id] is None, worth[card.id] or 0.0))
    return cards


def _value(card: AdapterCard) -> float | None:
    """Return what an adapter of its task is judged by, the better the lower."""
    groups = {
        RECOMMENDATION: ("recsys", "ndcg@10", -1), CLASSIFICATION: ("dev", "accuracy", -1),
        PRETRAINING: ("perplexity", "after", 1),
    }  # fmt: skip
    if card.task == SEARCH:
        return -float(card.metrics["held_out"]["given"]["hit@1"])
    if card.task not in groups:
        return None
    group, name, sign = groups[card.task]
    found = card.metrics.get(group, {}).get(name)
    return None if found is None else sign * float(found)


def _parents(card: AdapterCard, names: Names) -> str:
    """Return what an adapter was made from, for a narrow cell: aliases, or how ids begin."""
    parents = card.training.get("merged", {}).get("parents") or ([card.parent] if card.parent else [])
    return " + ".join(" ".join(names.of(one)["aliases"]) or one[:SHORT] for one in parents) or EMPTY


def _import(session: Shell, folder: Path, base: str | None, max_tokens: int) -> None:
    """Store an adapter from elsewhere, and say what was not taken from it."""
    from recsys.store.imports import import_adapter

    card = import_adapter(session.home, folder, base, max_tokens)
    session.result = card.summary() | {"adapter": card.id}
    left_out = card.training["origin"]["left_out"]
    if left_out:
        session.show(f"Left out, since no vector passes through it: {', '.join(left_out)}.")
    session.show(f"Adapter {card.id} of {card.base}.\nNext: recsys train --adapter {card.id}")


def _merge(session: Shell, chosen: list[str], weights: str | None, method: Any, rank: int | None) -> None:
    """Store the weighted sum of some adapters."""
    from recsys.errors import SettingError
    from recsys.store.merges import merge_adapters

    try:
        given = None if weights is None else [float(word) for word in weights.split(",")]
    except ValueError:
        raise SettingError(f"--weights is {weights!r}; it takes numbers, such as 0.7,0.3.") from None
    card = merge_adapters(session.home, chosen, given, method, rank)
    session.result = card.summary() | {"adapter": card.id}
    said = " + ".join(
        f"{weight:g} × {one}" for weight, one in zip(card.training["merged"]["weights"], chosen, strict=True)
    )
    session.show(f"Adapter {card.id} of {card.base}: {said}, by {method}.\nNext: recsys train --adapter {card.id}")


def _compare(session: Shell, first: AdapterCard, second: AdapterCard, users: int) -> None:
    """Show in what two adapters differ, how they do on what both held out, and a few people's lists by both."""
    from recsys.interactive.adapters import differences, same_targets

    values, comparable = differences(first, second), same_targets(first, second)
    session.result = {"adapters": [first.id, second.id], "comparable": comparable, "values": values}
    headings = {"": "", first.id: "right", second.id: "right"}
    session.show(table(headings, [[name, *map(as_cell, pair)] for name, pair in values.items()]))
    for card in (first, second):
        if (parts := _parts(session.home, card)) is not None:
            session.show(f"{card.id}: {parts.adapter_part}")
    if not comparable:
        session.show("They were asked different targets, so the metrics above cannot be compared.")
    if first.id != second.id:
        _measured(session, first.id, second.id, users)


def _measured(session: Shell, first: str, second: str, users: int) -> None:
    """Show two adapters on the targets that both held out, and lists side by side; or why nothing can be compared."""
    from recsys.errors import SettingError
    from recsys.interactive.comparison import examples, measure

    session.result |= {"measured": None, "examples": []}
    try:
        found = measure(session.home, first, second)
    except SettingError as error:
        session.result["reason"] = str(error)
        session.show(str(error))
        return
    slices = [one.to_dict() for one in found.slices]
    session.result["measured"] = {"generations": found.generations, "held_out": found.held_out, "slices": slices}
    headings = {"slice": "", **dict.fromkeys(("targets", first, second, "difference", "95 % interval"), "right")}
    rows = [
        [
            one.name.replace("_", " "), f"{one.targets:,}", f"{one.first:.4f}", f"{one.second:.4f}",
            f"{one.interval.mean_difference:+.4f}", f"{one.interval.low:+.4f} to {one.interval.high:+.4f}",
        ]
        for one in found.slices
    ]  # fmt: skip
    session.show(table(headings, rows, "NDCG@10 on what both held out"))
    if not users:
        return
    lists = examples(first, second, users=users, home=session.home)
    session.result["examples"] = lists.to_dicts()
    for (user, held_out), part in lists.group_by("user_id", "held_out", maintain_order=True):
        rows = [[str(row["rank"]), as_cell(row["first"]), as_cell(row["second"])] for row in part.iter_rows(named=True)]
        row = part.row(0, named=True)
        title = f"{user}, held out: {held_out} ({row['first_ndcg']:.2f} and {row['second_ndcg']:.2f})"
        session.show(table({"": "right", first: "", second: ""}, rows, title))


def _parts(home: Home, card: AdapterCard) -> Parts | None:
    """Return what the lists by an adapter are made of: as its card says it, or else its newest generation."""
    from recsys.store.generations import newest_with

    if card.training.get("weights"):
        return Parts.of(card.training["weights"])
    made = newest_with(home, card.id)
    return Parts.read(home.generations / made) if made else None


def _figure(card: AdapterCard) -> str:
    if card.task == CLASSIFICATION:
        return f"accuracy {as_cell(card.metrics['dev']['accuracy'])}"
    if card.task == PRETRAINING:
        return f"perplexity {card.metrics['perplexity']['after']:.1f}"
    if card.task == SEARCH:
        return f"hit@1 {as_cell(card.metrics['held_out']['given']['hit@1'])}"
    return f"NDCG@10 {figure(card.metrics)}" if card.task == RECOMMENDATION else EMPTY
