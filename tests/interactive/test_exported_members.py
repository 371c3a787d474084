"""What `recsys` exports: these names, loaded when they are used, each with an example that runs."""

import doctest
import inspect
import subprocess
import sys
from typing import Any

import pytest

import recsys
from recsys.home import Home
from recsys.interactive.generation import Generation

EXPORTED = [
    "Home", "ModelConfig", "adapters", "compare", "embed", "evaluate", "experiments", "ingest", "load", "publish",
    "side_by_side", "train",
]  # fmt: skip
METHODS = ("recommend", "batch", "listed", "similar", "search", "embed")
FUNCTIONS = [name for name in EXPORTED if name[0].islower()]
LAZY = """
import sys
import recsys
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("recsys", "polars", "torch", "numpy")))
assert recsys.Home and recsys.ModelConfig
print([name for name in ("polars", "torch") if name in sys.modules])
for name in recsys.__all__:
    getattr(recsys, name)
print([name for name in ("prefect", "bentoml", "fastapi", "matplotlib", "flows", "services") if name in sys.modules])
"""


def test_these_names_are_exported() -> None:
    assert recsys.__all__ == EXPORTED
    assert set(EXPORTED) <= set(dir(recsys))
    for name in EXPORTED:
        assert getattr(recsys, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'recommend'"):
        _ = recsys.recommend


def test_nothing_is_imported_before_it_is_used_and_no_orchestration_at_all() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", LAZY], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["['recsys', 'recsys.telemetry']", "[]", "[]"], done.stderr


def test_a_home_can_be_named_wherever_state_is_used() -> None:
    for name in FUNCTIONS:
        parameters = inspect.signature(getattr(recsys, name)).parameters
        assert parameters["home"].default is None
        assert parameters["home"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    "documented",
    [getattr(recsys, name) for name in FUNCTIONS] + [getattr(Generation, name) for name in METHODS],
    ids=lambda documented: documented.__qualname__,
)
def test_the_example_runs(documented: Any, notebook: Home) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(documented, documented.__name__, globs={})
    assert example.examples
    told: list[str] = []
    result = doctest.DocTestRunner().run(example, out=told.append)
    assert not result.failed, "".join(told)
