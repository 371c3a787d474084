"""Two adapters beside each other: settings, figures on what both held out, and people's lists by both."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Path, Query, Response

from recsys.artifacts import ArtifactError
from recsys.data.columns import ITEM_ID, TITLE
from recsys.errors import SettingError
from recsys.store.adapters import read_card
from recsys.store.manifests import AdapterCard
from recsys.store.names import ADAPTER
from recsys_client.schemas.comparison import (
    ComparedSlice,
    ComparedValue,
    ComparisonAnswer,
    Measured,
    NamedItem,
    PersonsLists,
)
from recsys_client.schemas.problems import Code
from recsys_client.schemas.recommend import FromModel, UserOrHistory
from services.edge.auth import guarded_router, scoped
from services.edge.paths import without_paths
from services.edge.problems import Refused
from services.worker.answering import answering, by_name, json_response, unkept
from services.worker.state import Worker, WorkerOfApp

if TYPE_CHECKING:
    from recsys.interactive.comparison import SideBySide
    from recsys.serving.recommender import Recommender

MOST_PEOPLE = 20
LISTED = 5  # items of a list
router = guarded_router("generations")
AdapterId = Annotated[
    str,
    Path(max_length=64, description="As GET /v1/adapters shows it, or its alias.", examples=["0123456789abcdef"]),
]


@router.get(
    "/v1/adapters/{first}/compare/{second}",
    name="compare_adapters",
    response_model=ComparisonAnswer,
    **scoped("admin", 404, 409, 422),
)
async def compare_adapters(
    first: AdapterId,
    second: AdapterId,
    worker: WorkerOfApp,
    users: Annotated[int, Query(ge=0, le=MOST_PEOPLE, description="People whose lists are shown.")] = 3,
) -> Response:
    """Compare two adapters: the settings that differ, NDCG@10 on the targets that both held out, and people's lists.

    What is measured is what they made, their newest generations; 503 while these are being loaded for the lists.
    """
    return unkept(json_response(await worker.loading.run(_compare, worker, first, second, users)))


def _compare(worker: Worker, first: str, second: str, users: int) -> ComparisonAnswer:
    from recsys.interactive.adapters import compared, same_targets  # brings Polars

    one, other = (_card(worker, name) for name in (first, second))
    answer = ComparisonAnswer(
        first=one.id,
        second=other.id,
        values=[ComparedValue(**row) for row in compared(one, other)],
        comparable=same_targets(one, other),
        measured=None,
        reason=None,
        people=[],
    )
    try:
        found = worker.comparisons.of(one.id, other.id)
    except SettingError as error:
        answer.reason = without_paths(str(error))
        return answer
    slices = [ComparedSlice(**part.to_dict()) for part in found.slices]
    answer.measured = Measured(generations=list(found.generations), held_out=list(found.held_out), slices=slices)
    answer.people = _people(worker, found, users) if users else []
    return answer


def _card(worker: Worker, name: str) -> AdapterCard:
    try:
        return read_card(worker.home, by_name(worker, ADAPTER, name) or name)
    except ArtifactError:
        detail = f"There is no adapter {name!r}; GET /v1/adapters lists them."
        raise Refused(Code.UNKNOWN_ADAPTER, detail) from None


def _people(worker: Worker, found: "SideBySide", users: int) -> list[PersonsLists]:
    """Return the lists of those about whom two adapters differ the most, as a request would get them; none is recorded.

    Raises:
        StillLoadingError: a generation is being loaded.
    """
    from recsys.interactive.comparison import FIRST, SECOND, telling

    one, other = (answering(worker, FromModel(generation=generation)) for generation in found.generations)

    def has_history(user: str) -> bool:
        (history,) = worker.histories.of(one, [UserOrHistory.model_validate({"user_id": user})])
        return bool(history)

    known = [user for user in one.users.rows if user in other.users]
    told = telling(found, known, users, has_history)
    titles = dict(one.catalogue.items.select(ITEM_ID, TITLE).iter_rows())
    lists = [_lists(worker, recommender, list(told)) for recommender in (one, other)]
    return [
        PersonsLists(
            user_id=user,
            held_out=NamedItem(item_id=row[ITEM_ID], title=titles.get(row[ITEM_ID])),
            first_ndcg=row[FIRST],
            second_ndcg=row[SECOND],
            first=lists[0][number],
            second=lists[1][number],
        )
        for number, (user, row) in enumerate(told.items())
    ]


def _lists(worker: Worker, recommender: "Recommender", people: Sequence[str]) -> list[list[NamedItem]]:
    from recsys.serving.answers import ListRequest  # brings torch

    asking = [UserOrHistory.model_validate({"user_id": user}) for user in people]
    histories = worker.histories.of(recommender, asking)
    attributes = worker.histories.attributes(recommender, asking, histories)
    wanted = ListRequest(k=LISTED, fields=(TITLE,), now=int(time.time()))
    answers: Sequence[Any] = recommender.recommend_many(
        [history or [] for history in histories], wanted, attributes=attributes
    )
    return [[NamedItem(item_id=item.item_id, title=item.fields.get(TITLE)) for item in one.items] for one in answers]
