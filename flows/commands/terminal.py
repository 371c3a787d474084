"""What the commands share: options, output for people or as JSON, and errors as one line and an exit code."""

import contextlib
import io
import json
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from flows import progress
from flows.disk import full_disk
from flows.runtime import prepare
from recsys.artifacts import ID_DIGITS, ArtifactError
from recsys.config import ModelConfig, read_settings
from recsys.errors import RecsysError, RefusedError, SettingError
from recsys.evaluation.plain import cell, visible
from recsys.home import Home
from recsys.remote.following import reached
from recsys.store.names import SNAPSHOT, meant

FAILED, REFUSED = 1, 3  # 0 is done, 2 bad usage
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
STOPPED = {INTERRUPTED: "Ctrl+C", TERMINATED: "SIGTERM"}
DATABASE = "RECSYS_DATABASE_URL"  # as ``recsys/database/engine.py`` has it, which brings SQLAlchemy
KEPT = ("*.checkpoint", "tune-*.db")  # below ``runs``: where trainings and searches stand
WIDTH_OF_A_FILE = 120  # where the output is no terminal

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of all state, or s3://bucket/prefix; else RECSYS_HOME, else .recsys."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")]
RayOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Ray cluster that shares the work; else RECSYS_RAY_ADDRESS, else none."),
]
LogOption = Annotated[
    Path | None,
    typer.Option(
        "--log-file", dir_okay=False, help="A line every 30 s is added to this file: stage, step, loss, time left."
    ),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and warnings.")]

# Whatever says of itself what is wrong and what to do. Anything else is a bug, and says so.
CLEAR_ERRORS = (RecsysError, RuntimeError, OSError)  # RuntimeError: Prefect says by it that no server came up

Snapshot = Annotated[str | None, typer.Option(help="Snapshot id, or how it begins; the newest by default.")]
ModelFile = Annotated[Path | None, typer.Option(dir_okay=False, help="JSON file with settings of ModelConfig.")]
MAX_SEED = 2**32 - 1
Seed = Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Fixes every random choice.")]


class Shell:
    """What a command works with: the home, a place to show things, and the result for ``--json``."""

    def __init__(self) -> None:
        self.home: Home  # as soon as it is known that there can be one
        self.result: dict[str, Any] = {}
        self._shown: list[RenderableType] = []

    def show(self, *parts: RenderableType) -> None:
        """Show something when the command is done, below its progress."""
        self._shown += [Text(visible(part, lines=True)) if isinstance(part, str) else part for part in parts]

    def print(self, console: Console) -> None:
        """Print all that was shown."""
        for part in self._shown:
            console.print(part, highlight=False)


@contextlib.contextmanager
def shell(home: Path | None, as_json: bool, debug: bool, log: Path | None = None, make: bool = True) -> Iterator[Shell]:
    """Run a command's body: progress on stderr, the outcome on stdout, an error as one line and an exit code.

    Without ``make`` a home that is missing stays so.
    """
    session, started = Shell(), time.time()
    errors = _console(stderr=True)
    code, place = 0, None
    try:
        session.home = place = reached(home)
        prepare(session.home, make)
        with contextlib.ExitStack() as stack:
            if as_json:
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # for libraries that print
            if not debug:
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            stack.enter_context(_unwinding_on_sigterm())
            stack.enter_context(progress.shown(errors, log))
            yield session
    except typer.Exit as end:
        code = end.exit_code
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if debug:
            errors.print_exception()
        message, code = _explain(error, place) if isinstance(error, Exception) else _stopped(error, place, started)
        _tell(errors, "Refused" if code == REFUSED else "Stopped" if code in STOPPED else "Error", message)
        session.result |= {"error": message}
    session.print(errors if as_json else _console())
    if as_json:
        print_json(session.result)
    if code:
        raise typer.Exit(code)


def print_json(result: dict[str, Any]) -> None:
    """Print the one object of ``--json``; what stdout's encoding lacks is escaped."""
    line = json.dumps(result, ensure_ascii=False, allow_nan=False, default=str)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(result, allow_nan=False, default=str)
    print(line)


@contextlib.contextmanager
def before_any_command() -> Iterator[None]:
    """Tell what fails outside of a command's body, such as a working folder that is gone, likewise in one line."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a title that a terminal cannot show fails no command
        _check_words(sys.argv[1:])
        yield
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        message, code = _explain(error)
        _tell(_console(stderr=True), "Error", message)
        sys.exit(code)


def _check_words(words: list[str]) -> None:
    """Refuse what is no text: nothing that is stored or asked for can be called so.

    Raises:
        SettingError: a word is not written in UTF-8.
    """
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise SettingError(f"{word!a} is no text in UTF-8. Give names and paths in UTF-8.") from None


def _tell(console: Console, word: str, message: str) -> None:
    console.print(Text.assemble((f"{word}:", "bold red"), f" {visible(message, lines=True)}"), soft_wrap=True)


def table(headings: dict[str, str], rows: list[list[str]], title: str | None = None) -> Table:
    """Return a table of texts; ``headings`` maps each heading to ``left`` or ``right``. No id is broken in two."""
    shown = Table(title=None if title is None else Text(cell(title)))
    for place, (heading, side) in enumerate(headings.items()):
        whole = ID_DIGITS if any(re.match(f"[0-9a-f]{{{ID_DIGITS}}}", row[place]) for row in rows) else None
        shown.add_column(heading, justify="right" if side == "right" else "left", min_width=whole)
    for row in rows:
        shown.add_row(*[Text(cell(value)) for value in row])  # a str would be read as markup
    return shown


@contextlib.contextmanager
def _unwinding_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the command as Ctrl+C does, so that the servers it has started end with it."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(error: BaseException, home: Home | None, started: float) -> tuple[str, int]:
    """Say what a command that was told to end has kept, and how it goes on."""
    code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else TERMINATED
    if isinstance(error, SystemExit) and error.code != TERMINATED:
        raise error
    files = [path for kind in KEPT for path in home.runs.rglob(kind)] if home else []
    kept = [path for path in files if path.stat().st_mtime >= started]
    if kept:
        newest = max(kept, key=lambda path: path.stat().st_mtime)
        return f"{STOPPED[code]}. {newest} is kept; the same command goes on from there.", code
    return f"{STOPPED[code]}. Run the same command again: what was done before is found.", code


def _explain(error: Exception, home: Home | None = None) -> tuple[str, int]:
    if isinstance(error, RefusedError):
        return str(error), REFUSED
    full = full_disk(error, home.root) if home else None
    if full is not None:
        return full, FAILED
    httpx = sys.modules.get("httpx")  # whatever raises its errors has imported it, which takes a while
    if httpx is not None and isinstance(error, httpx.HTTPError):
        return (
            f"No answer from the server ({type(error).__name__}: {error}). Check PREFECT_API_URL and try again.",
            FAILED,
        )
    database = sys.modules.get("sqlalchemy.exc")
    if database is not None and (
        isinstance(error, database.OperationalError | database.InterfaceError | database.TimeoutError)
        or type(error) is database.DatabaseError  # a file that is none; what comes of it is our mistake
    ):
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        where = DATABASE if os.environ.get(DATABASE) else home.events_database if home else "it"
        return f"The database of live events cannot be used: {said}. Look at {where}, and try again.", FAILED
    if isinstance(error, CLEAR_ERRORS) and str(error):
        return str(error), FAILED
    return f"{type(error).__name__}: {error}. This is a bug; --debug shows where.", FAILED


def _console(stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDTH_OF_A_FILE)


def settings(config: Path | None, seed: int | None) -> ModelConfig:
    """Return the settings of a file, or the default ones, with another seed where one is given."""
    model = read_settings(ModelConfig, config) if config else ModelConfig()
    return model if seed is None else replace(model, seed=seed)


def named_snapshot(session: Shell, name: str | None) -> str:
    """Return the id of the snapshot that is named by it, or by how it begins; without a name, of the newest.

    Raises:
        ArtifactError: there is none.
    """
    from recsys.data.snapshot import list_snapshots

    if name is not None:
        return meant(session.home, SNAPSHOT, name)

    snapshots = list_snapshots(session.home)
    if not snapshots:
        raise ArtifactError(f"There is no snapshot in {session.home.snapshots}. Run `recsys ingest` first.")
    return snapshots[-1].id
