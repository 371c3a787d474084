"""What a command says of words, places and databases that are none: exit codes, one line, and no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic import Dataset
from test_cli import run, shown

from flows.cli import app
from recsys.home import Home


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest"],
        ["ingest", "--events", "e.csv", "--items", "i.csv", "--map-event", "user_id"],
        ["ingest", "--events", "e.csv", "--items", "i.csv", "--max-bad-share", "2"],
        ["generations", "show"],
        ["generations", "burn"],
        ["adapters", "compare", "0123456789abcdef"],
        ["recommend", "--user", "u000", "--k", "0"],
        ["train", "--config", "."],
        ["train", "--log-file", "."],
        ["publish", "--gate", ""],
        ["export-events", "."],
        ["experiments", "--csv", "/"],
        ["simulate", "--out", __file__],
        ["evaluate", "--out", __file__],
        ["evaluate", "--protocol", "random"],
        ["benchmark", "no-such-folder", "--out", "out"],
        ["nothing"],
    ],
)
def test_bad_usage_is_2(arguments: list[str]) -> None:
    assert "Usage:" in shown(*arguments, code=2)
    assert run(*arguments, code=2)["error"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["recommend", "--user", "u000"], "Nothing is published"),
        (["rollback"], "no earlier generation"),
        (["publish"], "Run `recsys train` first"),
        (["train"], "Run `recsys ingest` first"),
        (["evaluate"], "Run `recsys train` first"),
        (["generations", "show", "0123456789abcdef"], "There is no generation '0123456789abcdef'"),
        (["adapters", "delete", "../secret"], "no adapter id"),
        (["serve", "--host", "0.0.0.0"], "not a loopback address"),
        # a variable that a script has not set names nothing, and not the newest
        (["publish", ""], "'' is no generation id"),
        (["rollback", "--to", ""], "'' is no generation id"),
        (["evaluate", ""], "'' is no generation id"),
        (["snapshots", "delete", ""], "'' is no snapshot id"),
        (["train", "--adapter", ""], "'' is no adapter id"),
        (["validate", "--events", "", "--items", ""], "The location of the items is empty"),
        (["prune", "--min-age", "inf"], "inf hours are no age"),
        (["export", "--adapter", "", "--out", "no-such-folder"], "'' is no adapter id"),
    ],
)
def test_a_failure_is_1_and_one_line(prefect_server: str, arguments: list[str], told: str, tmp_path: Path) -> None:
    output = shown(*arguments, "--home", tmp_path, code=1)
    assert told in output
    assert output.startswith("Error: ")
    if arguments[0] != "serve":
        assert told in run(*arguments, "--home", tmp_path, code=1)["error"]


def test_a_home_that_can_be_none_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for none, said in (
        (tmp_path / "file", "something else lies there"),
        (tmp_path / "file" / "home", "a folder above it is none"),
        (tmp_path / ("long" * 100), "a name in it is too long"),
        (tmp_path / "link" / "home", "it is a link that leads to itself"),
    ):
        told = run("adapters", "--home", none, code=1)["error"]
        assert told == f"{none} cannot be the home: {said}. Name another, by --home or RECSYS_HOME."
    assert "has a line end or another control" in run("adapters", "--home", tmp_path / "a\nb", code=1)["error"]
    assert not (tmp_path / "a\nb").exists()
    output = shown("train", "--log-file", tmp_path / "file" / "log", "--home", tmp_path / "home", code=1)
    assert output.startswith("Error: ")
    assert output.count("\n") == 1


@pytest.mark.parametrize("arguments", [["adapters"], ["keys", "list"], ["generations", "--json"]])
def test_a_place_that_is_none_is_said_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    """Also where it is found before a command's own work begins."""
    place = tmp_path / "gone"
    place.mkdir()
    gone = "import os; os.rmdir(os.getcwd()); from flows.cli import app; app()"
    command = [sys.executable, "-c", gone, *arguments]
    kept = {name: value for name, value in os.environ.items() if name != "RECSYS_HOME"}
    done = subprocess.run(command, cwd=place, env=kept, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "the working folder is gone" in done.stderr
    output = shown(*[word for word in arguments if word != "--json"], "--home", "~nobody-of-this-name/home", code=1)
    assert output.startswith("Error: ~nobody-of-this-name/home names a user's folder that is not known")
    assert output.count("\n") == 1


def test_what_fails_outside_of_a_command_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def failing() -> None:
        raise PermissionError(13, "Permission denied", "/[/home]")

    monkeypatch.setattr("flows.cli.begin_command", failing)
    monkeypatch.setattr(sys, "argv", ["recsys", "adapters"])
    with pytest.raises(SystemExit) as end:
        app()
    assert end.value.code == 1
    assert capsys.readouterr().err == "Error: [Errno 13] Permission denied: '/[/home]'\n"
    monkeypatch.setattr(sys, "argv", ["recsys", "adapters", "--debug"])
    with pytest.raises(PermissionError):
        app()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "sqlite:///{}/broken.db",
            "The database of live events cannot be used: file is not a database. Look at RECSYS_",
        ),
        ("sqlite:///{}/none/x.db", "cannot be used: unable to open database file"),
        ("nothing:secret", "The URL of the database is none"),
        ("postgresql+nothing://ann:secret@127.0.0.1/x", "Install psycopg"),
    ],
)
def test_a_database_that_cannot_be_used_is_no_bug(
    url: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.db").write_text("This is none, and longer than the head of one would be. " * 20)
    monkeypatch.setenv("RECSYS_DATABASE_URL", url.format(tmp_path))
    said = run("export-events", tmp_path / "events.parquet", "--home", tmp_path / "home", code=1)["error"]
    assert told in said
    assert "secret" not in said


def test_what_is_no_text_is_refused_and_what_cannot_be_shown_is_escaped(home: Home) -> None:
    start = [sys.executable, "-c", "from flows.cli import app; app()", "recommend", "--k", "1", "--user"]
    place = os.environ | {"RECSYS_HOME": str(home.root), "PYTHONIOENCODING": "ascii"}
    for asked, environment in (("jür\udcff", place), ("jürgen", place | {"RECSYS_HOME": "/tmp/\udcff"})):
        done = subprocess.run([*start, asked], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "udcff' is no text in UTF-8" in done.stderr
    told = subprocess.run([*start, "jürgen", "--json"], env=place, capture_output=True, check=True)
    assert json.loads(told.stdout)["user_id"] == "jürgen"
    assert b"j\\xfcrgen is unknown" in told.stderr


def test_every_command_that_trains_takes_a_cluster(home: Home, dataset: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'recsys[ray]'")
    for name, *others in (["train"], ["tune", "--no-train"], ["evaluate", "--out", tmp_path]):
        assert "Nobody answers" in run(name, *others, "--ray", "127.0.0.1:9", "--home", home.root, code=1)["error"]
    data = ("benchmark", dataset.folder, "--out", tmp_path)
    assert "Nobody answers" in run(*data, "--ray", "127.0.0.1:9", "--home", home.root, code=1)["error"]
    assert "Give --out" in run("evaluate", "--ray", "127.0.0.1:9", "--home", home.root, code=1)["error"]
