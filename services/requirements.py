"""What the service needs of what recsys requires: it trains, draws and schedules nothing.

A Bento, the service's image and ``infra/supply/lock-service.txt`` have this, and nothing of what is left out here.
"""

from importlib import metadata

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = frozenset({"postgres", "otlp", "remote"})
# Each with what it alone brings. A test starts a service where none of them can be imported.
LEFT_OUT = frozenset(
    {
        "implicit",  # trains iALS
        "matplotlib",  # draws reports
        "optuna",  # searches settings
        "prefect",  # runs flows
        "sentence-transformers",  # asked for by the base model's package, of which only files are read
    }
)
_OWN = frozenset({"recsys", "recsys-client"})


def requirements() -> list[str]:
    """Return what the service needs, each at the version that is installed here, by name."""
    found: dict[str, str] = {}
    asked = [("recsys", EXTRAS)]
    seen = set()
    while asked:
        name, extras = asked.pop()
        if name in LEFT_OUT or (name, extras) in seen:
            continue
        seen.add((name, extras))
        distribution = metadata.distribution(name)
        found[name] = distribution.version.partition("+")[0]  # a local build is on no public index
        for line in distribution.requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(_holds(needed.marker, extra) for extra in extras or ("",)):
                asked.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name not in _OWN]


def _holds(marker: Marker, extra: str) -> bool:
    return marker.evaluate({"extra": extra})
