"""Generations and adapters: publish, roll back, list, show, compare, delete."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.pretty import Pretty

from flows.commands.tables import EMPTY
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, Shell, shell, table
from recsys.artifacts import read_json
from recsys.errors import RefusedError
from recsys.home import Home
from recsys.store.manifests import CLASSIFICATION, IMPORTED, PRETRAINING, AdapterCard, GenerationManifest

Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="16 hexadecimal digits.")]


def generations(
    action: Annotated[Literal["list", "show", "delete"], typer.Argument()] = "list",
    generation_id: Id = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List, show or delete generations."""
    from recsys.store.generations import current_id, delete_generation, made_at, newest_last, read_generation

    chosen = _ids(action, generation_id)
    with shell(home, as_json, debug) as session:
        if action == "list":
            found = newest_last(session.home)[::-1]
            served, made = current_id(session.home), {one.id: made_at(session.home, one.id) for one in found}
            session.result = {
                "generations": [
                    one.summary()
                    | {"current": one.id == served, "made": made[one.id].isoformat(timespec="microseconds")}
                    for one in found
                ]
            }
            headings = {"generation": "", "served": "", "made": "", "adapter": "", "snapshot": "", "NDCG@10": "right"}
            rows = [
                [
                    one.id, "yes" if one.id == served else "", f"{made[one.id]:%Y-%m-%d %H:%M:%S}",
                    one.adapter, one.snapshot, _generation_figure(session.home, one),
                ]
                for one in found
            ]  # fmt: skip
            session.show(table(headings, rows))
        elif action == "show":
            folder, manifest = read_generation(session.home, chosen[0])
            current = current_id(session.home) == chosen[0]
            _show(session, manifest.summary() | {"current": current, "path": str(folder)})
        else:
            delete_generation(session.home, chosen[0])
            session.result = {"deleted": chosen[0]}
            session.show(f"Deleted generation {chosen[0]}.")


def adapters(
    action: Annotated[Literal["list", "show", "compare", "delete", "import"], typer.Argument()] = "list",
    adapter_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="16 hexadecimal digits; to import: a PEFT folder.")
    ] = None,
    other_id: Annotated[str | None, typer.Argument(metavar="[OTHER]", help="To compare with.")] = None,
    base: Annotated[str | None, typer.Option(help="To import: what it was trained on, as a folder says it.")] = None,
    max_tokens: Annotated[int, typer.Option(min=3, help="To import: of a text that it was trained to read.")] = 64,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List, show, compare, delete or import adapters."""
    from recsys.store.adapters import delete_adapter, list_adapters, read_card

    chosen = _ids(action, adapter_id, other_id)
    with shell(home, as_json, debug) as session:
        if action == "list":
            cards = list_adapters(session.home)
            session.result = {"adapters": [card.summary() for card in cards]}
            headings = {
                "adapter": "",
                "task": "",
                "snapshot": "",
                "protocol": "",
                "parent": "",
                "figure": "right",
            }
            rows = [
                [card.id, card.task, *map(_text, (card.snapshot, card.protocol, card.parent)), _adapter_figure(card)]
                for card in cards
            ]
            session.show(table(headings, rows))
        elif action == "show":
            _show(session, read_card(session.home, chosen[0]).summary())
        elif action == "import":
            _import(session, Path(chosen[0]), base, max_tokens)
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


def _ids(action: str, *given: str | None) -> list[str]:
    """Return the ids that an action needs; too few or too many are bad usage."""
    wanted = {"list": 0, "compare": 2}.get(action, 1)
    ids = [name for name in given if name is not None]
    if len(ids) != wanted:
        raise typer.BadParameter(f"{action} takes {wanted} ids, not {len(ids)}.")
    return ids


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
    if not comparable:
        session.show("They were asked different targets, so their metrics cannot be compared.")


def _generation_figure(home: Home, manifest: GenerationManifest) -> str:
    from recsys.evaluation.headline import METRICS_FILE

    measured = read_json(home.generations / manifest.id / METRICS_FILE)["protocols"]
    own = next(name for name in manifest.config.evaluation.protocols if name in measured)
    return _figure({name: summary["total"] for name, summary in measured[own]["systems"].items()})


def _adapter_figure(card: AdapterCard) -> str:
    if card.task == CLASSIFICATION:
        return f"accuracy {_text(card.metrics['dev']['accuracy'])}"
    if card.task == IMPORTED:
        return EMPTY
    if card.task == PRETRAINING:
        return f"perplexity {card.metrics['perplexity']['after']:.1f}"
    return f"NDCG@10 {_figure(card.metrics)}"


def _figure(metrics: dict[str, Any]) -> str:
    from recsys.evaluation.headline import HEADLINE, OURS

    return _text(metrics[OURS][HEADLINE])


def _text(value: Any) -> str:
    return EMPTY if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def publish(
    generation: Annotated[str | None, typer.Argument(help="Its id; the newest that is not served by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Serve it whatever the gate says.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Serve a generation if the gate lets it pass; exit code 3 if it does not."""
    with shell(home, as_json, debug) as session:
        from flows.publish import publish_generation
        from recsys.store.generations import newest_id

        chosen = generation or newest_id(session.home, served=False)

        try:
            verdict = publish_generation(chosen, str(session.home.root), force)
        except RefusedError as error:
            session.result = {"generation": chosen, "published": False, "passed": False, "findings": error.findings}
            raise
        session.result = {"generation": chosen, "published": True, **asdict(verdict)}
        session.show(*verdict.findings, f"Generation {chosen} is served.")


def rollback(home: HomeOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Serve the generation before the current one again."""
    from recsys.store import generations

    with shell(home, as_json, debug) as session:
        session.result = {"generation": generations.rollback(session.home)}
        session.show(f"Generation {session.result['generation']} is served.")
