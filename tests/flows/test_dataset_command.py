"""`recsys ingest --dataset NAME --path FOLDER` and the flow behind its form: what a publisher ships, by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from typer.testing import CliRunner

from flows.cli import app
from flows.ingest import ingest_dataset
from recsys.data.snapshot import open_snapshot
from recsys.home import Home


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """MovieLens 32M with two films, one of which nobody has described."""
    folder = tmp_path / "ml-32m"
    folder.mkdir()
    ratings = [f"{user},{film},{user % 5 + 1},{944249077 + user}\n" for user in range(30) for film in (17, 25, 99)]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(ratings))
    (folder / "movies.csv").write_text('movieId,title,genres\n17,"Tree, The (1995)",Drama\n25,Two (1996),Drama\n')
    return folder


def found(*arguments: Any) -> Any:
    """Return the one object that a command prints with --json."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def run(*arguments: Any, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_a_data_set_is_checked_and_ingested_by_its_name(prefect_server: str, films: Path, tmp_path: Path) -> None:
    given = ["--dataset", "movielens-32m", "--path", films, "--home", tmp_path / "home"]
    told = run("validate", *given)
    assert "Left out: 30 events, of 1 items that no file describes." in told
    assert "GroupLens lets MovieLens be used for research" in " ".join(told.split())
    assert not (tmp_path / "home" / "snapshots").exists()
    ingested = found("ingest", *given)
    assert "Left out: 30 events, of 1 items that no file describes." in ingested["dataset"]["notes"]
    assert ingested["counts"] == {"events": 60, "items": 2, "quarantined": 0, "users": 30}
    snapshot = open_snapshot(Home(tmp_path / "home"), ingested["snapshot"])
    assert snapshot.items()["title"].to_list() == ["The Tree", "Two"]
    assert [*(tmp_path / "home" / "cache").glob("*.parquet")] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Give --events and --items, or --dataset and --path"),
        (["--dataset", "hm"], "--dataset and --path go together"),
        (["--dataset", "hm", "--path", ".", "--events", "e.csv"], "--dataset and --path go together"),
    ],
)
@pytest.mark.parametrize("command", ["ingest", "validate"])
def test_tables_or_a_data_set_are_given_and_not_both(command: str, arguments: list[str], told: str) -> None:
    assert told in " ".join(run(command, *arguments, code=2).replace("│", " ").split())


def test_another_data_set_and_another_name_are_told(films: Path, tmp_path: Path) -> None:
    home = ["--home", tmp_path / "home"]
    told = " ".join(run("ingest", "--dataset", "goodbooks-10k", "--path", films, *home, code=1).split())
    assert "It looks like MovieLens 32M: --dataset movielens-32m." in told
    assert "Did you mean 'movielens-32m'?" in run("validate", "--dataset", "movielens32", "--path", films, code=1)


def test_the_flow_makes_the_same_snapshot_and_says_what_it_left_out(
    prefect_server: str, films: Path, tmp_path: Path
) -> None:
    snapshot = ingest_dataset("movielens-32m", str(films), str(tmp_path / "home"))
    given = ["--dataset", "movielens-32m", "--path", films, "--home", tmp_path / "other"]
    assert found("ingest", *given)["snapshot"] == snapshot
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["dataset"])))
    assert any("30 events, of 1 items" in str(one.data) for one in artifacts)


def test_what_is_odd_is_told_and_drawn(prefect_server: str, films: Path, tmp_path: Path) -> None:
    (films / "movies.csv").write_text("movieId,title,genres\n17,Caf\u00c3\u00a9 (1995),Drama\n25,Two (1996),Drama\n")
    given = ["--dataset", "movielens-32m", "--path", films, "--home", tmp_path / "home"]
    page = tmp_path / "pages" / "quality.html"
    told = found("validate", *given, "--page", page)
    assert [(one["rule"], one["severity"], one["share"]) for one in told["findings"]] == [
        ("encoding-damage", "error", 0.5)
    ]
    assert "Caf\u00c3\u00a9" in page.read_text()
    assert "encoding-damage" in run("ingest", *given)
    assert found("ingest", *given)["findings"] == told["findings"]
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["quality"])))
    assert any("encoding-damage" in str(one.data) for one in artifacts)
