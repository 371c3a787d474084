"""The requests that the README shows are understood, and their answers are what it says they are."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from variants import make_variant

from recsys.home import Home
from recsys.store.generations import current_id, promote
from services.serve import running

README = (Path(__file__).parents[2] / "README.md").read_text()
REQUESTS = re.findall(r"ask ([a-z/]+) '(\{.*\})'", README)
PYTHON = re.findall(r"<!-- client -->\n```python\n(.*?)```", README, re.DOTALL)
CURL = re.findall(r"<!-- curl -->\n```bash\n(.*?)```", README, re.DOTALL)
ANSWERS = dict(re.findall(r"^\| `([a-z/]+)` \| (`.*) \|$", README, re.MULTILINE))


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_a_request_of_the_readme_is_answered_as_described(service: httpx.Client, path: str, body: str) -> None:
    response = service.post(f"/v1/{path}", json=json.loads(body))  # of ids that this small catalogue does not know
    assert response.status_code == 200, response.text
    described = set(re.findall(r"\w+", ANSWERS[path]))
    answer = response.json()
    assert set(answer) - {"generation", "adapter", "took_ms"} <= described
    for listed in ("items", "answers"):
        assert all(set(one) <= described for one in answer.get(listed, []))


def test_the_readme_shows_every_route_of_this_kind() -> None:
    assert {path for path, _ in REQUESTS} | {"similar"} == set(ANSWERS)


def test_the_python_of_the_readme_runs(service: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = PYTHON
    assert "http://localhost:3000" in example
    exec(compile(example.replace("http://localhost:3000", str(service.base_url)), "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert all(re.match(r"-?\d+\.\d\d \S", line) for line in printed)


@dataclass(frozen=True)
class Command:
    """A curl command of the README, its variables set."""

    method: str
    url: str
    body: str | None

    @classmethod
    def parse(cls, line: str) -> "Command":
        program, *words = shlex.split(line, comments=True)
        assert program == "curl"
        options = {"-X": None, "-d": None, "-H": None}
        urls = []
        rest = iter(words)
        for word in rest:
            if word in options:
                options[word] = next(rest)
            else:
                urls.append(word)
        (url,) = urls
        body = options["-d"]
        assert (body is None) == (options["-H"] is None), line
        return cls(options["-X"] or ("POST" if body else "GET"), url, body)


def test_every_route_has_a_curl_that_works(
    copy_of_home: Callable[[Path], Home], service: httpx.Client, catalogue: list[str], tmp_path: Path
) -> None:
    home = copy_of_home(tmp_path)
    first = str(current_id(home))
    second, _ = make_variant(home, {"content": 1.0})
    promote(home, second)  # so that there is a way back
    (script,) = CURL
    asked: set[tuple[str, str]] = set()
    with running(home) as url, httpx.Client(timeout=30) as client:
        document = client.get(f"{url}/docs.json").json()
        rec_id = client.post(f"{url}/v1/recommend", json={"history": []}).json()["rec_id"]
        variables = {"u": "http://localhost:3000", "j": "content-type: application/json"}
        values = {"GENERATION": second, "REC_ID": rec_id, **variables}
        for line in script.splitlines():
            if match := re.fullmatch(r"(\w)=(.*)", line):
                assert shlex.split(match[2]) == [variables[match[1]]]
                continue
            line = re.sub(r"\$(\w+)", lambda match: values[match[1]], line)
            # the ids of MovieLens, by those of this small catalogue
            line = re.sub(r'"(50|181|1)"', lambda match: json.dumps(catalogue[int(match[1]) % 7]), line)
            command = Command.parse(line)
            target = command.url.replace(variables["u"], url)
            headers = {"content-type": "application/json"} if command.body else {}
            # the classifier is in the other home
            to = str(service.base_url) + "/v1/classify" if target.endswith("/v1/classify") else target
            response = client.request(command.method, to, content=command.body, headers=headers)
            assert response.status_code == 200, (line, response.text)
            asked.add((command.method.lower(), target.removeprefix(url).partition("?")[0]))
        assert client.get(f"{url}/v1/generations").json()["current"] == first
    for path, operations in document["paths"].items():
        concrete = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))
        for method in operations:
            assert any(verb == method and concrete.fullmatch(where) for verb, where in asked), f"{method} {path}"
