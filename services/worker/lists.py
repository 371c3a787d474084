"""Lists of users on their way to who asked: made, shown as the caller may see them, counted and written down."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recsys.database.impressions import Options
from recsys_client.schemas.lists import RecommendedItem
from recsys_client.schemas.recommend import DialledOptions, ListOptions, UserOrHistory
from services.edge.context import HISTORY, RECORD, asking_key, end_stage
from services.edge.metrics import COLD, NO_FALLBACK, WARM
from services.worker.answering import LEAST_ALIKE, list_request, refusing
from services.worker.disclosure import LEAST_OFFERED, withheld
from services.worker.impression_writer import Given
from services.worker.state import Worker

if TYPE_CHECKING:
    from recsys.serving.answers import Answer, ListRequest
    from recsys.serving.recipes.recipe import Recipe
    from recsys.serving.recommender import Recommender


NOTHING_KNOWN: Mapping[str, Any] = {}


@dataclass(frozen=True)
class UserList:
    """One user's list, as it is answered.

    Attributes:
        rec_id: names it.
        history: what it was made from, item ids, oldest first.
        answer: as the caller may see it.
        attributes: what else it was made from, by name.
    """

    rec_id: str
    history: Sequence[str]
    answer: "Answer"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def items(self) -> list[RecommendedItem]:
        """The items as they are sent."""
        return [RecommendedItem.model_validate(item) for item in self.answer.items]


@dataclass(frozen=True)
class Lists:
    """Makes the lists of one request, all from one generation.

    Attributes:
        worker: that answers.
        recommender: the generation.
        options: what they shall be like.
        written: the same, for what is written down.
        asked: the same, as a generation is asked.
        reads: whether the caller may be told what a user did.
        time: when it asked.
        recipe: which named list they are; None: recommendations.
    """

    worker: Worker
    recommender: "Recommender"
    options: ListOptions
    reads: bool
    written: Options
    asked: "ListRequest"
    time: datetime
    recipe: "Recipe | None" = None

    @classmethod
    def of(
        cls,
        worker: Worker,
        recommender: "Recommender",
        options: ListOptions,
        reads: bool,
        recipe: "Recipe | None" = None,
        of_recipe: Mapping[str, Any] | None = None,
        time: datetime | None = None,
    ) -> "Lists":
        """Return what makes the lists of a request.

        Args:
            worker: that answers.
            recommender: the generation.
            options: what they shall be like.
            reads: whether the caller may be told what a user did.
            recipe: which named list they are; None: recommendations.
            of_recipe: what is asked of the recipe, to be written down.
            time: when they are asked for; None: now.
        """
        written = options.model_dump(include=set(DialledOptions.model_fields))
        now = time or datetime.now(UTC)
        least_alike = LEAST_OFFERED if withheld(recommender, options, reads) else 1
        if least_alike > 1 and isinstance(options, DialledOptions) and (options.boosts or options.objective):
            written[LEAST_ALIKE] = least_alike
        asked = list_request(worker, options, int(now.timestamp()), least_alike)
        if recipe is not None:
            asked = replace(asked, least_offered=0 if reads else LEAST_OFFERED)
            written |= {"recipe": recipe.name, "least_offered": asked.least_offered, **(of_recipe or {})}
        return cls(worker, recommender, options, reads, Options(written), asked, now, recipe)

    def made(self, users: Sequence[UserOrHistory], checkpoint: Callable[[str], object]) -> list[UserList]:
        """Return the lists of some users, in their order, counted and on the way to be written down.

        Args:
            users: whose.
            checkpoint: ends a stage, and may stop the work there.

        Raises:
            Refused: 422, filter, limits or fields do not fit the catalogue.
        """
        known = self.worker.histories.of(self.recommender, users)
        beside = known
        if self.recipe is not None and self.recipe.asks_attributes:
            beside = [None if one is None else [] for one in known]
        attributes = self.worker.histories.attributes(self.recommender, users, beside)
        end_stage(HISTORY)
        histories = [history or [] for history in known]
        with refusing(self.recommender, self.options.fields):
            answers = self._answers(histories, checkpoint, attributes)
        described = attributes or [{}] * len(users)
        lists = [
            self.finished(user, history, answer, of_user)
            for user, history, answer, of_user in zip(users, known, answers, described, strict=True)
        ]
        end_stage(RECORD)
        return lists

    def finished(
        self,
        user: UserOrHistory,
        history: Sequence[str] | None,
        answer: "Answer",
        attributes: Mapping[str, Any] = NOTHING_KNOWN,
    ) -> UserList:
        """Return a user's list as the caller may see it, counted and on the way to be written down.

        Args:
            user: whose.
            history: what it was made from, item ids, oldest first; None: it could not be read.
            answer: the list.
            attributes: what else it was made from, by name.
        """
        openly = self.reads or user.user_id is None
        tells = self.recipe is None or self.recipe.tells_history
        seen = as_seen_by_caller(self.worker, answer, history, openly or not tells, self.options.language)
        made = UserList(uuid.uuid4().hex, history or [], seen, attributes)
        self._count(answer)
        if self.options.record:
            self.worker.metrics.lists.labels(answer.generation, answer.adapter).inc()
        if self.options.record or not openly:
            write_down(self.worker, self.recommender, user.user_id, self.written, made, self.options.record, self.time)
        return made

    def _answers(
        self,
        histories: Sequence[Sequence[str]],
        checkpoint: Callable[[str], object],
        attributes: Sequence[Mapping[str, Any]],
    ) -> list["Answer"]:
        if self.recipe is None:
            return self.recommender.recommend_many(histories, self.asked, checkpoint, attributes)
        whose = zip(histories, attributes or [{}] * len(histories), strict=True)
        return [self.recommender.listed(self.recipe, one, self.asked, checkpoint, of_user) for one, of_user in whose]

    def _count(self, answer: "Answer") -> None:
        cold = round(self.recommender.cold_share([item.item_id for item in answer.items]) * len(answer.items))
        self.worker.metrics.items.labels(COLD).inc(cold)
        self.worker.metrics.items.labels(WARM).inc(len(answer.items) - cold)


def write_down(
    worker: Worker,
    recommender: "Recommender",
    user_id: str | None,
    options: Options,
    made: UserList,
    shown: bool,
    asked: datetime,
) -> None:
    """Put a list, or an order of given items, on the way to be written down, with the key that asked, and when."""
    from recsys.serving.history import History  # brings torch, for which BentoML's supervisor has no use

    # what is known of events beside their items has a part in few answers
    by_events = isinstance((options.content or {}).get("exclude_seen"), dict)
    reads = by_events or recommender.signals is not None or recommender.scoring.system.again is not None
    known = made.history.known if reads and isinstance(made.history, History) else {}
    given = Given(
        rec_id=made.rec_id,
        recommender=recommender,
        user_id=user_id,
        options=options,
        history=made.history,
        item_ids=[item.item_id for item in made.answer.items],
        scores=[item.score for item in made.answer.items],
        fallback=made.answer.fallback,
        shown=shown,
        key=asking_key(),
        time=asked,
        known=known,
        attributes=made.attributes,
    )
    worker.impressions.record(given)


def as_seen_by_caller(
    worker: Worker, answer: "Answer", history: Sequence[str] | None, openly: bool, language: str | None
) -> "Answer":
    """Return an answer as the caller may see it; count which link of the chain it came from.

    It says so where the history could not be read. Unless ``openly``, explanations do not name the history's items.
    Reasons are in the language that was asked for, where there are sentences for it.
    """
    from recsys.serving.answers import DEGRADED  # brings torch, for which BentoML's supervisor has no use

    if history is None:
        answer = replace(answer, fallback=DEGRADED)
    if not openly:
        answer = replace(answer, items=[item.without_history() for item in answer.items])
    table = worker.wording.of(language)
    if table is not None:
        answer = replace(answer, items=[item.said_by(table) for item in answer.items])
    worker.metrics.answers.labels(answer.fallback or NO_FALLBACK).inc()
    return answer
