"""Whether a generation may be served, and the switch: verify it, judge it by ``checks.py``, and move the pointer."""

from functools import cache, partial
from types import EllipsisType

from recsys.config import GateConfig
from recsys.home import Home
from recsys.publishing.checks import Load, judged
from recsys.publishing.gate import DEFAULT, Verdict
from recsys.publishing.verification import refusing, verify_answers, verify_stored
from recsys.serving.recommender import Recommender
from recsys.store.generations import ConflictError, current_id, promote
from recsys.store.index import keep_version
from recsys.store.pointer import refuse
from recsys.store.promotions import Action, Cause, Promotion


def publish(
    home: Home,
    generation_id: str,
    *,
    force: bool = False,
    load: Load | None = None,
    expected: str | EllipsisType | None = ...,
    cause: Cause | None = None,
    limits: GateConfig = DEFAULT,
) -> Verdict:
    """Verify a generation, judge it, and switch the pointer to it if the gate lets it pass, or with ``force``.

    Every check is made with ``force`` too, and the log of promotions keeps what was said. The pointer moves only from
    the generation that this one was judged against: of two that publish at the same time the later one is told.

    Args:
        home: where state lives.
        generation_id: what shall be served.
        force: serve it whatever the gate says; what is broken is not served even so.
        load: opens a generation by id, without live items, so that both are measured alike; None: from its files.
        expected: what must be served now, None for nothing; an ellipsis: whatever is.
        cause: who publishes, and why, which ``force`` takes; None: whoever runs this.
        limits: of the gate.

    Raises:
        ArtifactError: the generation is missing or broken; the pointer stays, and the log says why.
        ConflictError: another generation is served than was expected or judged against; the pointer stays.
        SettingError: ``force`` has no reason.
    """
    cause = cause or Cause()
    cause.check(force)
    served = current_id(home)
    if expected is not ... and served != expected:
        raise ConflictError(f"Generation {served} is served, not {expected}. Look again before you publish.")
    opened = cache(load or partial(Recommender.open, home))
    with refusing(home, generation_id, served, cause, force):
        manifest = verify_stored(home, generation_id)
        verify_answers(home, opened(generation_id))
    verdict = judged(home, generation_id, served, opened, limits)
    action: Action = "publish" if verdict.passed or force else "refused"
    decided = Promotion.make(
        action, generation_id, served, cause, forced=force, passed=verdict.passed, findings=verdict.findings
    )
    if action == "refused":
        refuse(home, decided)
    else:
        keep_version(home.lance, manifest.index, generation_id)
        promote(home, generation_id, served, decided)
    return verdict
