"""The log of promotions: who or what has served which generation, when and why, and what the gate said.

A line of JSON each, appended and never rewritten. A switch is decided by the pointer's replacement, which carries its
own promotion: the log follows, and whoever holds the pointer's lock next writes what a crash has kept from it.
"""

import getpass
import json
import logging
import os
from dataclasses import dataclass, field
from typing import Literal
from unicodedata import category

from recsys.artifacts import READABLE, canonical_json, now, refuse_links
from recsys.errors import SettingError
from recsys.home import Home
from recsys.record import Record

LOG = "promotions.jsonl"
LONGEST_REASON = 500
_UNWRITTEN = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories of controls, halves of characters and line ends
Action = Literal["publish", "rollback", "refused"]
_LOG = logging.getLogger(__name__)


def login() -> str:
    """Return the name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have a number alone
        return f"user {os.getuid()}"


@dataclass(frozen=True)
class Cause:
    """Who or what asks for a switch, and why.

    Attributes:
        by: the login of whoever runs it, or the name of a key.
        run: id of the flow run that it is a part of; None: of none.
        reason: in words; None: none was given.
        attempt: id of the attempt that it is decided by, see ``attempts``; None: of none.
    """

    by: str = field(default_factory=login)
    run: str | None = None
    reason: str | None = None
    attempt: str | None = None

    def check(self, force: bool = False) -> None:
        """Check the reason.

        Raises:
            SettingError: it is empty, long or more than a line, or the gate is to be overruled without one.
        """
        if force and self.reason is None:
            raise SettingError("To overrule the gate takes a reason, which the log of promotions keeps. Give one.")
        if self.reason is None:
            return
        if not 1 <= len(self.reason.strip()) <= LONGEST_REASON or _UNWRITTEN & set(map(category, self.reason)):
            raise SettingError(f"A reason has 1 to {LONGEST_REASON} characters, in one line and without controls.")


@dataclass(frozen=True, kw_only=True)
class Promotion(Record):
    """One switch of what is served, or one that was refused.

    Attributes:
        at: when it was decided (UTC).
        action: what happened: a generation was published, or gone back to, or may not be served.
        generation: the one that it is about.
        previous: what was served until then, and after a refusal still is; None: nothing.
        by: see ``Cause``, as the two below.
        run: of a flow.
        reason: in words.
        forced: whether the gate was to be overruled.
        passed: what the gate said; None: it was not asked.
        findings: of the gate, or what is broken, one sentence each.
        attempt: see ``Cause``.
    """

    at: str
    action: Action
    generation: str
    previous: str | None
    by: str
    run: str | None = None
    reason: str | None = None
    forced: bool = False
    passed: bool | None = None
    findings: list[str] = field(default_factory=list)
    attempt: str | None = None

    @classmethod
    def make(
        cls,
        action: Action,
        generation: str,
        previous: str | None,
        cause: Cause,
        *,
        forced: bool = False,
        passed: bool | None = None,
        findings: tuple[str, ...] = (),
    ) -> "Promotion":
        """Return a promotion of this moment."""
        return cls(
            at=now(), action=action, generation=generation, previous=previous, by=cause.by, run=cause.run,
            reason=cause.reason, forced=forced, passed=passed, findings=list(findings),
            attempt=cause.attempt,
        )  # fmt: skip

    @property
    def outcome(self) -> str:
        """What happened, in a few words."""
        if self.action == "rollback":
            return "rolled back"
        if self.action == "refused":
            return "refused"
        return "published against the gate" if self.forced and not self.passed else "published"


def read_log(home: Home) -> list[Promotion]:
    """Return all lines, the oldest first; what a crash has left of the last one is passed over.

    A line that cannot be read, whoever wrote it, must not hide the others: it is logged and left out.

    Raises:
        ArtifactError: the log is a link.
    """
    path = home.generations / LOG
    refuse_links(path)
    try:
        lines, _ = _divided(path.read_bytes())
    except FileNotFoundError:
        return []
    return [one for one in map(_parsed, lines) if one is not None]


def is_written(home: Home, promotion: Promotion) -> bool:
    """Tell whether the log has a line; nothing is parsed, so that a long log costs a switch nothing.

    Raises:
        ArtifactError: the log is a link.
    """
    path = home.generations / LOG
    refuse_links(path)
    try:
        return canonical_json(promotion.to_dict()) in _divided(path.read_bytes())[0]
    except FileNotFoundError:
        return False


def append(home: Home, promotion: Promotion) -> None:
    """Add a line, whole and on disk when this returns; only for who holds the pointer's lock.

    A log that cannot be written keeps nobody from switching: the pointer has what it lacks.
    """
    path = home.generations / LOG
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC  # through a link somebody else's file is written
    try:
        with open(os.open(path, flags, READABLE), "r+b") as file:
            os.fchmod(file.fileno(), READABLE)
            lines, torn = _divided(file.read())
            if torn:  # the pointer had it, or nobody was told
                file.truncate(sum(len(line) + 1 for line in lines))
            file.seek(0, os.SEEK_END)
            file.write(canonical_json(promotion.to_dict()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        _LOG.warning("The log of promotions %s cannot be written: %s", path, error)


def _divided(content: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole lines, and what a crash has left of one more."""
    *lines, torn = content.split(b"\n")
    return lines, torn


def _parsed(line: bytes) -> Promotion | None:
    try:
        return Promotion.parsed(json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        _LOG.warning("A line of the log of promotions is left out: %s", error)
        return None
