"""From user behaviour and item descriptions to recommendations; for notebooks, what ``__all__`` names.

Nothing is imported before it is used: parts of this package run where most of what it requires is not installed.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from recsys import telemetry

__version__ = "0.1.0"

if TYPE_CHECKING:
    from recsys.config import ModelConfig
    from recsys.home import Home
    from recsys.interactive.adapters import adapters, compare
    from recsys.interactive.comparison import side_by_side
    from recsys.interactive.data import ingest
    from recsys.interactive.experiments import experiments
    from recsys.interactive.generation import load
    from recsys.interactive.stages import evaluate, publish, train
    from recsys.interactive.texts import embed

__all__ = [
    "Home", "ModelConfig", "adapters", "compare", "embed", "evaluate", "experiments", "ingest", "load", "publish",
    "side_by_side", "train",
]  # fmt: skip

_MODULES = {
    "recsys.config": ("ModelConfig",),
    "recsys.home": ("Home",),
    "recsys.interactive.adapters": ("adapters", "compare"),
    "recsys.interactive.comparison": ("side_by_side",),
    "recsys.interactive.data": ("ingest",),
    "recsys.interactive.experiments": ("experiments",),
    "recsys.interactive.generation": ("load",),
    "recsys.interactive.stages": ("evaluate", "publish", "train"),
    "recsys.interactive.texts": ("embed",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

telemetry.switch_off()  # before anything that reports is imported
# Read as torch is first imported. Its threads wait for each other between any two operations, and by default they spin:
# beside another busy process a training then takes eight times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
