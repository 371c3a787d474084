"""What long work calls as it goes on, and what its stages are run by. Whoever starts the work decides on both."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, Protocol, TypeVar

Progress = Callable[[int, int], None]  # done, total
StageProgress = Callable[[str, int, int], None]  # stage, done, total

_loss: ContextVar[Callable[[], float] | None] = ContextVar("loss", default=None)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class RunStage(Protocol):
    """Calls a stage with its arguments and returns what it returns, perhaps again after a failure, or logged."""

    def __call__(
        self, stage: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result: ...


def call(stage: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Run a stage by calling it, and nothing else."""
    return stage(*args, **kwargs)


def note_loss(read: Callable[[], float]) -> None:
    """Note what the loss of a training's last step is read by: only where it is shown, since a GPU is waited for."""
    _loss.set(read)


def noted_loss() -> float | None:
    """Return the loss that was noted last, or None where no training has taken a step."""
    read = _loss.get()
    return None if read is None else read()


def forget_loss() -> None:
    """Forget it: another stage begins."""
    _loss.set(None)


def stage(progress: StageProgress | None, name: str) -> Progress | None:
    """Return the progress of one stage."""
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)


def told_here(job: Any) -> dict[str, Any]:
    """Return the state of a dataclass that is carried to another process, as its ``__getstate__``: nobody is told."""
    return {**job.__dict__, "progress": None}


def under(progress: StageProgress | None, title: str) -> StageProgress | None:
    """Return a progress that names stages ``title · stage``."""
    if progress is None:
        return None
    return lambda stage, done, total: progress(f"{title} · {stage}", done, total)


@contextmanager
def step(progress: StageProgress | None, name: str) -> Iterator[None]:
    """Report a stage that has no parts for the length of the block."""
    if progress is not None:
        progress(name, 0, 1)
    yield
    if progress is not None:
        progress(name, 1, 1)
