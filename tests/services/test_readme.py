"""The requests that the pages show are understood, and their answers are what the pages say they are."""

import json
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
from curl_commands import SCRIPT, Command
from synthetic import people
from variants import describe_users, make_variant

from recsys.home import Home
from recsys.store.generations import promote, read_generation
from services.serve import running

CLONE = Path(__file__).parents[2]
README, OPERATORS, PAGE = ((CLONE / name / "README.md").read_text() for name in ("", "flows", "services"))
POST = re.compile(
    r"^curl -s localhost:3000/v1/([a-z/]+) -H 'content-type: application/json'(?: \\\n +| )-d '(\{.*\})'$", re.MULTILINE
)
REQUESTS = re.findall(r"ask ([a-z/]+) '(\{.*\})'", PAGE) + POST.findall(README + OPERATORS + PAGE)
ANSWERS = dict(re.findall(r"^\| `([a-z/]+)` \| (`.*) \|$", PAGE, re.MULTILINE))


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_a_request_of_the_pages_is_answered_as_described(service: httpx.Client, path: str, body: str) -> None:
    response = service.post(f"/v1/{path}", json=json.loads(body))  # of ids that this small catalogue does not know
    assert response.status_code == 200, response.text
    described = set(re.findall(r"\w+", ANSWERS[path]))
    answer = response.json()
    assert set(answer) - {"generation", "adapter", "took_ms"} <= described
    for listed in ("items", "answers"):
        assert all(set(one) <= described for one in answer.get(listed, []))


def test_every_page_shows_requests_of_its_own() -> None:
    assert [len(POST.findall(page)) for page in (README, OPERATORS, PAGE)] == [1, 2, 1]


def test_the_readme_shows_a_whole_answer(service: httpx.Client) -> None:
    ((path, body),) = POST.findall(README)
    (shown,) = re.findall(r"<!-- answer -->\n```javascript\n(.*?)```", README, re.DOTALL)
    asked = json.loads(body)
    answer = service.post(f"/v1/{path}", json=asked).json()
    assert len(answer["items"]) == asked["k"]
    names = set(answer) | {name for item in answer["items"] for name in item} | set(answer["items"][0]["fields"])
    assert set(re.findall(r'"(\w+)":', shown)) == names


def test_the_page_shows_every_route_of_this_kind() -> None:
    assert {path for path, _ in REQUESTS} | {"similar"} == set(ANSWERS)


def has_ended(client: httpx.Client, promotion: str) -> bool:
    return bool(client.get(promotion).json()["state"] != "running")


def test_every_route_has_a_curl_that_works(
    copy_of_home: Callable[[Path], Home],
    service: httpx.Client,
    catalogue: list[str],
    tmp_path: Path,
    eventually: Callable[[Callable[[], bool]], None],
) -> None:
    home = copy_of_home(tmp_path)
    first = describe_users(home, people())  # whose attributes can be put
    adapter = read_generation(home, first)[1].adapter
    promote(home, first)
    second, other = make_variant(home, {"content": 1.0})
    promote(home, second)  # so that there is a way back
    asked: set[tuple[str, str]] = set()
    with running(home) as url, httpx.Client(timeout=30) as client:
        document = client.get(f"{url}/docs.json").json()
        rec_id = client.post(f"{url}/v1/recommend", json={"history": []}).json()["rec_id"]
        variables = {"u": "http://localhost:3000", "j": "content-type: application/json"}
        chosen = {"GENERATION": second, "ADAPTER": adapter, "OTHER": other}
        values = {"REC_ID": rec_id, **chosen, **variables}
        for line in SCRIPT.splitlines():
            if match := re.fullmatch(r"(\w)=(.*)", line):
                assert shlex.split(match[2]) == [variables[match[1]]]
                continue
            line = re.sub(r"\$(\w+)", lambda match: values[match[1]], line)
            # the ids of MovieLens, by those of this small catalogue
            line = re.sub(r'"(50|181|1)"', lambda match: json.dumps(catalogue[int(match[1]) % 7]), line)
            command = Command.parse(line)
            target = command.url.replace(variables["u"], url)
            headers = {"content-type": "application/json"} if command.json else {}
            # the classifier is in the other home
            to = str(service.base_url) + "/v1/classify" if target.endswith("/v1/classify") else target
            response = client.request(command.method, to, content=command.body, headers=headers)
            assert response.status_code in (200, 202), (line, response.text)
            if target.endswith("/promote"):
                values["PROMOTION"] = response.json()["promotion"]
            if response.status_code == 202:
                eventually(partial(has_ended, client, url + response.headers["Location"]))
            asked.add((command.method.lower(), target.removeprefix(url).partition("?")[0]))
        assert client.get(f"{url}/v1/generations").json()["current"] == first
    for path, operations in document["paths"].items():
        concrete = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))
        for method in operations:
            assert any(verb == method and concrete.fullmatch(where) for verb, where in asked), f"{method} {path}"
