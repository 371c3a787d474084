"""The flow that tidies after runs whose process and worker are gone: nobody was left to close them."""

from dataclasses import dataclass

from flows.forms import Folder
from flows.runs import flow
from flows.runtime import alone, open_home
from recsys.home import Home
from recsys.store.generations import clean_up


@dataclass(frozen=True)
class Tidied:
    """What a run has found: subflows that it closed, and entries that it removed from the home."""

    closed: int
    removed: int


@flow("tidy")
def tidy(home: Folder | None = None) -> Tidied:
    """Close the subflows of runs that have ended, and remove what ended runs have left half written.

    What somebody is writing or reading stays.

    Args:
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
    """
    return tidied(open_home(home))


def tidied(home: Home) -> Tidied:
    """Do so, and return what was found."""
    if alone():
        return Tidied(0, clean_up(home))
    from flows.hooks import close_orphans

    return Tidied(close_orphans(), clean_up(home))
