"""The requests that the README shows are understood, and their answers are what it says they are."""

import json
import re
from pathlib import Path

import httpx
import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()
REQUESTS = re.findall(r"ask ([a-z/]+) '(\{.*\})'", README)
PYTHON = re.findall(r"<!-- client -->\n```python\n(.*?)```", README, re.DOTALL)
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
