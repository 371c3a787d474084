"""Several catalogues in one service: each key is answered from its own tenant's home, by every route, and no other."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from curl_commands import SCRIPT, Command
from processes import PATIENCE_SECONDS
from variants import make_variant

from recsys.database.tenancy import delete_tenant
from recsys.errors import RecsysError
from recsys.home import TENANT, Home
from recsys.store.generations import current_id, promote
from recsys.tenants import create_tenant, limit_tenant, list_tenants
from services.edge.keys import PREFIX, create_key
from services.serve import ServeError, running, serve
from services.worker.tenants import ASKED, MEMORY

SECRET, HIDDEN = "bolt-secret", "hidden-words"  # an id that both may use, and what only the other tenant has said
LISTS = {"user_id": "stranger", "k": 5}


@dataclass(frozen=True)
class Tenants:
    """A service of two tenants, and an operator."""

    house: Home
    homes: dict[str, Home]
    tokens: dict[str, str]
    client: httpx.Client

    def ask(
        self, who: str | None, method: str, path: str, kind: dict[str, str] | None = None, **arguments: object
    ) -> httpx.Response:
        """Ask, again and again while a catalogue is being loaded."""
        headers = ({"Authorization": f"Bearer {self.tokens[who]}"} if who else {}) | (kind or {})
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self.client.request(method, path, headers=headers, **arguments)  # type: ignore[arg-type]
            if answer.status_code != 503 or answer.json()["code"] != "loading" or time.monotonic() > deadline:
                return answer


@pytest.fixture(scope="module")
def tenants(copy_of_home: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    house = Home(tmp_path_factory.mktemp("house"))
    homes, tokens = {}, {"operator": create_key(house, "operator", ["admin"])[1]}
    for name in ("acme", "bolt"):
        homes[name] = create_tenant(house, name)
        copy_of_home(homes[name].root)
        tokens[name] = create_key(homes[name], "backend", ["admin"])[1]
    promote(homes["bolt"], make_variant(homes["bolt"], {"content": 1.0})[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MEMORY, "1")  # so there is room for whoever has asked last, and for who has a short while ago
        with running(house, tenants=True) as url, httpx.Client(base_url=url, timeout=30) as client:
            yield Tenants(house, homes, tokens, client)


def test_each_is_answered_from_its_own_home(tenants: Tenants) -> None:
    answers = {name: tenants.ask(name, "POST", "/v1/recommend", json=LISTS).json() for name in tenants.homes}
    assert {name: answer["generation"] for name, answer in answers.items()} == {
        name: current_id(home) for name, home in tenants.homes.items()
    }
    assert answers["acme"]["generation"] != answers["bolt"]["generation"]
    seen = answers["acme"]["items"][0]["item_id"]
    event = {"user_id": "both", "item_id": seen, "event_id": "one"}
    assert tenants.ask("acme", "POST", "/v1/events", json={"events": [event]}).json()["accepted"] == 1
    assert [len(tenants.ask(name, "GET", "/v1/users/both").json()["history"]) for name in tenants.homes] == [1, 0]


def test_no_route_reaches_another(tenants: Tenants, eventually: Callable[[Callable[[], bool]], None]) -> None:
    """Every command of the page, by one tenant's admin with all ids of the other: nothing is told or changed."""
    first = tenants.ask("bolt", "POST", "/v1/recommend", json=LISTS).json()
    known = first["items"][0]["item_id"]
    there = {
        "events": [{"user_id": SECRET, "item_id": known, "event_id": SECRET}],
        "items": [{"item_id": SECRET, "title": f"A title of {HIDDEN}"}],
    }
    assert tenants.ask("bolt", "POST", "/v1/items", json={"items": there["items"]}).is_success
    assert tenants.ask("bolt", "POST", "/v1/events", json={"events": there["events"]}).is_success
    rec_id = tenants.ask("bolt", "POST", "/v1/recommend", json={"user_id": SECRET, "k": 5}).json()["rec_id"]
    eventually(lambda: tenants.ask("bolt", "GET", f"/v1/recommendations/{rec_id}").is_success)
    before = state(tenants, "bolt", rec_id)
    others = tenants.ask("bolt", "GET", "/v1/generations").json()
    newest = others["current"]
    adapters = [one["adapter"] for one in others["generations"]]
    values = {"REC_ID": rec_id, "GENERATION": newest, "ADAPTER": adapters[0], "OTHER": adapters[1], "PROMOTION": SECRET}
    asked = set()
    for line in SCRIPT.splitlines()[2:]:
        line = re.sub(r"\$([A-Z_]+)", lambda match: values[match[1]], line).replace("$u", "").replace("$j", "j")
        line = re.sub(r"\b(new-[12]|196|ann)\b", SECRET, line)
        command = Command.parse(line.replace('"j"', '"content-type: application/json"'))
        kind = {"content-type": "application/json"}
        answer = tenants.ask("acme", command.method, command.url, content=command.body, kind=kind)
        said = answer.text
        told = {HIDDEN, newest, rec_id} & set(re.findall(r"[\w-]+", said))
        assert all(one in line for one in told), (line, said)  # an error may repeat what was asked for
        asked.add((command.method, re.sub(r"\?.*", "", command.url)))
    assert len(asked) > 40
    assert state(tenants, "bolt", rec_id) == before
    assert tenants.ask("acme", "GET", f"/v1/recommendations/{rec_id}").status_code == 404
    assert tenants.ask("acme", "POST", f"/v1/generations/{newest}/promote", json={}).status_code == 404


def state(tenants: Tenants, name: str, rec_id: str) -> list[object]:
    """Return all that a tenant's own key is told of what it has."""
    paths = [f"/v1/users/{SECRET}", f"/v1/items/{SECRET}", f"/v1/recommendations/{rec_id}", "/v1/promotions"]
    found = [tenants.ask(name, "GET", path).json() for path in (*paths, "/v1/generations", "/v1/shadow")]
    return [json.loads(json.dumps(one)) for one in found]


def test_a_key_says_whose_it_is_and_is_believed_by_its_own_tenant_alone(tenants: Tenants) -> None:
    own = tenants.tokens["acme"]
    secret = own.partition(".")[2]
    for forged in (own.replace("acme", "bolt"), f"{PREFIX}{secret}", f"{PREFIX}../acme.{secret}", f"{PREFIX}nobody.x"):
        answer = tenants.client.get("/v1/generations", headers={"Authorization": f"Bearer {forged}"})
        assert answer.status_code == 401, forged
    assert tenants.ask(None, "GET", "/v1/generations").status_code == 401
    refused = tenants.ask("operator", "GET", "/v1/generations")
    assert refused.status_code == 403
    assert "operator" in refused.json()["detail"]


def test_numbers_are_by_tenant_and_an_operators(tenants: Tenants) -> None:
    assert tenants.ask(None, "GET", "/metrics").status_code == 401
    assert tenants.ask("acme", "GET", "/metrics").status_code == 403
    for name in tenants.homes:
        assert tenants.ask(name, "POST", "/v1/recommend", json=LISTS).is_success
    numbers = tenants.ask("operator", "GET", "/metrics").text
    for name in tenants.homes:
        counted = re.findall(rf'recsys_request_duration_seconds_count{{.*tenant="{name}".*}} (\S+)', numbers)
        assert sum(map(float, counted)) > 0
    open_to_all = [tenants.client.get(path) for path in ("/readyz", "/livez", "/docs.json", "/")]
    assert all(answer.is_success and "acme" not in answer.text for answer in open_to_all)
    assert tenants.client.get("/readyz").json()["tenants"] >= 1


def test_a_tenants_limits_are_followed_and_its_own(tenants: Tenants) -> None:
    limit_tenant(tenants.house, "acme", 0.001, None)
    answers = [tenants.ask("acme", "GET", "/v1/shadow") for _ in range(3)]
    assert {answer.status_code for answer in answers[1:]} == {429}
    assert "tenant acme" in answers[-1].json()["detail"]
    assert answers[-1].headers["RateLimit"].startswith('"rate";r=0')
    assert tenants.ask("bolt", "GET", "/v1/shadow").is_success
    limit_tenant(tenants.house, "acme", None, None)
    assert tenants.ask("acme", "GET", "/v1/shadow").is_success


def test_one_that_is_deleted_is_refused_and_one_of_its_name_is_another(
    tenants: Tenants, copy_of_home: Callable[[Path], Home]
) -> None:
    home = create_tenant(tenants.house, "short")
    tenants.tokens["short"] = create_key(home, "backend", ["admin"])[1]
    copy_of_home(home.root)
    assert tenants.ask("short", "POST", "/v1/recommend", json=LISTS).is_success
    delete_tenant(tenants.house, "short", None)
    assert not home.root.exists()
    assert tenants.ask("short", "GET", "/v1/users/x").status_code == 401
    assert set(list_tenants(tenants.house)) == set(tenants.homes)
    create_tenant(tenants.house, "short")
    assert tenants.ask("short", "GET", "/v1/users/x").status_code == 401
    tenants.tokens["short"] = create_key(home, "backend", ["admin"])[1]
    assert tenants.ask("short", "POST", "/v1/recommend", json=LISTS).json()["code"] == "nothing-served"
    delete_tenant(tenants.house, "short", None)


def test_who_has_asked_longest_ago_makes_room_and_comes_back(
    tenants: Tenants, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    before = tenants.ask("acme", "POST", "/v1/recommend", json=LISTS).json()["items"]
    assert tenants.ask("bolt", "POST", "/v1/recommend", json=LISTS).is_success
    eventually(lambda: 'recsys_tenants_open{tenant=""} 1.0' in tenants.ask("operator", "GET", "/metrics").text)
    assert tenants.ask("acme", "POST", "/v1/recommend", json=LISTS).json()["items"] == before


def test_what_one_says_of_itself_may_break_and_changes_nothing(tenants: Tenants) -> None:
    path = tenants.homes["acme"].root / TENANT
    content = path.read_text()
    path.write_text("{")
    assert tenants.ask("acme", "GET", "/v1/shadow").is_success
    path.write_text(content)


@pytest.mark.parametrize(("variable", "value"), [(ASKED, "yes"), (MEMORY, "0"), (MEMORY, "much")])
def test_settings_that_mean_nothing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises((ServeError, RecsysError), match=variable):
        serve(Home(tmp_path), port=1)


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "../a", "a" * 41, "a b", "ä"])
def test_a_name_is_a_part_of_a_path_and_of_a_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecsysError, match="name of a tenant"):
        create_tenant(Home(tmp_path), name)
