"""The ``recsys`` command: exit codes, one JSON object on stdout, errors that say where, no state but below the home."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from processes import PATIENCE_SECONDS
from synthetic import SMALL, Dataset, write_dataset
from test_pipeline import hopeless_generation
from typer.testing import CliRunner

from flows.cli import app
from flows.commands.terminal import INTERRUPTED, TERMINATED
from recsys.artifacts import write_json
from recsys.config import to_dict
from recsys.errors import RefusedError
from recsys.home import Home
from recsys.store.generations import current_id

BESIDE = """
import sys
from flows.runtime import prepare, server_starting
from recsys.home import Home
prepare(Home.from_environment())
with server_starting():
    pass
server = sys.modules.get("prefect.server.api.server")
print(server is not None)
if server is not None:
    import httpx
    print(httpx.get(server.SubprocessASGIServer().api_url + "/health").status_code)
"""
LISTING = """
import sys
from typer.testing import CliRunner
from flows.cli import app
for command in (["--help"], ["generations"], ["promotions"], ["adapters"], ["keys", "list"]):
    assert CliRunner().invoke(app, command).exit_code == 0, command
print(*{name.partition(".")[0] for name in sys.modules})
"""
COMMANDS = {
    *("demo", "ingest", "validate", "train", "evaluate", "publish", "rollback", "promotions"),
    *("generations", "adapters"),
    *("serve", "recommend", "benchmark", "classify", "embed", "export", "pretrain", "teach", "tune", "ui"),
    *("simulate", "batch", "bento", "monitor", "experiments", "snapshots", "prune", "deploy", "export-events"),
    "doctor",
    *("backup", "restore"),
}


@pytest.fixture
def copied_home(home: Home, tmp_path: Path) -> Home:
    """A home of one's own with a served generation."""
    return Home(Path(shutil.copytree(home.root, tmp_path / "home")))


def run(*arguments: Any, code: int = 0) -> Any:
    """Run a command with --json in this process, check its exit code, and return the one object on stdout."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def shown(*arguments: Any, code: int = 0) -> str:
    """Run a command for people and return stdout and stderr."""
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_all_commands_are_there_and_explain_themselves() -> None:
    assert {
        (command.name or command.callback.__name__).replace("_", "-")
        for command in app.registered_commands
        if command.callback
    } == COMMANDS
    for name in COMMANDS:
        assert "--home" in shown(name, "--help")


def test_a_run_that_finds_its_work_done_imports_no_transformers() -> None:
    """They take longer to import than all else that such a run needs; whatever loads a model imports them then."""
    listing = "import sys, flows.demo; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "prefect", "lancedb"} <= set(loaded)
    assert not {"transformers", "peft", "accelerate"} & set(loaded)


def test_a_list_is_shown_without_what_takes_long_to_import(home: Home) -> None:
    """torch, Prefect and Polars take seconds; what is stored is listed from small files of JSON."""
    told = subprocess.run(
        [sys.executable, "-c", LISTING],
        env=os.environ | {"RECSYS_HOME": str(home.root)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    heavy = {"torch", "prefect", "polars", "numpy", "pyarrow", "lancedb", "httpx", "transformers"}
    assert not heavy & set(told.stdout.split())


def test_the_version_is_told_and_words_are_completed() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"recsys {version('recsys')}\n"
    asked = {"_RECSYS_COMPLETE": "complete_bash", "COMP_WORDS": "recsys gen", "COMP_CWORD": "1"}
    command = [Path(sys.executable).with_name("recsys")]
    told = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["generations"]


def test_a_home_of_any_name_holds_all_that_is_made(copied_home: Home, tmp_path: Path) -> None:
    served, worse = current_id(copied_home), hopeless_generation(copied_home)
    odd = Home(tmp_path / "Jürgen's [new]*" / "home?#1 {%20}")
    odd.root.parent.mkdir()
    copied_home.root.rename(odd.root)
    place = ("--home", odd.root)
    assert run("publish", worse, "--force", "--reason", "to go back from it", *place)["generation"] == worse
    assert run("rollback", *place)["generation"] == served
    assert run("recommend", "--user", "u000", *place)["items"]
    assert odd.events_database.is_file()
    assert Path(run("evaluate", "--report", *place)["report"]).is_file()
    text = tmp_path / "text.txt"
    text.write_text("A film.\n")
    assert run("embed", text, "--out", odd.root / "[v].parquet", *place)["rows"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [odd.root.parent.name, "text.txt"]
    assert [path.name for path in odd.root.parent.iterdir()] == [odd.root.name]


@pytest.mark.parametrize("text", ["[deleted]", "[/deleted]", "[bold red]", "[link=file:///]x[/]", "\\[x]"])
def test_what_looks_like_markup_is_shown_as_it_is(copied_home: Home, text: str) -> None:
    place = ("--home", copied_home.root)
    adapter = run("adapters", *place)["adapters"][0]["id"]
    assert f"{text} is unknown" in shown("recommend", "--user", text, *place)
    assert f"#{text}" in shown("adapters", "tag", adapter, text, *place)
    assert f"Note: {text}" in shown("adapters", "note", adapter, text, *place)
    assert text in shown("keys", "create", "--name", text, "--scope", "admin", *place)
    assert text in shown("keys", "list", *place)
    assert text.strip("\\") in shown("evaluate", text, *place, code=1)


def test_validate_counts_and_writes_nothing(dataset: Dataset, tmp_path: Path) -> None:
    arguments = ["validate", "--events", dataset.events, "--items", dataset.items, "--home", tmp_path / "home"]
    report = run(*arguments)
    assert report["accepted"] is True
    assert report["quality"]["events"]["rows"] == pl.read_parquet(dataset.events).height
    assert "repeats" not in report
    assert not (tmp_path / "home" / "snapshots").exists()


def test_validate_and_ingest_take_users(prefect_server: str, dataset: Dataset, tmp_path: Path) -> None:
    users = tmp_path / "people.csv"
    users.write_text(
        "person,plan,phone\n" + "".join(f"u{n:03},{'free' if n % 3 else 'paid'},{n}x\n" for n in range(40))
    )
    tables = ["--events", dataset.events, "--items", dataset.items, "--users", users, "--home", tmp_path / "home"]
    assert "people.csv has no column 'user_id'" in shown("validate", *tables, code=1)
    report = run("validate", *tables, "--map-user", "user_id=person")
    assert report["quality"]["users"] == {"table": "users", "rows": 40, "quarantined": 0, "reasons": {}}
    assert list(report["unused"]) == ["phone"]
    ingested = run("ingest", *tables, "--map-user", "user_id=person")
    assert ingested["described"] == {"rows": 40, "unused": report["unused"]}
    assert (Path(ingested["path"]) / "users.parquet").is_file()
    assert "phone: it has 40 different values" in shown("validate", *tables, "--map-user", "user_id=person")


def test_validate_and_ingest_take_context(prefect_server: str, dataset: Dataset, tmp_path: Path) -> None:
    events = pl.read_parquet(dataset.events)
    number = pl.int_range(pl.len())
    told = events.with_columns(
        device=pl.when(number % 2 == 0).then(pl.lit("phone")).otherwise(pl.lit("desk")), page=number.cast(pl.String)
    )
    told.write_parquet(tmp_path / "told.parquet")
    tables = ["--events", tmp_path / "told.parquet", "--items", dataset.items, "--home", tmp_path / "home"]
    assert "Did you mean 'device'?" in shown("validate", *tables, "--context", "devise", code=1)
    declared = ["--context", "device", "--context", "page"]
    assert list(run("validate", *tables, *declared)["unused_context"]) == ["page"]
    ingested = run("ingest", *tables, *declared)
    assert ingested["context"]["device"] == ""
    assert "nearly one a row" in ingested["context"]["page"]
    assert ingested["snapshot"] != run("ingest", *tables)["snapshot"]


def test_bad_input_names_file_row_and_column_and_leaves_nothing(
    prefect_server: str, dataset: Dataset, tmp_path: Path
) -> None:
    unknown = tmp_path / "events.ndjson"
    rows = [{"user_id": f"u{n}", "item_id": "i000", "timestamp": "2024-01-01T00:00:00Z"} for n in range(9)]
    rows[4]["item_id"] = "nowhere"
    unknown.write_text("".join(json.dumps(row) + "\n" for row in rows))
    nameless = tmp_path / "items.csv"
    nameless.write_text("item_id,name\ni000,Paris Kiss\n")
    home = tmp_path / "home"
    for command in ("ingest", "validate"):
        output = shown(command, "--events", unknown, "--items", dataset.items, "--home", home, code=1)
        assert "events.ndjson, row 5, column item_id: unknown item" in output
        output = shown(command, "--events", unknown, "--items", nameless, "--home", home, code=1)
        assert "items.csv has no column 'title'" in output
    assert not list(home.rglob("*.parquet"))
    arguments = ["ingest", "--events", unknown, "--items", nameless, "--home", home]
    mended = run(*arguments, "--map-item", "title=name", "--max-bad-share", "0.2")
    assert mended["counts"] == {"users": 8, "items": 1, "events": 8, "quarantined": 1}
    assert Path(mended["path"]).is_dir()


def test_training_with_a_settings_file_finds_the_work_done(copied_home: Home, tmp_path: Path) -> None:
    write_json(tmp_path / "model.json", to_dict(SMALL))
    done = run("train", "--config", tmp_path / "model.json", "--home", copied_home.root)
    assert done["reused"] is True
    assert done["generation"] == current_id(copied_home)
    assert sum(done["weights"].values()) > 0
    Path(done["report"]).unlink()
    told = shown("train", "--config", tmp_path / "model.json", "--home", copied_home.root)
    assert done["adapter_part"] in " ".join(told.split())
    assert "What the lists are made of" in told
    assert "Report:" not in told
    again = run("evaluate", "--report", "--home", copied_home.root)["report"]
    assert again == done["report"]
    assert Path(again).is_file()
    told = shown("train", "--config", tmp_path / "model.json", "--home", copied_home.root)
    assert f"Report:{Path(again).as_uri()}" in "".join(told.split())
    write_json(tmp_path / "typo.json", {"adapter": {"ranks": 4}})
    assert "no setting 'ranks'" in shown(
        "train", "--config", tmp_path / "typo.json", "--home", copied_home.root, code=1
    )


@pytest.mark.parametrize("command", ["train", "pretrain", "tune", "ingest", "classify"])
def test_wrong_settings_are_told_before_anything_is_read(command: str, tmp_path: Path) -> None:
    wrong = tmp_path / "settings.json"
    wrong.write_text('{"max_quarantined_share": "few", "epochs": 0, "seed": -1, "trials": []}')
    given = {"ingest": ["--events", "no", "--items", "no"], "classify": ["--train", "no", "--dev", "no"]}
    message = run(command, *given.get(command, []), "--config", wrong, "--home", tmp_path / "home", code=1)["error"]
    assert message.startswith(f"{wrong}: ")
    assert "it takes" in message or "has no setting" in message
    assert not (tmp_path / "home" / "snapshots").exists()


def test_publish_refuses_with_3_and_rollback_returns(copied_home: Home) -> None:
    served, worse = current_id(copied_home), hopeless_generation(copied_home)
    refused = run("publish", "--home", copied_home.root, code=3)
    assert (refused["generation"], refused["published"], refused["passed"]) == (worse, False, False)
    assert "popularity" in refused["error"]
    assert current_id(copied_home) == served
    for unreasoned in ((), ("--reason", " ")):
        assert "--reason" in shown("publish", worse, "--force", *unreasoned, "--home", copied_home.root, code=2)
    assert run("publish", worse, "--force", "--reason", "a test", "--home", copied_home.root)["published"] is True
    assert current_id(copied_home) == worse
    assert "is being served" in shown("generations", "delete", worse, "--home", copied_home.root, code=1)
    assert run("rollback", "--reason", "[b]odd[/]", "--home", copied_home.root)["generation"] == served
    back, forced, refusal, first = run("promotions", "--home", copied_home.root)["promotions"]
    assert [one["generation"] for one in (back, forced, refusal, first)] == [served, worse, worse, served]
    assert [one["action"] for one in (back, forced, refusal, first)] == ["rollback", "publish", "refused", "publish"]
    assert (forced["reason"], forced["forced"], forced["passed"]) == ("a test", True, False)
    assert (refusal["findings"], refusal["previous"]) == (refused["findings"], served)
    assert run("promotions", "--limit", "1", "--home", copied_home.root)["promotions"] == [back]
    listed = " ".join(shown("promotions", "--home", copied_home.root).split())
    assert all(part in listed for part in (worse, "refused", "[b]odd[/]", forced["by"]))
    assert run("rollback", "--to", worse[:8], "--home", copied_home.root)["generation"] == worse
    assert run("rollback", "--to", served, "--home", copied_home.root)["generation"] == served
    assert run("generations", "delete", worse, "--home", copied_home.root) == {"deleted": worse}
    assert [entry["id"] for entry in run("generations", "--home", copied_home.root)["generations"]] == [served]


def test_what_the_gate_lets_pass_is_read_from_a_file(copied_home: Home, tmp_path: Path) -> None:
    served, limits = current_id(copied_home), tmp_path / "gate.json"
    limits.write_text('{"fewer_item": 0.5, "tolerance": 2}')
    told = " ".join(shown("publish", served, "--gate", limits, "--home", copied_home.root, code=1).split())
    assert "Did you mean 'fewer_items'?" in told
    assert "tolerance is 2; it takes a number, at least 0 and at most 1." in told
    limits.write_text('{"min_recall": 1}')
    assert run("publish", served, "--gate", limits, "--home", copied_home.root)["passed"]


def test_what_is_stored_can_be_looked_at(copied_home: Home) -> None:
    generation = run("generations", "show", str(current_id(copied_home)), "--home", copied_home.root)
    assert generation["current"] is True
    (card,) = run("adapters", "--home", copied_home.root)["adapters"]
    assert card["id"] == generation["adapter"]
    assert card["metrics"]["recsys"]["ndcg@10"] > 0
    other = copied_home.adapters / "fedcba9876543210"
    shutil.copytree(copied_home.adapters / card["id"], other)
    write_json(other / "card.json", card | {"id": other.name, "snapshot": "another", "files": {}})
    compared = run("adapters", "compare", card["id"], other.name, "--home", copied_home.root)
    assert compared["comparable"] is False
    assert compared["values"]["snapshot"] == [card["snapshot"], "another"]
    assert "uses adapter" in shown("adapters", "delete", card["id"], "--home", copied_home.root, code=1)
    assert run("adapters", "delete", other.name, "--home", copied_home.root) == {"deleted": other.name}
    assert not other.exists()


def test_an_alias_does_wherever_an_id_is_asked_for(copied_home: Home) -> None:
    place = ("--home", copied_home.root)
    served, worse = str(current_id(copied_home)), hopeless_generation(copied_home)
    adapter = run("generations", "show", served[:6], *place)["adapter"]
    assert run("generations", "alias", worse, "candidate", *place)["aliases"] == ["candidate"]
    assert run("adapters", "alias", adapter[:5], "champion", *place)["id"] == adapter
    assert run("adapters", "tag", "champion", "small data", *place)["tags"] == ["small data"]
    assert run("adapters", "note", "champion", "For the <b>spring</b> catalogue.", *place)["note"].startswith(
        "For the <b>"
    )
    (card,) = run("adapters", *place)["adapters"]
    assert (card["aliases"], card["tags"]) == (["champion"], ["small data"])
    assert card["made"] <= run("generations", *place)["generations"][-1]["made"]
    listed = shown("adapters", *place)
    assert all(part in listed for part in (adapter, "champion", "#small"))
    assert run("publish", "candidate", *place, code=3)["generation"] == worse
    assert (
        run("publish", "candidate", "--force", "--reason", "a test", *place)["generation"]
        == worse
        == current_id(copied_home)
    )
    assert f"Generation {served} is served" in shown("rollback", *place)
    assert run("evaluate", "candidate", *place)["generation"] == worse
    assert run("adapters", "compare", "champion", adapter, *place)["comparable"]
    said = run("generations", "show", served, *place)["adapter_part"]
    assert f"{adapter}: {said}" in " ".join(shown("adapters", "compare", "champion", adapter, *place).split())
    assert "no longer" in shown("generations", "alias", served, "candidate", *place)
    assert run("generations", "alias", "candidate", "--remove", *place) == {
        "id": served, "aliases": [], "tags": [], "note": None
    }  # fmt: skip
    assert run("adapters", "tag", adapter, "small data", "--remove", *place)["tags"] == []
    assert run("adapters", "note", adapter, "--remove", *place)["note"] is None
    assert "Did you mean champion?" in shown("adapters", "show", "champoin", *place, code=1)
    assert "could be the beginning of an id" in shown("adapters", "alias", adapter, "beef", *place, code=1)
    for arguments in (["generations", "alias", served], ["generations", "list", "--remove"], ["adapters", "note"]):
        assert "Usage:" in shown(*arguments, *place, code=2)


def test_stored_metrics_are_shown_by_protocol(home: Home) -> None:
    document = run("evaluate", "--home", home.root)
    assert set(document["protocols"]) == {"temporal", "leave-one-out"}
    one = run("evaluate", "--protocol", "temporal", "--home", home.root)
    assert one["protocols"] == {"temporal": document["protocols"]["temporal"]}
    assert "temporal: test" in shown("evaluate", "--home", home.root)


def test_recommend_shows_titles_and_reasons(home: Home, dataset: Dataset) -> None:
    answer = run("recommend", "--user", "u000", "--k", "4", "--explain", "--home", home.root)
    titles = set(pl.read_parquet(dataset.items)["title"])
    assert len(answer["items"]) == 4
    assert all(item["fields"]["title"] in titles and item["reasons"] for item in answer["items"])
    assert "nobody is unknown: popular items" in shown("recommend", "--user", "nobody", "--home", home.root)


def test_benchmark_writes_what_anyone_can_recompute(prefect_server: str, tmp_path: Path) -> None:
    location, _ = write_dataset(tmp_path / "data", users=24, items=24)
    out, systems = tmp_path / "out", ["recsys", "popularity", "bert"]
    arguments = [
        "benchmark",
        location.parent,
        "--out",
        out,
        "--systems",
        ",".join(systems),
        "--seed",
        "3",
        "--seeds",
        "2",
    ]
    document = run(*arguments, "--home", tmp_path / "home")
    assert document["settings"]["seed"] == 3
    written = json.loads((out / "metrics.json").read_text())
    figures = written["protocols"]["leave-one-out"]["systems"]
    assert set(figures) == set(systems)
    assert all(len(figures[name]["seeds"]) == 2 for name in systems)
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    lists = pl.read_parquet(out / "lists.parquet")
    assert lists.columns == ["system", "user_id", "rank", "item_id", "score"]
    events = pl.read_parquet(location).sort("user_id", "timestamp")
    last = events.group_by("user_id", maintain_order=True).agg(pl.col("item_id").last().alias("target"))
    for name in systems:
        hits = lists.filter(system=name).join(last, on="user_id").filter(pl.col("item_id") == pl.col("target"))
        gained = sum(1 / pl.Series(hits.filter(pl.col("rank") <= 10)["rank"] + 1).log(2))
        # the lists are those of the first seed, the figures means of both
        assert gained / len(last) == pytest.approx(figures[name]["seeds"][0], abs=1e-9)
        assert figures[name]["total"]["ndcg@10"] == pytest.approx(sum(figures[name]["seeds"]) / 2, abs=1e-9)
    assert "no ties to shuffle" in shown(*arguments[:4], "--shuffle-ties", "--home", tmp_path / "home", code=1)
    assert "no system 'sasrecs'" in shown(*arguments[:4], "--systems", "sasrecs", "--home", tmp_path / "home", code=1)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a person without a Prefect server, whose folders are empty."""
    for folder in ("person", "work"):
        (tmp_path / folder).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MPL", "XDG"))}
    return kept | {"HOME": str(tmp_path / "person"), "RECSYS_HOME": str(tmp_path / "state")}


@pytest.fixture
def alone(dataset: Dataset, environment: dict[str, str], tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Starts ``recsys ingest --json`` in this environment."""
    command = [Path(sys.executable).with_name("recsys"), "ingest", "--events", dataset.events, "--items", dataset.items]

    def start() -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*command, "--json"], cwd=tmp_path / "work", env=environment, text=True, **pipes)

    return start


def test_without_a_server_none_is_started_and_all_state_is_below_the_home(
    alone: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    with alone() as command:
        output, errors = command.communicate()
    assert command.returncode == 0, errors
    assert (tmp_path / "state" / "snapshots" / json.loads(output)["snapshot"]).is_dir()
    assert not (tmp_path / "state" / "prefect" / "prefect.db").exists()
    assert list((tmp_path / "person").iterdir()) == list((tmp_path / "work").iterdir()) == []
    assert "Traceback" not in errors
    assert "INFO" not in errors


@pytest.mark.parametrize(("told", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_a_training_that_is_told_to_end_says_what_it_has_kept(
    home: Home, environment: dict[str, str], tmp_path: Path, told: signal.Signals, code: int
) -> None:
    state = Home(tmp_path / "state").make()
    shutil.copytree(home.snapshots, state.snapshots)
    write_json(tmp_path / "model.json", to_dict(SMALL))
    command = [Path(sys.executable).with_name("recsys"), "train", "--config", tmp_path / "model.json", "--json"]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path / "work", env=environment, text=True, **pipes) as training:
        while training.poll() is None and not list(state.runs.rglob("*.checkpoint")):
            time.sleep(0.05)  # until there is something to keep
        training.send_signal(told)
        output, errors = training.communicate(timeout=PATIENCE_SECONDS)
    assert training.returncode == code, errors
    assert "Traceback" not in errors
    assert errors.count("\n") == 1
    newest = max(state.runs.rglob("*.checkpoint"), key=lambda path: path.stat().st_mtime)
    assert f"{newest} is kept; the same command goes on from there." in json.loads(output)["error"]


@pytest.mark.parametrize("named", [False, True])
def test_the_server_of_a_command_comes_up_beside_what_the_command_does(
    environment: dict[str, str], tmp_path: Path, named: bool
) -> None:
    """Where the settings name a server, none is started."""
    environment |= {"PREFECT_API_URL": "http://127.0.0.1:9/api"} if named else {}
    command = [sys.executable, "-c", BESIDE]
    done = subprocess.run(command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == (["False"] if named else ["True", "200"]), done.stderr


def test_a_refusal_is_an_exit_code_of_its_own_in_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(home: str) -> None:
        raise RefusedError("0123456789abcdef", ("It is worse.",))

    monkeypatch.setattr("flows.demo.demo_movielens", refused)
    assert "gate refused generation 0123456789abcdef. It is worse." in run("demo", "--home", tmp_path, code=3)["error"]


def test_a_generation_that_nobody_has_measured_is_listed_without_a_figure(copied_home: Home) -> None:
    document = copied_home.generations / str(current_id(copied_home)) / "metrics.json"
    for content in ("{}", "", "[]", None):  # nor one whose figures cannot be read, which must not hide the others
        document.unlink() if content is None else document.write_text(content)
        told = shown("generations", "--home", copied_home.root)
        assert "–" in told.splitlines()[-2]
        assert "has no figures that can be read" in run("evaluate", "--home", copied_home.root, code=1)["error"]
        (found,) = run("experiments", "--kind", "generation", "--home", copied_home.root)["experiments"]
        assert found.get("ndcg@10") is None
