"""Promotions that are asked for here: judged in a thread of their own, and told to whoever asks, in any worker."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import anyio

from recsys.artifacts import ArtifactError, Hold
from recsys.config import GateConfig
from recsys.errors import SettingError
from recsys.home import Home
from recsys.remote.bucket import StoreError
from recsys.settings.reading import read_settings
from recsys.store.attempts import LOST, Attempt, UnderWayError, begin_attempt, end_attempt, find_attempt
from recsys.store.generations import ConflictError, current_id
from recsys.store.promotions import Cause
from recsys_client.schemas.generations import PromotionAnswer, PromotionProblem
from recsys_client.schemas.problems import Code
from services.edge.context import asking_key
from services.edge.keys import read_keys
from services.edge.paths import without_paths
from services.edge.problems import STORE_FAILS, Refused
from services.worker.current import CurrentGeneration
from services.worker.generation_cache import GenerationCache

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

LOOK_SECONDS = 0.1  # between two looks at what is being judged
PATH = "/v1/promotions/"
GATE = "RECSYS_GATE"  # names a file with the gate's limits
FAULT = "The service failed; its log says why."
_LOG = logging.getLogger(__name__)


class Promotions:
    """Promotes, one generation at a time in all workers of a home.

    The thread is none that a worker which ends waits for: what is under way then is lost, and nothing has changed.

    Args:
        home: where state lives.
        generation: what answers here, which follows a switch at once.
        cache: loads what shall be served.
        limits: of the gate.
    """

    def __init__(
        self, home: Home, generation: CurrentGeneration, cache: GenerationCache, limits: GateConfig | None = None
    ) -> None:
        self._home = home
        self._generation = generation
        self._cache = cache
        self._limits = limits or GateConfig()

    def begin(self, generation_id: str, cause: Cause, force: bool) -> Attempt:
        """Begin to promote a generation; who asks for what is under way already joins that.

        Raises:
            Refused: 409, something else is under way.
        """
        try:
            attempt, hold = begin_attempt(self._home, generation_id, cause, force)
        except UnderWayError as error:
            other = error.attempt
            if (other.generation, other.forced) == (generation_id, force):
                return other
            detail = f"{error} Wait for what becomes of it: GET {PATH}{other.id} tells."
            raise Refused(Code.PROMOTION_RUNNING, detail, {"Location": f"{PATH}{other.id}"}) from None
        arguments = (self._run, attempt, replace(cause, attempt=attempt.id), hold)
        Thread(target=copy_context().run, args=arguments, name="promote", daemon=True).start()
        return attempt

    async def outcome(self, attempt: Attempt, seconds: float) -> Attempt:
        """Return what has become of an attempt, which it waits for, but not longer than some seconds."""
        deadline = anyio.current_time() + seconds
        while attempt.running and anyio.current_time() < deadline:
            await anyio.sleep(min(LOOK_SECONDS, max(0.0, deadline - anyio.current_time())))
            attempt = await anyio.to_thread.run_sync(find_attempt, self._home, attempt.id)
        return attempt

    def promote(self, attempt: Attempt, cause: Cause) -> Attempt:
        """Load, verify and judge a generation, and serve it if it may be; return what became of the attempt."""
        from recsys.publishing.admission import publish  # brings torch

        generation_id, force = attempt.generation, attempt.forced
        previous = current_id(self._home)
        try:
            load(self._cache, generation_id)
            with told():
                verdict = publish(
                    self._home, generation_id, force=force, load=self.opened, cause=cause, limits=self._limits
                )
        except Refused as error:
            return replace(attempt, state="failed", previous=previous, code=str(error.code), detail=error.detail)
        attempt = replace(attempt, previous=previous, findings=list(verdict.findings))
        if not (verdict.passed or force):
            detail = f"The gate refuses {generation_id}: {' '.join(verdict.objections)}"
            return replace(attempt, state="refused", code=str(Code.REFUSED_BY_GATE), detail=detail)
        self._generation.check()
        return replace(attempt, state="promoted")

    def opened(self, generation_id: str) -> "Recommender":
        """Return a generation as it was opened, without live items: the one that answers, or another, loaded for it.

        Raises:
            ArtifactError: it does not exist, or is not what it was.
        """
        return self._generation.opened(generation_id) or self._cache.open(generation_id)

    def _run(self, attempt: Attempt, cause: Cause, _: Hold) -> None:
        """Promote, and write down what became of it; the hold is let go of at the end."""
        try:
            ended = self.promote(attempt, cause)
        except Exception as error:  # nobody may wait for ever
            _LOG.error("Generation %s cannot be promoted.", attempt.generation, exc_info=error)
            ended = replace(attempt, state="failed", code=str(Code.FAULT), detail=FAULT)
        try:
            end_attempt(self._home, ended)
        except OSError as error:
            _LOG.error("What became of promotion %s cannot be written down: %s", attempt.id, error)


def answer_of(attempt: Attempt) -> PromotionAnswer:
    """Return an attempt as it is told; paths of this machine keep their last part."""
    problem = None
    if attempt.code is not None:
        code = code_of(attempt)
        problem = PromotionProblem(status=code.status, code=code, detail=without_paths(str(attempt.detail)))
    return PromotionAnswer(
        promotion=attempt.id,
        state=attempt.state,
        generation=attempt.generation,
        previous=attempt.previous,
        findings=None if attempt.running else [without_paths(finding) for finding in attempt.findings],
        by=attempt.by,
        reason=attempt.reason,
        forced=attempt.forced,
        at=attempt.at,
        ended=attempt.ended,
        problem=problem,
    )


def code_of(attempt: Attempt) -> Code:
    """Return why an attempt was refused or has failed; another version may have written a word that is unknown here."""
    if attempt.code == LOST:
        return Code.PROMOTION_LOST
    return next((code for code in Code if code == attempt.code), Code.FAULT)


def limits_from_environment() -> GateConfig:
    """Return the gate's limits as the file has them that the environment names; the usual ones where it names none.

    Raises:
        SettingError: it cannot be read, or holds what is no limit of the gate.
    """
    value = os.environ.get(GATE)
    if not value:
        return GateConfig()
    try:
        return read_settings(GateConfig, Path(value).expanduser())
    except (SettingError, OSError) as error:
        raise SettingError(f"{GATE} names a file that holds no limits of the gate. {error}") from None


def cause_of(home: Home, reason: str | None) -> Cause:
    """Return who asks, by the name and id of the key, and why."""
    key = asking_key()
    if key is None:
        return Cause(by="somebody on this machine", reason=reason)
    names = (one.name for one in read_keys(home) or () if one.id == key)
    return Cause(by=f"{next(names, '')} (key {key})".strip(), reason=reason)


def load(cache: GenerationCache, generation_id: str) -> None:
    """Load a generation beside the current one.

    Raises:
        Refused: 409, it is broken.
    """
    try:
        cache.open(generation_id)
    except Exception as error:  # whatever a broken file makes its reader raise
        raise Refused(Code.CANNOT_ANSWER, f"Generation {generation_id} cannot be loaded: {error}") from None


@contextmanager
def told(broken: Code = Code.CANNOT_ANSWER) -> Iterator[None]:
    """Refuse with a code of its own where somebody else has switched meanwhile, else with the one that is given."""
    try:
        yield
    except ConflictError as error:
        raise Refused(Code.SWITCHED_MEANWHILE, str(error)) from None
    except ArtifactError as error:
        raise Refused(broken, str(error)) from None
    except StoreError as error:
        _LOG.error("The object store of the home failed. %s", error)
        raise Refused(Code.UNAVAILABLE, STORE_FAILS) from None
