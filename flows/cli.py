"""The ``recsys`` command: each subcommand runs a flow, looks at what is stored, or starts the service.

Prefect, torch and polars are imported when a command needs them, after ``shell`` has prepared their environment.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from flows.commands.adapters import adapters
from flows.commands.backup import backup, restore
from flows.commands.batch import batch
from flows.commands.data import export_events, ingest, validate
from flows.commands.demo import demo
from flows.commands.deploy import deploy
from flows.commands.doctor import doctor
from flows.commands.experiments import experiments
from flows.commands.generations import generations
from flows.commands.measure import benchmark, evaluate
from flows.commands.monitor import monitor
from flows.commands.publish import promotions, publish, rollback
from flows.commands.service import bento, keys, recommend, serve
from flows.commands.simulate import simulate
from flows.commands.snapshots import prune, snapshots
from flows.commands.tenants import tenants
from flows.commands.terminal import before_any_command, print_json
from flows.commands.texts import classify, embed, export
from flows.commands.train import pretrain, teach, train, tune
from flows.commands.ui import ui
from flows.runtime import begin_command

JSON = "--json"


class Commands(TyperGroup):
    """All commands: whoever asks for JSON is told in it what is wrong with the words of a command as well."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        asked = JSON in args  # which parsing takes out of the list
        with _usage(asked):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[JSON] = asked
        return context

    def invoke(self, ctx: Any) -> Any:
        with _usage(ctx.meta[JSON]):
            return super().invoke(ctx)


@contextmanager
def _usage(as_json: bool) -> Iterator[None]:
    try:
        yield
    except TyperException as error:
        if as_json:
            print_json({"error": error.format_message()})
        raise


class Command(typer.Typer):
    """What a process runs: it is that command's alone, unlike one in which tests or a notebook call commands."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with before_any_command():
            begin_command()
            return super().__call__(*args, **kwargs)


app = Command(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"recsys {version('recsys')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """From user behaviour and item descriptions to recommendations over HTTP."""


# in the order in which `recsys --help` lists them
for command in (
    *(demo, ingest, validate, train, pretrain, teach, tune, classify, evaluate, benchmark),
    *(publish, rollback, promotions, generations, adapters, experiments, snapshots, prune, backup, restore),
    *(serve, bento, recommend, batch, monitor, embed, export, export_events, simulate, ui, deploy, doctor),
):
    app.command()(command)
app.add_typer(keys, name="keys")
app.add_typer(tenants, name="tenants")
