"""Texts alone: `recsys embed` and `export` for vectors, `recsys classify` for labels."""

import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows import progress
from flows.commands.terminal import MAX_SEED, DebugOption, HomeOption, JsonOption, LogOption, RayOption, shell, table
from recsys.config import ClassifierConfig, read_settings
from recsys.errors import SettingError
from recsys.store.names import ADAPTER, meant

AdapterOption = Annotated[str | None, typer.Option(help="Adapter id or alias; of the served generation by default.")]
BaseOption = Annotated[str | None, typer.Option(help="A base model without any adapter.")]


def embed(
    texts: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Parquet, CSV, NDJSON; .txt: a text a line.")
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Parquet file for id and vector.")],
    adapter: AdapterOption = None,
    base: BaseOption = None,
    id_column: Annotated[str | None, typer.Option("--id", help="Column of ids; id or item_id by default.")] = None,
    text_column: Annotated[str | None, typer.Option("--text", help="Column of texts; text by default.")] = None,
    max_tokens: Annotated[int, typer.Option(min=3, max=512, help="Of a text, with --base.")] = 64,
    ray: RayOption = None,
    log_file: LogOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write texts, or a catalogue, as unit vectors: the same that POST /v1/embed answers. Killed, it goes on."""
    with shell(home, as_json, debug, log_file) as session:
        from recsys.distributed.cluster import executor_at
        from recsys.interactive.texts import open_vectors
        from recsys.texts.tables import embed_table, read_texts

        with progress.step("Open the encoder"):
            encoder, text = open_vectors(session.home, adapter, base, max_tokens)
        table = read_texts(texts, id_column, text_column, text)
        started = time.monotonic()
        with executor_at(ray) as executor:
            told = partial(progress.report, "Encode texts")
            done = embed_table(table, encoder, out.absolute(), told, executor)
        seconds = round(time.monotonic() - started, 2)
        form = encoder.parts[0].card.form
        session.result = {
            **asdict(done), "out": out.absolute(), "base": encoder.base, "adapter": encoder.adapter_id,
            "form": form, "seconds": seconds,
        }  # fmt: skip
        found = f", {done.resumed:,} of them found done" if done.resumed else ""
        session.show(f"{done.rows:,} vectors of {done.dimensions} in {out}{found}; {seconds:.1f} s with {form}.")


def export(
    out: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
    adapter: AdapterOption = None,
    base: BaseOption = None,
    form: Annotated[
        Literal["onnx", "openvino", "torch", "peft", "sentence-transformers"],
        typer.Option(help="ONNX runs nearly everywhere; peft: the adapter alone, for its base."),
    ] = "onnx",
    weights: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(help="Of ONNX: narrower ones make a smaller file; what they move vectors by is measured."),
    ] = "fp32",
    texts: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Measured on these; by default on the adapter's catalogue."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write an encoder, its adapter merged, with its tokenizer, for other programs: ids and mask to vectors."""
    with shell(home, as_json, debug) as session:
        from recsys.interactive.texts import served_adapter
        from recsys.store.exports import export_encoder
        from recsys.texts.tables import sample_texts

        if out.exists():
            raise SettingError(f"{out} exists already. Name a new folder.")
        named = None if adapter is None else meant(session.home, ADAPTER, adapter)
        chosen = named if base or named else served_adapter(session.home)
        sample = [] if weights == "fp32" else sample_texts(session.home, chosen, texts)
        with progress.step("Export"):
            card = export_encoder(session.home, out.absolute(), form, base, chosen, weights, sample)
        session.result = {"out": out.absolute(), **card.to_dict()}
        if card.distance:
            session.show(
                f"1−cos of {card.distance.texts:,} texts to those of fp32: {card.distance.mean:.1e} on average, "
                f"{card.distance.max:.1e} at most."
            )
        session.show(f"{form} of {card.base} with adapter {card.adapter} in {out}.")


def classify(
    train: Annotated[Path, typer.Option(help="Texts to learn from: Parquet, CSV, TSV, NDJSON, or lines: label text.")],
    dev: Annotated[Path, typer.Option(help="Texts that the epochs are judged by.")],
    test: Annotated[Path | None, typer.Option(help="Texts that are scored once, at the end.")] = None,
    base: Annotated[str | None, typer.Option(help="Package, Hugging Face name or folder of the base model.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most.")] = None,
    text_column: Annotated[str, typer.Option(help="Where the texts are.")] = "text",
    label_column: Annotated[str, typer.Option(help="Where the labels are.")] = "label",
    config: Annotated[
        Path | None, typer.Option(dir_okay=False, help="JSON file with settings of ClassifierConfig.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Fixes every random choice.")] = 0,
    log_file: LogOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a text classifier, stored as an adapter that the service answers with."""
    with shell(home, as_json, debug, log_file) as session:
        settings = read_settings(ClassifierConfig, config) if config else ClassifierConfig()
        lora = replace(settings.lora, base=base or settings.lora.base)
        settings = replace(settings, lora=lora, epochs=epochs or settings.epochs)
        from flows.classify import train_text_classifier

        done = train_text_classifier(
            str(train), str(dev), str(test) if test else None, str(session.home.root), settings, seed,
            text_column, label_column,
        )  # fmt: skip
        headings = {"epoch": "right"} | dict.fromkeys(
            ("train loss", "train accuracy", "dev loss", "dev accuracy"), "right"
        )
        rows = [
            [f"{row['epoch']:.0f}{' *' if row['epoch'] == done.epochs else ''}"]
            + [f"{row[heading.replace(' ', '_')]:.4f}" for heading in list(headings)[1:]]
            for row in done.history
        ]
        session.show(table(headings, rows, "* is kept"))
        if done.test:
            session.show(f"Test: loss {done.test['loss']:.4f}, accuracy {done.test['accuracy']:.4f}.")
        how = "found done" if done.reused else "trained"
        session.show(
            f"Adapter {done.adapter} tells {', '.join(done.labels)} apart: {how}."
            "\nNext: recsys serve, then POST /v1/classify"
        )
        session.result = asdict(done)
