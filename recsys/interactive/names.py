"""Aliases, tags and notes of adapters and generations, from a notebook: ``from recsys.interactive import names``."""

from collections.abc import Sequence

from recsys.home import Home, Place
from recsys.remote.following import reached
from recsys.store.names import ADAPTER, GENERATION, Kind, meant, set_alias, set_note, set_tags


def name_adapter(
    adapter: str, *, alias: str | None = None, tags: Sequence[str] = (), note: str | None = None, home: Place = None
) -> str:
    """Name an adapter; return its id.

    Args:
        adapter: its id, an alias that it has, or how its id begins.
        alias: a name that stands for it wherever an id is asked for, and for no other from now on; None: no new one.
        tags: to be added.
        note: in the place of the one before; "" takes it away; None: it stays.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.

    Raises:
        ArtifactError: there is no such adapter.
        SettingError: a name may not look like that.
    """
    return _name(reached(home), ADAPTER, adapter, alias, tags, note)


def name_generation(
    generation: str, *, alias: str | None = None, tags: Sequence[str] = (), note: str | None = None, home: Place = None
) -> str:
    """Name a generation; return its id. Arguments and errors are those of ``name_adapter``."""
    return _name(reached(home), GENERATION, generation, alias, tags, note)


def _name(home: Home, kind: Kind, name: str, alias: str | None, tags: Sequence[str], note: str | None) -> str:
    chosen = meant(home, kind, name)
    if alias is not None:
        set_alias(home, kind, chosen, alias)
    if tags:
        set_tags(home, kind, chosen, add=tuple(tags))
    if note is not None:
        set_note(home, kind, chosen, note)
    return chosen
