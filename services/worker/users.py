"""Histories of those who ask, also while the database is away: then nobody's is known, and answers say so."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from recsys_client.schemas.recommend import UserOrHistory

if TYPE_CHECKING:
    from recsys.serving.history import History
    from recsys.serving.recommender import Recommender
    from recsys.serving.users import Users

RETRY_SECONDS = 1.0  # between two attempts at a database that is away; answers in between do not wait for it
_LOG = logging.getLogger(__name__)


class Histories:
    """Reads what people did. Safe to share between threads."""

    def __init__(self, users: "Users") -> None:
        self._users = users
        self._away_until = 0.0

    def of(self, recommender: "Recommender", users: Sequence[UserOrHistory]) -> "list[Sequence[str] | None]":
        """Return each one's events, oldest first: those given, or a user's of the snapshot and the live events.

        None stands for a user who cannot be looked up. The snapshot alone must not answer then: who has been forgotten
        stands in the database.
        """
        return [user.history or [] if user.user_id is None else self._user(recommender, user.user_id) for user in users]

    def attributes(
        self, recommender: "Recommender", users: Sequence[UserOrHistory], histories: Sequence[Sequence[str] | None]
    ) -> list[dict[str, Any]]:
        """Return what is known of each one beside a history that is too short to say enough.

        Args:
            recommender: that answers.
            users: who asks.
            histories: theirs, as ``of`` returned them.
        """
        if recommender.users.audience is None:
            return []
        pairs = zip(users, histories, strict=True)
        return [{} if history is None else self._attributes(recommender, user, history) for user, history in pairs]

    def _attributes(self, recommender: "Recommender", user: UserOrHistory, history: Sequence[str]) -> dict[str, Any]:
        from recsys.serving.alike import LONGEST  # brings torch, for which BentoML's supervisor has no use

        if user.user_id is None or len(history) > LONGEST:
            return {}
        try:
            return self._users.attributes(recommender.users, user.user_id)
        except SQLAlchemyError as error:  # the histories were there: the list does without
            _LOG.error("The database cannot be read; a list does without attributes. %s", error)
            return {}

    def _user(self, recommender: "Recommender", user_id: str) -> "History | None":
        if time.monotonic() < self._away_until:
            return None
        try:
            return self._users.history(recommender.users, recommender.catalogue, user_id)
        except SQLAlchemyError as error:
            _LOG.error("The database cannot be read; users get what is popular. %s", error)
            self._away_until = time.monotonic() + RETRY_SECONDS
            return None
