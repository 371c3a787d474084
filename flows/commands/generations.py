"""Generations and adapters: publish, roll back, list, show, compare, delete."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
from rich.pretty import Pretty

from flows.commands.tables import EMPTY
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, Refused, Shell, shell, table
from recsys.artifacts import ArtifactError, read_json
from recsys.home import Home

Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="16 hexadecimal digits.")]


def generations(
    action: Annotated[Literal["list", "show", "delete"], typer.Argument()] = "list",
    generation_id: Id = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List, show or delete generations."""
    from recsys.store.generations import current_id, delete_generation, read_generation

    chosen = _ids(action, generation_id)
    with shell(home, as_json, debug) as session:
        if action == "list":
            found = newest_generations(session.home)
            session.result = {"generations": [_without_files(manifest) for manifest in found]}
            headings = {"generation": "", "served": "", "made": "", "adapter": "", "snapshot": "", "NDCG@10": "right"}
            session.show(table(headings, [_generation_row(session.home, manifest) for manifest in found]))
        elif action == "show":
            folder, manifest = read_generation(session.home, chosen[0])
            served = current_id(session.home) == chosen[0]
            _show_record(session, manifest | {"current": served, "path": str(folder)})
        else:
            delete_generation(session.home, chosen[0])
            session.result = {"deleted": chosen[0]}
            session.show(f"Deleted generation {chosen[0]}.")


def adapters(
    action: Annotated[Literal["list", "show", "compare", "delete"], typer.Argument()] = "list",
    adapter_id: Id = None,
    other_id: Annotated[str | None, typer.Argument(metavar="[OTHER]", help="To compare with.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List, show, compare or delete adapters."""
    from recsys.store.adapters import delete_adapter, list_adapters, read_card
    from recsys.store.exports import delete_encoders

    chosen = _ids(action, adapter_id, other_id)
    with shell(home, as_json, debug) as session:
        if action == "list":
            cards = list_adapters(session.home)
            session.result = {"adapters": [_without_files(card) for card in cards]}
            headings = {
                "adapter": "",
                "task": "",
                "snapshot": "",
                "protocol": "",
                "parent": "",
                "figure": "right",
            }
            rows = [
                [card["id"], *(_text(card.get(name)) for name in list(headings)[1:-1]), _adapter_figure(card)]
                for card in cards
            ]
            session.show(table(headings, rows))
        elif action == "show":
            _show_record(session, read_card(session.home, chosen[0]))
        elif action == "compare":
            _compare(session, read_card(session.home, chosen[0]), read_card(session.home, chosen[1]))
        else:
            delete_adapter(session.home, chosen[0])
            delete_encoders(session.home, chosen[0])
            session.result = {"deleted": chosen[0]}
            session.show(f"Deleted adapter {chosen[0]}.")


def newest_generations(home: Home) -> list[dict[str, Any]]:
    """Return the manifests of all generations, the newest first, each with ``current`` and ``made`` (UTC)."""
    from recsys.store.generations import MANIFEST, list_generations

    found = []
    for manifest in list_generations(home):
        made = (home.generations / manifest["id"] / MANIFEST).stat().st_mtime
        found.append(manifest | {"made": datetime.fromtimestamp(made, UTC).isoformat(timespec="microseconds")})
    return sorted(found, key=lambda manifest: (manifest["made"], manifest["id"]), reverse=True)


def _ids(action: str, *given: str | None) -> list[str]:
    """Return the ids that an action needs; too few or too many are bad usage."""
    wanted = {"list": 0, "compare": 2}.get(action, 1)
    ids = [name for name in given if name is not None]
    if len(ids) != wanted:
        raise typer.BadParameter(f"{action} takes {wanted} ids, not {len(ids)}.")
    return ids


def _show_record(session: Shell, record: dict[str, Any]) -> None:
    session.result = _without_files(record)
    session.show(Pretty(session.result))


def _compare(session: Shell, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Show the settings in which two adapters differ, and all metrics of both."""
    cards = [_flat(_without_files(card)) for card in (first, second)]
    names = sorted(name for name in cards[0].keys() | cards[1].keys() if name != "id")
    metrics = [name for name in names if name.startswith("metrics.")]
    differing = [name for name in names if cards[0].get(name) != cards[1].get(name) and name not in metrics]
    comparable = first["snapshot"] == second["snapshot"] and first["protocol"] == second["protocol"]
    values = {name: [card.get(name) for card in cards] for name in differing + metrics}
    session.result = {"adapters": [first["id"], second["id"]], "comparable": comparable, "values": values}
    headings = {"": "", first["id"]: "right", second["id"]: "right"}
    session.show(table(headings, [[name, *map(_text, pair)] for name, pair in values.items()]))
    if not comparable:
        session.show("They were asked different targets, so their metrics cannot be compared.")


def _generation_row(home: Home, manifest: dict[str, Any]) -> list[str]:
    from recsys.publishing.binding import METRICS

    measured = read_json(home.generations / manifest["id"] / METRICS)["protocols"]
    own = next(name for name in manifest["settings"]["evaluation"]["protocols"] if name in measured)
    systems = measured[own]["systems"]
    figures = {name: summary["total"] for name, summary in systems.items()}
    served = "yes" if manifest["current"] else ""
    made = manifest["made"][:19].replace("T", " ")
    return [manifest["id"], served, made, manifest["adapter"], manifest["snapshot"], _figure(figures)]


def _adapter_figure(card: dict[str, Any]) -> str:
    if card["task"] == "classification":
        return f"accuracy {_text(card['metrics']['dev']['accuracy'])}"
    if card["task"] == "pretraining":
        return f"perplexity {card['metrics']['perplexity']['after']:.1f}"
    return f"NDCG@10 {_figure(card['metrics'])}"


def _figure(metrics: dict[str, Any]) -> str:
    return _text(metrics["recsys"]["ndcg@10"])


def _text(value: Any) -> str:
    return EMPTY if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _without_files(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "files"}


def publish(
    generation: Annotated[str | None, typer.Argument(help="Its id; the newest that is not served by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Serve it whatever the gate says.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Serve a generation if the gate lets it pass; exit code 3 if it does not."""
    with shell(home, as_json, debug) as session:
        chosen = generation or newest_generation(session, served=False)
        from flows.publish import RefusedError, publish_generation

        try:
            verdict = publish_generation(chosen, str(session.home.root), force)
        except RefusedError as error:
            session.result = {"generation": chosen, "published": False, **asdict(error.verdict)}
            raise Refused(str(error)) from None
        session.result = {"generation": chosen, "published": True, **asdict(verdict)}
        session.show(*verdict.findings, f"Generation {chosen} is served.")


def rollback(home: HomeOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Serve the generation before the current one again."""
    from recsys.store import generations

    with shell(home, as_json, debug) as session:
        session.result = {"generation": generations.rollback(session.home)}
        session.show(f"Generation {session.result['generation']} is served.")


def newest_generation(session: Shell, served: bool = True) -> str:
    """Return the id of the newest generation; without ``served``, of the newest that is not current."""
    found = [manifest for manifest in newest_generations(session.home) if served or not manifest["current"]]
    if not found:
        raise ArtifactError(f"There is no such generation in {session.home.generations}. Run `recsys train` first.")
    generation_id: str = found[0]["id"]
    return generation_id
