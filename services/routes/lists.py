"""Named lists of a shop: what trends, what is popular, and the others. Each has a body of its own, and one answer."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi import Response

from recsys.ranking.stages import EndStage
from recsys.selection.filters import FilterError
from recsys_client.schemas.lists import RecommendedItem
from recsys_client.schemas.page import LeftOutRow, PageAnswer, PageRequest, PageRow
from recsys_client.schemas.problems import Code, pointer_to
from recsys_client.schemas.recipes import (
    About,
    BecauseYouLikedRequest,
    BoughtTogetherRequest,
    BuyAgainRequest,
    ListAnswer,
    NewArrivalsRequest,
    PopularRequest,
    RecentlyViewedRequest,
    RecipeRequest,
    TrendingRequest,
)
from services.edge.auth import ReadsHistories, guarded_router, scoped
from services.edge.bodies import A_LIST
from services.edge.context import HISTORY, MODEL, SERIALISE, end_stage
from services.edge.problems import Refused
from services.worker.answering import (
    ERRORS,
    answering,
    items_as_json,
    list_request,
    milliseconds_since,
    refusing,
    with_items,
)
from services.worker.disclosure import LEAST_OFFERED, check_disclosure, check_list
from services.worker.lists import Lists
from services.worker.recipes import recipe_of
from services.worker.state import Worker, WorkerOfApp

if TYPE_CHECKING:
    from recsys.serving.recipes.recipe import Heading, Recipe
    from recsys.serving.recommender import Recommender

router = guarded_router("lists")


@router.post("/v1/lists/because-you-liked", response_model=ListAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def because_you_liked(request: BecauseYouLikedRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return what is like one item of the user's history, given or chosen; ``about`` names it."""
    return await _answered(request, worker, reads)


@router.post("/v1/lists/bought-together", response_model=ListAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def bought_together(request: BoughtTogetherRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return what goes with some items: often in one basket with them, and not merely like them."""
    return await _answered(request, worker, reads)


@router.post("/v1/lists/buy-again", response_model=ListAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def buy_again(request: BuyAgainRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return what a user is likely to take once more about now, at each item's own pace."""
    return await _answered(request, worker, reads)


@router.post("/v1/lists/new-arrivals", response_model=ListAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def new_arrivals(request: NewArrivalsRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return what has come lately, in the order that suits the user."""
    return await _answered(request, worker, reads)


@router.post("/v1/lists/recently-viewed", response_model=ListAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def recently_viewed(request: RecentlyViewedRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return what a user chose last, newest first, live events among it."""
    return await _answered(request, worker, reads)


@router.post("/v1/lists/popular", response_model=ListAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def popular(request: PopularRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return what most people chose, ever or in some days."""
    return await _answered(request, worker, reads)


@router.post("/v1/lists/trending", response_model=ListAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def trending(request: TrendingRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return what has grown beyond chance; what has not fills the list, with ``fallback`` saying so."""
    return await _answered(request, worker, reads)


@router.post("/v1/page", response_model=PageAnswer, **scoped("recommend", *ERRORS, body=A_LIST))
async def page(request: PageRequest, worker: WorkerOfApp, reads: ReadsHistories) -> Response:
    """Return several rows at once, those first that the user is likely to use, and no item twice."""
    lane = worker.lane_for(request.work)
    answer, rows = await lane.run(_page, worker, request, reads, lane.checkpoint())
    rest = answer.model_dump_json(exclude={"rows", *answer.unsaid})
    # joined as text: to write a large answer in one piece would hold up everybody else's
    return Response(f'{{"rows":[{",".join(rows)}],{rest[1:]}', media_type="application/json")


async def _answered(request: RecipeRequest, worker: Worker, reads: bool) -> Response:
    lane = worker.lane_for(request.work_of_a_list)
    answer, items = await lane.run(_listed, worker, request, reads, lane.checkpoint())
    return with_items(answer, items, answer.unsaid)


def _listed(worker: Worker, request: RecipeRequest, reads: bool, checkpoint: EndStage) -> tuple[ListAnswer, list[str]]:
    """Return an answer without its items, and these as JSON."""
    started = time.perf_counter()
    recommender, recipe = answering(worker, request), recipe_of(request)
    check_disclosure(recommender, request, [request.whom], reads)
    check_list(recommender, recipe, request.whom, reads)
    end_stage(MODEL)
    lists = Lists.of(worker, recommender, request, reads or request.user_id is None, recipe, request.own)
    (made,) = lists.made([request.whom], checkpoint)
    items = items_as_json(map(RecommendedItem.model_validate, made.answer.items), checkpoint)
    heading = recipe.heading(recommender, recommender.known(made.history)[0])
    answer = ListAnswer(
        recipe=request.recipe,
        title=heading.title,
        about=_about(heading),
        as_of=_as_of(recommender),
        rec_id=made.rec_id,
        items=[],
        fallback=made.answer.fallback,
        missing_ids=made.answer.missing_ids,
        unused_attributes=made.answer.unused_attributes,
        unused_context=made.answer.unused_context,
        generation=made.answer.generation,
        adapter=made.answer.adapter,
        took_ms=milliseconds_since(started),
    )
    return answer, items


def _page(worker: Worker, request: PageRequest, reads: bool, checkpoint: EndStage) -> tuple[PageAnswer, list[str]]:
    """Return a page without its rows, and these as JSON."""
    from recsys.serving.page import AskedRow, arrange  # brings torch, for which BentoML's supervisor has no use

    started = time.perf_counter()
    recommender = answering(worker, request)
    lists, user, free = request.lists, request.lists[0].whom, reads or request.user_id is None
    _check_filters(recommender, request)
    left_out: list[LeftOutRow] = []
    asked: list[tuple[int, Recipe]] = []
    for place, one in enumerate(lists):
        try:
            recipe = recipe_of(one)
            check_disclosure(recommender, one, [user], reads)
            check_list(recommender, recipe, user, reads)
            asked.append((place, recipe))
        except Refused as refused:
            if refused.code not in (Code.TELLS_HISTORY, Code.UNKNOWN_ITEM):
                raise
            left_out.append(LeftOutRow(recipe=one.recipe, row=place, reason=refused.detail, code=refused.code))
    end_stage(MODEL)
    (history,) = worker.histories.of(recommender, [user])
    beside = [] if history is not None and any(recipe.asks_attributes for _, recipe in asked) else history
    (attributes,) = worker.histories.attributes(recommender, [user], [beside]) or [{}]
    end_stage(HISTORY)
    now = datetime.now(UTC)
    seconds, least = int(now.timestamp()), 0 if free else LEAST_OFFERED
    wanted = [
        AskedRow(recipe, replace(list_request(worker, lists[place], seconds), least_offered=least))
        for place, recipe in asked
    ]
    with refusing(recommender, request.fields):
        arranged = arrange(recommender, wanted, history or [], checkpoint, attributes)
    parts: list[str] = []
    for row in arranged.rows:
        place, recipe = asked[row.place]
        options = lists[place].model_copy(update={"exclude_ids": list(row.request.exclude_ids)})
        of_row = Lists.of(worker, recommender, options, free, recipe, options.own, now)
        made = of_row.finished(user, history, row.answer, attributes)
        shown = PageRow(
            rec_id=made.rec_id,
            recipe=recipe.name,
            row=place,
            title=request.asked[place].title or row.heading.title,
            about=_about(row.heading),
            items=made.items,
            fallback=made.answer.fallback,
            utility=row.utility,
        )
        parts.append(shown.model_dump_json())
        checkpoint(SERIALISE)
    for number, why in arranged.left_out.items():
        place, recipe = asked[number]
        left_out.append(LeftOutRow(recipe=recipe.name, row=place, reason=why.reason, code=why.code))
    missing = [item_id for row in arranged.rows for item_id in row.answer.missing_ids]
    answer = PageAnswer(
        rows=[],
        left_out=sorted(left_out, key=lambda one: one.row),
        missing_ids=list(dict.fromkeys(missing)),
        as_of=_as_of(recommender),
        **arranged.remarks,
        generation=recommender.generation_id,
        adapter=recommender.adapter_id,
        took_ms=milliseconds_since(started),
    )
    return answer, parts


def _check_filters(recommender: "Recommender", request: PageRequest) -> None:
    """Answer 422 to a filter, of the page or of a row, that does not fit the catalogue."""
    with refusing(recommender, request.fields):
        recommender.catalogue.allowed(request.filter)
    for place, row in enumerate(request.rows or ()):
        try:
            recommender.catalogue.allowed(row.filter)
        except FilterError as error:
            pointer = pointer_to(["rows", place, "filter", *error.place])
            raise Refused(Code.INVALID_FILTER, f"body.rows.{place}.filter: {error}", pointer=pointer) from None


def _about(heading: "Heading") -> About | None:
    return None if heading.item_id is None else About(item_id=heading.item_id, title=heading.item_title or "")


def _as_of(recommender: "Recommender") -> datetime | None:
    behaviour = recommender.behaviour
    return datetime.fromtimestamp(behaviour.last, UTC) if behaviour.timed else None
