"""`recsys batch` and the flow behind it: requests as the route takes them, users from tables, what a run leaves."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from test_cli import run, shown

from flows.batch import batch_lists
from recsys.artifacts import ArtifactError, write_json
from recsys.data.sources import SourceError
from recsys.errors import RequestError
from recsys.home import Home
from recsys.store.generations import current_id, read_generation
from recsys.store.names import GENERATION, set_alias

Lists = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def place(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(Path(shutil.copytree(home.root, tmp_path_factory.mktemp("batch") / "home")))


@pytest.fixture
def lists(place: Home, tmp_path: Path) -> Lists:
    """Asks the flow for lists of two users, or of others."""
    table = tmp_path / "users.csv"
    table.write_text("user_id\nu001\nu000\nu001\n")

    def ask(**given: Any) -> dict[str, Any]:
        found: dict[str, Any] = batch_lists(**{"users": str(table), "home": str(place.root)} | given)
        return found

    return ask


def test_the_command_writes_lists_finds_them_and_tells_what_has_changed(place: Home, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    write_json(request, {"k": 5, "filter": {"field": "year", "gte": 1960}, "fields": ["title"], "record": False})
    given = ("--home", place.root, "--request", request, "--k", 4, "--block-size", 25)
    first = run("batch", *given)
    assert Path(first["folder"]).parent == place.runs
    assert (first["found"], first["users"], len(first["parts"])) == (False, 60, 3)
    assert first["inputs"]["request"]["k"] == 4
    rows = pl.read_parquet(f"{first['folder']}/part-*.parquet")
    assert rows.columns == ["user_id", "rank", "item_id", "score", "title", "fallback"]
    assert rows.height == first["rows"] == 240
    assert run("batch", *given) == {**first, "found": True}
    out = tmp_path / "longer"
    longer = run("batch", "--home", place.root, "--out", out, "--since", first["folder"])
    assert longer["changes"]["users"] == 60
    assert (out / "changes.parquet").exists()
    told = shown("batch", "--home", place.root, "--out", out, "--since", first["folder"])
    assert "60 lists have changed" in told.replace("\n", " ")
    assert "own ranking" in told
    assert "k was 10 and is 3" in run("batch", "--home", place.root, "--out", out, "--k", 3, code=1)["error"]
    request.write_text("[]")
    assert "no JSON object" in run("batch", *given, code=1)["error"]
    shown("batch", "--home", place.root, "--k", 0, code=2)


def test_a_run_leaves_what_it_did_to_be_looked_at(place: Home, tmp_path: Path, prefect_server: str) -> None:
    done = batch_lists(str(tmp_path / "lists"), home=str(place.root))
    with get_client(sync_client=True) as client:
        for key, said in (("batch", '"lists: none"'), ("batch-folder", done["folder"])):
            kind = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
            assert any(said in str(artifact.data) for artifact in client.read_artifacts(artifact_filter=kind))


def test_the_same_model_answers_by_whatever_name(place: Home, lists: Lists) -> None:
    served = str(current_id(place))
    adapter = read_generation(place, served)[1].adapter
    set_alias(place, GENERATION, served, "spring")
    named: list[dict[str, Any]] = [
        {},
        {"generation": "spring"},
        {"generation": served[:6]},
        {"request": {"adapter": adapter}},
        {"request": {"generation": "spring", "adapter": adapter, "user_id": None}},
    ]
    found = [lists(**given) for given in named]
    assert {one["folder"] for one in found} == {found[0]["folder"]}
    assert [one["found"] for one in found] == [False, True, True, True, True]
    assert found[0]["users"] == 2


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"user_id": "u001"}, "request.user_id has no place here"),
        ({"history": []}, "request.history has no place here"),
        ({"language": "de"}, "request.language has no place here"),
        ({"k": 201}, "request.k: .*200"),
        ({"filtre": {}}, "request.filtre: "),
        ({"promotions": [{"item_id": "i001", "slot": 99}]}, "slot 99 is outside"),
        ({"fields": ["yaer"]}, "there is no 'yaer'"),
        ({"filter": {"field": "yaer", "gte": 1}}, "yaer"),
    ],
)
def test_a_request_that_is_none_is_told(lists: Lists, tmp_path: Path, request_: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        lists(out=str(tmp_path / "lists"), request=request_)
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".parquet"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("user_id\n", "holds no rows"),
        ("user\nu001\n", "no column 'user_id'"),
        ("user_id,age\nu001,3\n,4\n", "row 2: the user_id is missing"),
    ],
)
def test_a_table_without_users_is_told(lists: Lists, tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "others.csv").write_text(content)
    with pytest.raises(SourceError, match=told):
        lists(users=str(tmp_path / "others.csv"), out=str(tmp_path / "lists"))


def test_what_cannot_answer_or_be_compared_with_is_told(lists: Lists, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is no generation id"):
        lists(generation="winter")
    with pytest.raises(ArtifactError, match="is no adapter id"):
        lists(request={"adapter": "winter"})
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        lists(out=str(tmp_path / "lists"), since=str(tmp_path / "nowhere"))
    assert not (tmp_path / "lists").exists()
    with pytest.raises(ArtifactError, match="Nothing is published"):
        lists(home=str(tmp_path / "empty"))
