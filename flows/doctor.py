"""All that `recsys doctor` looks at, in the order in which one thing needs another; nothing of it writes anything."""

from functools import partial

from flows.server_state import look_at_prefect
from flows.surroundings import (
    look_at_keys,
    look_at_ports,
    look_at_ray,
    look_at_stores,
    look_at_variables,
)
from recsys.callbacks import StageProgress
from recsys.callbacks import stage as stage_of
from recsys.health.database import look_at_database
from recsys.health.findings import Check, Finding, examine
from recsys.health.installation import look_at_memory, look_at_packages, look_at_processor, look_at_python
from recsys.health.place import look_at_disk, look_at_leftovers, look_at_place, look_at_pruning
from recsys.health.stored import (
    look_at_adapters,
    look_at_generations,
    look_at_index,
    look_at_pointer,
    look_at_snapshots,
)
from recsys.home import Home


def checks(home: Home, quick: bool = False, progress: StageProgress | None = None) -> list[Check]:
    """Return all checks of a home and of what stands around it.

    Args:
        home: may be missing, broken or another user's.
        quick: manifests and sizes are read, and no file is hashed.
        progress: told how far each long check is.
    """
    return [
        Check("python", look_at_python),
        Check("packages", look_at_packages),
        Check("processor", look_at_processor),
        Check("memory", look_at_memory),
        Check("environment", look_at_variables),
        Check("home", partial(look_at_place, home)),
        Check("disk", partial(look_at_disk, home)),
        Check("leftovers", partial(look_at_leftovers, home)),
        Check("snapshots", partial(look_at_snapshots, home, quick, progress)),
        Check("adapters", partial(look_at_adapters, home, quick, progress)),
        Check("generations", partial(look_at_generations, home, quick, progress)),
        Check("index", partial(look_at_index, home, quick, progress)),
        Check("pointer", partial(look_at_pointer, home, quick)),
        Check("prune", partial(look_at_pruning, home)),
        Check("database", partial(look_at_database, home, quick)),
        Check("keys", partial(look_at_keys, home)),
        Check("ports", look_at_ports),
        Check("prefect", look_at_prefect),
        Check("stores", look_at_stores),
        Check("ray", look_at_ray),
    ]


def diagnose(home: Home, quick: bool = False, progress: StageProgress | None = None) -> list[Finding]:
    """Make all checks; see ``checks``."""
    return examine(checks(home, quick, progress), stage_of(progress, "Look"))
