"""What long work calls as it goes on: how far it is. Whoever starts the work decides what becomes of it."""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # done, total
StageProgress = Callable[[str, int, int], None]  # stage, done, total


def stage(progress: StageProgress | None, name: str) -> Progress | None:
    """Return the progress of one stage."""
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)
