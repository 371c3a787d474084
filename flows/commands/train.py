"""`recsys train`, `pretrain`, `tune` and `teach`: the encoder learns from a snapshot, and from what was chosen."""

from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from flows.commands.tables import show_metrics, show_parts, show_report
from flows.commands.terminal import (
    MAX_SEED,
    DebugOption,
    HomeOption,
    JsonOption,
    LogOption,
    ModelFile,
    RayOption,
    Seed,
    Snapshot,
    named_snapshot,
    settings,
    shell,
    table,
)
from recsys.artifacts import read_json
from recsys.config import PairsConfig, PretrainConfig, TuneConfig, read_settings
from recsys.errors import SettingError
from recsys.ranking.parts import Parts, parts_of
from recsys.store.names import ADAPTER, GENERATION, meant


def train(
    snapshot: Snapshot = None,
    config: ModelFile = None,
    seed: Seed = None,
    resume_from: Annotated[
        str | None,
        typer.Option(metavar="ADAPTER", help="Go on from this adapter, by its settings, with newer events and items."),
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(metavar="ADAPTER", help="Begin with the weights of this one of `recsys pretrain`.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="ADAPTER", help="Fit all but BERT on this one's vectors; it stays as it is.")
    ] = None,
    ray: RayOption = None,
    log_file: LogOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Fine-tune an adapter and train a generation on a snapshot; it is not served yet."""
    with shell(home, as_json, debug, log_file) as session:
        if resume_from is not None and pretrained is not None:
            raise SettingError("Give --resume-from or --pretrained, not both: an adapter goes on from one other.")
        if adapter is not None and (resume_from, pretrained) != (None, None):
            raise SettingError("Give --adapter alone: it stays as it is, and the others are trained.")
        model = settings(config, seed)
        kept, begun = (None if one is None else meant(session.home, ADAPTER, one) for one in (adapter, pretrained))
        given = {"pretrained": kept, "rounds": 0} if kept else {"pretrained": begun} if begun else {}
        model = replace(model, adapter=replace(model.adapter, **given))
        chosen = named_snapshot(session, snapshot)
        from flows.train import train_generation

        done = train_generation(chosen, str(session.home.root), model, resume_from, ray)
        show_metrics(session, read_json(Path(done.metrics)))
        parts = Parts.read(session.home.generations / done.generation)
        if parts is not None:
            show_parts(session, parts)
        session.show(
            f"Generation {done.generation}, adapter {done.adapter}{f' of {done.parent}' if done.parent else ''}: "
            f"{'found done' if done.reused else f'trained in {done.seconds:.0f} s'}."
        )
        report = show_report(session, done.generation)
        session.show("Next: recsys publish")
        session.result = asdict(done) | parts_of(session.home.generations / done.generation) | {"report": report}


def pretrain(
    snapshot: Snapshot = None,
    config: Annotated[
        Path | None, typer.Option(dir_okay=False, help="JSON file with settings of PretrainConfig.")
    ] = None,
    model: ModelFile = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the texts.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Store the adapter whether or not it pays.")] = False,
    seed: Seed = None,
    log_file: LogOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Pre-train the base on a snapshot's item texts; the adapter is kept only where it pays for recommendation."""
    with shell(home, as_json, debug, log_file) as session:
        given = read_settings(PretrainConfig, config) if config else PretrainConfig()
        given, judge = replace(given, epochs=epochs or given.epochs), settings(model, seed)
        chosen = named_snapshot(session, snapshot)
        from flows.pretrain import pretrain_encoder, verdict

        done = pretrain_encoder(chosen, str(session.home.root), given, judge, keep)
        headings = dict.fromkeys(("epoch", "loss", "perplexity"), "right")
        rows = [[f"{row['epoch']:.0f}", f"{row['loss']:.4f}", f"{row['perplexity']:.1f}"] for row in done.history]
        before, after = done.perplexity["before"], done.perplexity["after"]
        session.show(
            table(headings, rows),
            f"Perplexity of held-out texts: {before:.1f} with the head alone fitted, {after:.1f} with LoRA.",
            verdict(done),
        )
        if done.adapter:
            session.show(f"Next: recsys train --pretrained {done.adapter}")
        session.result = asdict(done)


def teach(
    pairs: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Parquet, CSV, TSV, NDJSON: query, item_id, weight.")
    ],
    generation: Annotated[
        str | None, typer.Option(help="Whose search is taught; the served one by default, else the newest.")
    ] = None,
    config: Annotated[Path | None, typer.Option(dir_okay=False, help="JSON file with settings of PairsConfig.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the pairs.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Bind the generation whether or not it pays.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Fixes every random choice.")] = 0,
    log_file: LogOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Teach the search by what people chose after a query: a generation, where that pays; it is not served yet."""
    with shell(home, as_json, debug, log_file) as session:
        given = read_settings(PairsConfig, config) if config else PairsConfig()
        given = replace(given, epochs=epochs or given.epochs)
        from flows.teach import teach_generation, verdict
        from recsys.store.generations import current_id, newest_id

        named = None if generation is None else meant(session.home, GENERATION, generation)
        chosen = named or current_id(session.home) or newest_id(session.home)
        done = teach_generation(str(pairs), chosen, str(session.home.root), given, seed, keep)
        headings = dict.fromkeys(("epoch", "loss"), "right")
        rows = [[f"{row['epoch']:.0f}", f"{row['loss']:.4f}"] for row in done.history]
        session.show(table(headings, rows), verdict(done))
        if done.generation:
            session.show(f"Next: recsys publish {done.generation}")
        session.result = asdict(done)


def tune(
    snapshot: Snapshot = None,
    config: ModelFile = None,
    trials: Annotated[int | None, typer.Option(min=1, help="In all; those of a killed search count.")] = None,
    at_once: Annotated[
        int | None,
        typer.Option(min=1, help="Drawn together, for nodes of a cluster to try side by side; 1 by default."),
    ] = None,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Train with the best settings.")] = True,
    seed: Seed = None,
    ray: RayOption = None,
    log_file: LogOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Search settings of adapter and towers by validation, and train a generation with the best."""
    with shell(home, as_json, debug, log_file) as session:
        search = TuneConfig(trials=trials or TuneConfig().trials, at_once=at_once)
        begin = settings(config, seed)
        chosen = named_snapshot(session, snapshot)
        from flows.tune import tune_settings

        done = tune_settings(chosen, str(session.home.root), begin, search, train, ray)
        names = list(done.trials[0].settings)
        shown = (name.replace(".", " ").replace("_", " ") for name in names)
        headings = dict.fromkeys(("trial", "N@10", "epochs", *shown), "right")
        rows = [
            [f"{row.number}{' *' if row.number == done.best else ''}", f"{row.value:.4f}"]
            + [f"{row.epochs}{' pruned' if row.state == 'pruned' else ''}"]
            + [f"{row.settings[name]:.3g}" for name in names]
            for row in done.trials
        ]
        session.show(table(headings, rows, "Validation NDCG@10 of the towers; * is the best"), f"Plot: {done.plot}")
        if done.training:
            show_metrics(session, read_json(Path(done.training.metrics)))
            session.show(f"Generation {done.training.generation}, adapter {done.training.adapter}.")
            show_report(session, done.training.generation)
            session.show("Next: recsys publish")
        else:
            session.show(f"Next: recsys train --snapshot {chosen} --config {quote(done.config)}")
        session.result = asdict(done)
