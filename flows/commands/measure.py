"""`recsys evaluate` and `recsys benchmark`: ours beside the baselines."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows import progress
from flows.commands.tables import show_metrics, show_report
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, LogOption, RayOption, Seed, shell
from recsys.artifacts import ArtifactError, read_json
from recsys.config import LEAVE_ONE_OUT, Protocol
from recsys.errors import SettingError
from recsys.store.names import GENERATION, meant


def evaluate(
    generation: Annotated[str | None, typer.Argument(help="Id or alias; the newest by default.")] = None,
    protocol: Annotated[Protocol | None, typer.Option(help="How targets are held out; as in training.")] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Train all systems again and write metrics, lists, a page.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write the generation's page again; nothing is trained.")
    ] = False,
    ray: RayOption = None,
    log_file: LogOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare a generation with the baselines: its stored metrics, or with --out everything trained anew."""
    with shell(home, as_json, debug, log_file) as session:
        from recsys.evaluation.headline import METRICS_FILE, measured_by
        from recsys.store.generations import newest_id, read_generation

        if ray is not None and out is None:
            raise SettingError("Give --out beside --ray: without it nothing is trained.")
        chosen = newest_id(session.home) if generation is None else meant(session.home, GENERATION, generation)
        folder, manifest = read_generation(session.home, chosen)
        if out is None and not measured_by(folder):
            raise ArtifactError(f"Generation {manifest.id} has no figures that can be read. Add --out to measure anew.")
        document: Any = read_json(folder / METRICS_FILE) if out is None else {}
        if out is not None:
            from flows.evaluate import evaluate_systems
            from recsys.data.snapshot import open_snapshot
            from recsys.evaluation.held_out import allowed_protocols

            settings = manifest.config
            wanted = protocol or allowed_protocols(open_snapshot(session.home, manifest.snapshot), settings)[0]
            root = str(session.home.root)
            document = evaluate_systems(manifest.snapshot, str(out), root, wanted, settings, ray=ray)
        elif protocol:
            document |= {"protocols": {name: part for name, part in document["protocols"].items() if name == protocol}}
            if not document["protocols"]:
                raise SettingError(
                    f"Generation {manifest.id} has no metrics under {protocol}. Add --out to train for it."
                )
        show_metrics(session, document)
        session.result = {"generation": manifest.id, "out": out, **document}
        if report:
            from recsys.publishing.report import write_report

            with progress.step("Write the report"):
                session.result["report"] = write_report(session.home, manifest.id)
            show_report(session, manifest.id)


def benchmark(
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with events.* and items.*")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for metrics.json, lists.parquet and report.html.")],
    protocol: Annotated[Protocol, typer.Option(help="How targets are held out.")] = LEAVE_ONE_OUT,
    preset: Annotated[Literal["cpu", "gpu"], typer.Option(help="How much to train.")] = "cpu",
    seed: Seed = None,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings, from --seed on; figures are means.")] = 1,
    systems: Annotated[str | None, typer.Option(help="Comma-separated names; all by default.")] = None,
    shuffle_ties: Annotated[
        bool, typer.Option("--shuffle-ties", help="Shuffle a user's events of equal time.")
    ] = False,
    ray: RayOption = None,
    log_file: LogOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train every baseline and every ablation of ours on a data folder, and write what anyone needs to check them."""
    with shell(home, as_json, debug, log_file) as session:
        from flows.benchmark import run_benchmark

        chosen = tuple(systems.split(",")) if systems else None
        root = str(session.home.root)
        document = run_benchmark(
            str(data), str(out), root, protocol, preset, seed or 0, chosen, seeds, shuffle_ties, ray
        )
        show_metrics(session, document)
        session.show(f"Written to {out.absolute()}.")
        session.result = {"out": out.absolute(), **document}
