"""What makes the lists of one file, wherever it runs: a recommender as of the moment when the lists were begun."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts import MANIFEST, ArtifactError
from recsys.data.columns import USER_ID
from recsys.database.engine import Database
from recsys.distributed.executor import Advance, Work
from recsys.errors import RequestError
from recsys.home import Home
from recsys.serving.alike import LONGEST
from recsys.serving.answers import Answer, ListRequest
from recsys.serving.batch.manifest import OWN, Part
from recsys.serving.batch.unfinished import Begun, Unfinished
from recsys.serving.frames import ranked
from recsys.serving.live_generation import with_changes
from recsys.serving.recommender import Recommender
from recsys.serving.users import Users

SCORES_AT_ONCE = 1 << 24  # users times items that are ranked together, where all are compared
MOST_AT_ONCE = 256  # users: more together save no time
MANY = 256  # users from whom on it pays to read an index whole


@dataclass(frozen=True)
class Answering:
    """What answers, as of the moment."""

    recommender: Recommender
    users: Users
    request: ListRequest

    @classmethod
    def of(cls, home: Home, opened: Recommender, database: Database, begun: Begun, request: ListRequest) -> "Answering":
        recommender = with_changes(home, opened, database, begun.changes, begun.items)
        return cls(recommender, Users(database, begun.as_of), begun.request(request))

    @property
    def at_once(self) -> int:
        if self.recommender.scoring.source.kind == "approximate":
            return MOST_AT_ONCE
        return max(1, min(MOST_AT_ONCE, SCORES_AT_ONCE // len(self.recommender.catalogue)))

    def check(self) -> None:
        """Answer nobody: what does not fit the generation is known before anything is written.

        Raises:
            FilterError, LimitError, FieldError, ObjectiveError, RequestError: the request does not.
        """
        unknown = [name for name in self.request.fields if name not in self.recommender.field_names]
        if unknown:
            raise RequestError(f"fields: there is no {unknown[0]!r}; there are {self.recommender.field_names}.")
        self.recommender.recommend_many([[]], self.request)

    def lists(self, users: Sequence[str]) -> tuple[pl.DataFrame, Counter[str]]:
        """Return the lists of some users, and how many each link of the fallback chain gave."""
        known, catalogue = self.recommender.users, self.recommender.catalogue
        histories = self.users.histories(known, catalogue, users)
        said: list[dict[str, Any]] = []
        if known.audience is not None:
            said = [
                self.users.attributes(known, user_id) if len(history) <= LONGEST else {}
                for user_id, history in zip(users, histories, strict=True)
            ]
        answers = self.recommender.recommend_many(histories, self.request, attributes=said)
        return self._frame(users, answers), Counter(answer.fallback or OWN for answer in answers)

    def _frame(self, users: Sequence[str], answers: Sequence[Answer]) -> pl.DataFrame:
        items = [item for answer in answers for item in answer.items]
        fallback = [answer.fallback for answer in answers for _ in answer.items]
        more = {"fallback": pl.Series(fallback, dtype=pl.String)}
        if self.request.explain:
            more["reasons"] = pl.Series([list(item.reasons) for item in items], dtype=pl.List(pl.String))
        lists = dict(zip(users, (answer.items for answer in answers), strict=True))
        return ranked(USER_ID, lists, self.recommender.catalogue.items, self.request.fields, **more)


@dataclass(frozen=True)
class ListsJob:
    """The job whose shards are the files of unfinished lists, by number; see ``recsys.distributed.executor.Job``.

    Attributes:
        home: where state lives.
        folder: of the lists.
        request: what was asked for.
        answering: what answers in this process; it does not travel.
    """

    home: Home
    folder: Path
    request: ListRequest
    answering: Answering | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"answering": None}

    def files(self) -> list[Path]:
        """See ``Job``: what was fixed, and the manifest of the generation that answers."""
        unfinished = self._unfinished()
        return [unfinished.begun_file, self.home.generations / unfinished.begun.inputs.generation / MANIFEST]

    @contextmanager
    def opened(self) -> Iterator[Work[int, Part]]:
        """See ``Job``."""
        unfinished = self._unfinished()
        if self.answering is not None:
            yield _Writing.of(unfinished, self.answering)
            return
        opened = Recommender.open(self.home, unfinished.begun.inputs.generation)
        database = Database.of(self.home)
        try:
            answering = Answering.of(self.home, opened, database, unfinished.begun, self.request)
            yield _Writing.of(unfinished, answering)
        finally:
            database.close()

    def _unfinished(self) -> Unfinished:
        found = Unfinished.find(self.folder)
        if found is None:
            raise ArtifactError(f"{self.folder} holds no lists that were begun. Ask for them again.")
        return found


@dataclass(frozen=True)
class _Writing:
    """Makes one file, unless it is there as it was written."""

    unfinished: Unfinished
    answering: Answering

    @classmethod
    def of(cls, unfinished: Unfinished, answering: Answering) -> "_Writing":
        if unfinished.begun.users >= MANY:
            answering.recommender.scoring.source.prepare_for_many()
        return cls(unfinished, answering)

    def __call__(self, number: int, advance: Advance) -> Part:
        name, users = self.unfinished.block(number)
        part = self.unfinished.whole(name)
        if part is not None:
            advance(len(users))
            return part
        frames, answers = [], Counter[str]()
        for start in range(0, len(users), self.answering.at_once):
            some = users[start : start + self.answering.at_once]
            frame, links = self.answering.lists(some)
            frames.append(frame)
            answers += links
            advance(len(some))
        return self.unfinished.write(pl.concat(frames), name, users, dict(sorted(answers.items())))
