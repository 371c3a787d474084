"""The ``recsys`` command: each subcommand runs a flow, looks at what is stored, or starts the service.

Prefect, torch and polars are imported when a command needs them, after ``shell`` has prepared their environment.
"""

import typer

from flows.commands.data import ingest, validate
from flows.commands.demo import demo
from flows.commands.generations import adapters, generations, publish, rollback
from flows.commands.measure import benchmark, evaluate
from flows.commands.service import keys, recommend, serve
from flows.commands.texts import classify, embed, export
from flows.commands.train import pretrain, train, tune
from flows.commands.ui import ui

app = typer.Typer(
    help="From user behaviour and item descriptions to recommendations over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# in the order in which `recsys --help` lists them
for command in (
    *(demo, ingest, validate, train, pretrain, tune, classify, evaluate, benchmark),
    *(publish, rollback, generations, adapters, serve, recommend, embed, export, ui),
):
    app.command()(command)
app.add_typer(keys, name="keys")
