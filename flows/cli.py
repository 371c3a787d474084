"""The ``recsys`` command: each subcommand runs a flow, looks at what is stored, or starts the service.

Prefect, torch and polars are imported when a command needs them, after ``shell`` has prepared their environment.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows import progress
from flows.embedding import embed, export
from flows.keys import keys
from flows.learning import Seed, pretrain, show_metrics, train, tune
from flows.listings import adapters, generations, newest_generations
from flows.runtime import peak_memory
from flows.terminal import FAILED, DebugOption, HomeOption, JsonOption, Refused, Shell, shell, table
from flows.texts import classify
from recsys.artifacts import ArtifactError, read_json
from recsys.config import IngestConfig, ModelConfig, Protocol, from_dict

if TYPE_CHECKING:
    from recsys.data.quality import QualityReport

app = typer.Typer(
    help="From user behaviour and item descriptions to recommendations over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Events = Annotated[str, typer.Option(help="File, folder, glob or object-store URL: Parquet, CSV or NDJSON.")]
Items = Annotated[str, typer.Option(help="File, folder, glob or object-store URL: Parquet, CSV or NDJSON.")]
MapEvent = Annotated[list[str] | None, typer.Option(help="CONTRACT=COLUMN: what a column is called in the events.")]
MapItem = Annotated[list[str] | None, typer.Option(help="CONTRACT=COLUMN: what a column is called in the items.")]
BadShare = Annotated[float, typer.Option(min=0, max=1, help="Share of bad rows that may be set aside.")]
_BAD_SHARE = IngestConfig().max_quarantined_share


@app.command()
def demo(home: HomeOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """The main job on MovieLens 100K, from download to answers over HTTP."""
    with shell(home, as_json, debug) as session:
        started = time.monotonic()
        with progress.step("Start"):
            from flows.demo import demo_movielens

        done = demo_movielens(str(session.home.root))
        seconds, memory = round(time.monotonic() - started, 1), peak_memory()
        for user_id, answer in done.answers.items():
            _show_items(session, user_id, answer)
        _show_overview(session, read_json(Path(done.training.metrics)))
        place = session.home.generations / done.training.generation
        session.show(
            f"Generation {place}\n{'Found done' if done.training.reused else 'Trained'}; "
            f"{seconds:.0f} s in all, at most {memory:,} MiB in one process.\n\n"
            f"Next: recsys recommend --user {next(iter(done.answers))} --explain · recsys serve · recsys generations"
        )
        session.result = {**asdict(done), "seconds": seconds, "peak_memory_mib": memory}


@app.command()
def ingest(
    events: Events,
    items: Items,
    map_event: MapEvent = None,
    map_item: MapItem = None,
    max_bad_share: BadShare = _BAD_SHARE,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn raw events and items into a validated snapshot."""
    config = IngestConfig(_mapping(map_event), _mapping(map_item), max_bad_share)
    with shell(home, as_json, debug) as session:
        from flows.ingest import ingest_tables
        from recsys.data.snapshot import open_snapshot

        snapshot = open_snapshot(session.home, ingest_tables(events, items, str(session.home.root), config))
        session.show(f"Snapshot {snapshot.id} in {snapshot.path}")
        _show_quality(session, snapshot.manifest["quality"])
        session.result = {
            "snapshot": snapshot.id,
            "path": str(snapshot.path),
            **{name: snapshot.manifest[name] for name in ("counts", "times_known", "quality")},
        }


@app.command()
def validate(
    events: Events,
    items: Items,
    map_event: MapEvent = None,
    map_item: MapItem = None,
    max_bad_share: BadShare = _BAD_SHARE,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check raw events and items as ingest does, and write nothing."""
    config = IngestConfig(_mapping(map_event), _mapping(map_item), max_bad_share)
    with shell(home, as_json, debug) as session:
        from recsys.data import ingest

        report: QualityReport = ingest.validate(events, items, config)
        refusal = report.refusal()
        session.result = {"accepted": refusal is None, "quality": report.summary(), "refusal": refusal}
        _show_quality(session, report.summary())
        session.show(refusal or "Good enough to ingest.")
        if refusal:
            raise typer.Exit(FAILED)


@app.command()
def evaluate(
    generation: Annotated[str | None, typer.Argument(help="Its id; the newest by default.")] = None,
    protocol: Annotated[Protocol | None, typer.Option(help="How targets are held out; as in training.")] = None,
    out: Annotated[Path | None, typer.Option(help="Train all systems again and write metrics, lists, a page.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare a generation with the baselines: its stored metrics, or with --out everything trained anew."""
    with shell(home, as_json, debug) as session:
        from recsys.publishing.binding import METRICS
        from recsys.store.generations import read_generation

        folder, manifest = read_generation(session.home, generation or _newest_generation(session))
        document = read_json(folder / METRICS)
        if out is not None:
            from flows.evaluate import allowed_protocols, evaluate_systems
            from recsys.data.snapshot import open_snapshot

            settings = from_dict(ModelConfig, manifest["settings"])
            chosen = protocol or allowed_protocols(open_snapshot(session.home, manifest["snapshot"]), settings)[0]
            root = str(session.home.root)
            document = evaluate_systems(manifest["snapshot"], str(out), root, chosen, settings)
        elif protocol:
            document |= {"protocols": {name: part for name, part in document["protocols"].items() if name == protocol}}
            if not document["protocols"]:
                raise ValueError(
                    f"Generation {manifest['id']} has no metrics under {protocol}. Add --out to train for it."
                )
        show_metrics(session, document)
        session.result = {"generation": manifest["id"], "out": out, **document}


@app.command()
def publish(
    generation: Annotated[str | None, typer.Argument(help="Its id; the newest that is not served by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Serve it whatever the gate says.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Serve a generation if the gate lets it pass; exit code 3 if it does not."""
    with shell(home, as_json, debug) as session:
        chosen = generation or _newest_generation(session, served=False)
        from flows.publish import RefusedError, publish_generation

        try:
            verdict = publish_generation(chosen, str(session.home.root), force)
        except RefusedError as error:
            session.result = {"generation": chosen, "published": False, **asdict(error.verdict)}
            raise Refused(str(error)) from None
        session.result = {"generation": chosen, "published": True, **asdict(verdict)}
        session.show(*verdict.findings, f"Generation {chosen} is served.")


@app.command()
def rollback(home: HomeOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Serve the generation before the current one again."""
    from recsys.store import generations

    with shell(home, as_json, debug) as session:
        session.result = {"generation": generations.rollback(session.home)}
        session.show(f"Generation {session.result['generation']} is served.")


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Other than loopback only where there are keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 3000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
    home: HomeOption = None,
    debug: DebugOption = False,
) -> None:
    """Start the BentoML service of what is current; it follows the pointer."""
    from services import serve as service

    with shell(home, False, debug) as session:
        service.serve(session.home, host, port, workers)


@app.command()
def recommend(
    user: Annotated[str, typer.Option(help="User id; an unknown user gets what is popular.")],
    k: Annotated[int, typer.Option(min=1, max=200)] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Name reasons.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print one answer of the current generation, with titles and reasons."""
    with shell(home, as_json, debug) as session:
        from recsys.database.engine import Database
        from recsys.serving.recommender import Recommender
        from recsys.serving.users import People

        with progress.step("Load"):
            recommender = Recommender.open(session.home)
            database = Database.of(session.home)
            history = People(database).history(recommender, user)
            database.close()
            answer = recommender.recommend(history, k=k, explain=explain)
        session.result = {"user_id": user, **asdict(answer)}
        _show_items(session, user, session.result)


@app.command()
def benchmark(
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with events.* and items.*")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, lists.parquet and report.html.")],
    protocol: Annotated[Protocol, typer.Option(help="How targets are held out.")] = "leave-one-out",
    preset: Annotated[Literal["cpu", "gpu"], typer.Option(help="How much to train.")] = "cpu",
    seed: Seed = None,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings, from --seed on; figures are means.")] = 1,
    systems: Annotated[str | None, typer.Option(help="Comma-separated names; all by default.")] = None,
    shuffle_ties: Annotated[
        bool, typer.Option("--shuffle-ties", help="Shuffle a user's events of equal time.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train every baseline and every ablation of ours on a data folder, and write what anyone needs to check them."""
    with shell(home, as_json, debug) as session:
        from flows.benchmark import run_benchmark

        chosen = tuple(systems.split(",")) if systems else None
        root = str(session.home.root)
        document = run_benchmark(str(data), str(out), root, protocol, preset, seed or 0, chosen, seeds, shuffle_ties)
        show_metrics(session, document)
        session.show(f"Written to {out.absolute()}.")
        session.result = {"out": out.absolute(), **document}


app.command()(train)
app.command()(pretrain)
app.command()(tune)
app.command()(embed)
app.command()(export)
app.command()(generations)
app.command()(adapters)
app.command()(classify)
app.add_typer(keys, name="keys")


def _mapping(pairs: list[str] | None) -> dict[str, str]:
    parted = [pair.partition("=") for pair in pairs or []]
    for name, sign, column in parted:
        if not (name and sign and column):
            raise typer.BadParameter(f"{name + sign + column!r} is not of the form CONTRACT=COLUMN.")
    return {name: column for name, _, column in parted}


def _newest_generation(session: Shell, served: bool = True) -> str:
    """Return the id of the newest generation; without ``served``, of the newest that is not current."""
    found = [manifest for manifest in newest_generations(session.home) if served or not manifest["current"]]
    if not found:
        raise ArtifactError(f"There is no such generation in {session.home.generations}. Run `recsys train` first.")
    generation_id: str = found[0]["id"]
    return generation_id


def _show_overview(session: Shell, document: dict[str, Any]) -> None:
    """Show the two figures that matter most of every system under every protocol, in one table."""
    protocols = document["protocols"]
    totals = {name: {key: part["total"] for key, part in protocols[name]["systems"].items()} for name in protocols}
    systems = sorted(
        next(iter(totals.values())), key=lambda key: -sum(part[key]["ndcg@10"] for part in totals.values())
    )
    headings = {f"{name} {metric}": (name, metric.lower()) for name in protocols for metric in ("NDCG@10", "Recall@10")}
    rows = [[key, *(f"{totals[name][key][metric]:.4f}" for name, metric in headings.values())] for key in systems]
    session.show(table({"system": ""} | dict.fromkeys(headings, "right"), rows, "Held-out events, full ranking"))


def _show_quality(session: Shell, quality: dict[str, Any]) -> None:
    headings = {"table": "", "rows": "right", "set aside": "right", "reasons": ""}
    rows = [
        [name, f"{part['rows']:,}", f"{part['quarantined']:,}", _counted(part["reasons"])]
        for name, part in quality.items()
    ]
    session.show(table(headings, rows))


def _counted(reasons: dict[str, int]) -> str:
    return "; ".join(f"{count:,} × {reason}" for reason, count in reasons.items())


def _show_items(session: Shell, user_id: str, answer: dict[str, Any]) -> None:
    """Show one answer; it has the same fields whether it came over HTTP or not."""
    items = answer["items"]
    rows = [[str(item["fields"]["title"]), f"{item['score']:.3f}", "; ".join(item["reasons"])] for item in items]
    title = f"{user_id} is unknown: popular items" if answer["fallback"] else f"For user {user_id}"
    session.show(table({"title": "", "score": "right", "reasons": ""}, rows, title))
