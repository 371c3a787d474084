"""Going back to a generation that is known to be good: it is verified as if it were new, and not judged."""

from types import EllipsisType

from recsys.artifacts import ArtifactError
from recsys.errors import SettingError
from recsys.home import Home
from recsys.publishing.verification import refusing, verify_stored
from recsys.store.generations import ConflictError, current_id, previous_id, rollback
from recsys.store.index import keep_version
from recsys.store.pointer import list_promotions, trail_of
from recsys.store.promotions import Cause


def roll_back(
    home: Home, to: str | None = None, *, expected: str | EllipsisType | None = ..., cause: Cause | None = None
) -> str:
    """Serve the generation before the current one again, or any other; return its id.

    Args:
        home: where state lives.
        to: the generation to go to; None: the one before.
        expected: what must be served until now; an ellipsis: whatever is.
        cause: who goes back and why; None: whoever runs this.

    Raises:
        ArtifactError: there is none before it, or it is missing or broken; the pointer stays, and the log says why.
        ConflictError: another generation is served than was expected, or was at the beginning; the pointer stays.
        SettingError: the reason is none; or it was never served, so that nobody knows that it is good, and there is
            no reason.
    """
    cause = cause or Cause()
    cause.check()
    served = current_id(home)
    if expected is not ... and served != expected:
        raise ConflictError(f"Generation {served} is served, no longer {expected}. Look again before you roll back.")
    target = previous_id(home) if to is None else to
    with refusing(home, target, served, cause):
        manifest = verify_stored(home, target)
    if cause.reason is None and not _was_served(home, target):
        raise SettingError(
            f"Generation {target} was never served, and going back asks no gate. Publish it, or give a reason."
        )
    keep_version(home.lance, manifest.index, target)
    return rollback(home, served, target, cause)


def _was_served(home: Home, generation_id: str) -> bool:
    """Tell whether a generation was ever served. A log that cannot be read keeps nobody from going back."""
    if generation_id in trail_of(home):
        return True
    try:
        said = list_promotions(home)
    except (ArtifactError, OSError):
        return True
    return any(one.generation == generation_id and one.action != "refused" for one in said)
