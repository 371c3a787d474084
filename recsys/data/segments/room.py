"""Where an ingest puts what does not fit into memory: a folder that is made when it is needed, and goes at the end."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType

from recsys.artifacts import staged_folder
from recsys.home import Home


class Room:
    """Folders by name. What a process that is killed leaves there is removed as other staging is.

    Args:
        make: makes the folder above them, and removes it at the end.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Path | str]]) -> None:
        self._make = make
        self._stack = ExitStack()
        self._path: Path | None = None

    @classmethod
    def of(cls, home: Home) -> "Room":
        """Return a room beside a home's snapshots, so that files can be moved into one."""
        return cls(lambda: staged_folder(home.make().snapshots))

    @classmethod
    def elsewhere(cls) -> "Room":
        """Return a room that is part of no home."""
        return cls(lambda: tempfile.TemporaryDirectory(prefix="recsys-"))

    def __enter__(self) -> "Room":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def folder(self, name: str) -> Path:
        """Return a folder, which is made where it is missing."""
        if self._path is None:
            self._path = Path(self._stack.enter_context(self._make()))
        path = self._path / name
        path.mkdir(parents=True, exist_ok=True)
        return path
