"""What is tried again, how often and after how long: the one place for flows and their stages.

Only what may mend itself is tried again. A wrong setting, bad data or a refusal is the same the next time.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from recsys.errors import RecsysError

P = ParamSpec("P")
R = TypeVar("R")
JITTER = 0.5  # of each wait, at random: what failed together shall not come back together
_LOG = logging.getLogger(__name__)
_chance = random.SystemRandom()  # leaves the seeded generators of trainings alone
# A file that is not there and a mistake in the code are the same the next time, too.
_LASTING = (
    *(FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, MemoryError),
    *(TypeError, AttributeError, LookupError, NameError, AssertionError, NotImplementedError),
)


@dataclass(frozen=True)
class Retries:
    """How often something is tried again.

    Attributes:
        times: after the first failure.
        seconds: before the first; each further wait is twice as long.
    """

    times: int = 0
    seconds: float = 0.0

    @property
    def waits(self) -> list[float]:
        """Seconds before each, without their jitter."""
        return [self.seconds * 2**turn for turn in range(self.times)]

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function, again after failures that may mend themselves; the last one is raised."""
        for seconds in self.waits:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if not mends(error):
                    raise
                wait = seconds * (1 + _chance.uniform(0, JITTER))
                name = getattr(function, "__name__", "It")
                _LOG.warning("%s failed and is tried again in %.0f s: %s", name, wait, error)
                time.sleep(wait)
        return function(*args, **kwargs)


ONCE = Retries()
NETWORK = Retries(times=3, seconds=10)  # a table or a data set that lies elsewhere
COMMIT = Retries(times=2, seconds=5)  # LanceDB and the disk: another writer, an object store that is slow to answer
CONFLICT = Retries(times=2, seconds=2)  # another generation was served while the gate looked: it looks again


def mends(error: BaseException) -> bool:
    """Tell whether what failed may work the next time."""
    return error.passing if isinstance(error, RecsysError) else not isinstance(error, _LASTING)
