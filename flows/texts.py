"""The commands that work on texts alone."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import DebugOption, HomeOption, JsonOption, shell, table
from recsys.artifacts import read_json
from recsys.config import ClassifierConfig, from_dict


def classify(
    train: Annotated[Path, typer.Option(help="Texts to learn from: Parquet, CSV, TSV, NDJSON, or lines: label text.")],
    dev: Annotated[Path, typer.Option(help="Texts that the epochs are judged by.")],
    test: Annotated[Path | None, typer.Option(help="Texts that are scored once, at the end.")] = None,
    base: Annotated[str | None, typer.Option(help="Package, Hugging Face name or folder of the base model.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most.")] = None,
    text_column: Annotated[str, typer.Option(help="Where the texts are.")] = "text",
    label_column: Annotated[str, typer.Option(help="Where the labels are.")] = "label",
    config: Annotated[Path | None, typer.Option(help="JSON file with settings of ClassifierConfig.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes every random choice.")] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a text classifier, stored as an adapter that the service answers with."""
    with shell(home, as_json, debug) as session:
        from flows.classify import train_text_classifier

        settings = from_dict(ClassifierConfig, read_json(config)) if config else ClassifierConfig()
        settings = replace(settings, base=base or settings.base, epochs=epochs or settings.epochs)
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
