"""Comparisons of adapters that were measured, by what they had made, which never changes."""

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from recsys.home import Home

if TYPE_CHECKING:
    from recsys.interactive.comparison import SideBySide

KEPT = 16  # pairs


class Comparisons:
    """Measures two adapters once, and keeps what was found last. Safe to share between threads."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._found: OrderedDict[tuple[str, str, str, str], SideBySide] = OrderedDict()
        self._lock = Lock()

    def of(self, first: str, second: str) -> "SideBySide":
        """Return how two adapters do on what both held out.

        Raises:
            ArtifactError: there is no such adapter, or its generation is broken.
            SettingError: nothing can be compared; the message says why.
        """
        from recsys.interactive.comparison import generations_of, measure  # brings Polars

        pair = (first, second, *generations_of(self._home, first, second))
        with self._lock:
            found = self._found.get(pair)
        if found is None:
            found = measure(self._home, first, second)
        with self._lock:
            self._found[pair] = found
            self._found.move_to_end(pair)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
        return found
