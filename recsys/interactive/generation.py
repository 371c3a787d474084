"""A generation in the hand of whoever looks at it: lists, items like an item, search and vectors, as frames."""

import time
import typing
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts import ArtifactError
from recsys.callbacks import StageProgress, stage, step
from recsys.config import TextConfig
from recsys.data.columns import ITEM_ID, TITLE, USER_ID
from recsys.database.engine import Database
from recsys.distributed.cluster import executor_at
from recsys.errors import RequestError, SettingError
from recsys.home import Home, Place
from recsys.interactive.display import reporting
from recsys.interactive.frames import Table, as_ids
from recsys.interactive.stages import Made, generation_id
from recsys.interactive.texts import embed_with
from recsys.ranking.system import System
from recsys.ranking.text_maps import TextMaps
from recsys.remote.following import reached
from recsys.selection.filters import Condition
from recsys.serving.answers import Answer, ListRequest, Seen
from recsys.serving.batch.changes import write_changes
from recsys.serving.batch.lists import write_lists
from recsys.serving.batch.manifest import BLOCK_SIZE, BatchManifest
from recsys.serving.frames import ranked
from recsys.serving.live_generation import as_served
from recsys.serving.new_texts import Encoder
from recsys.serving.recipes.likeness import By
from recsys.serving.recipes.named import recipe as named
from recsys.serving.recommender import Recommender
from recsys.serving.search import BOTH, Mode, TextSearch
from recsys.serving.users import Users
from recsys.store.adapters import read_card
from recsys.store.generations import newest_with, read_generation
from recsys.store.names import ADAPTER, meant

BATCH = 256  # users whose lists are made together


def load(
    generation: Made | str | None = None,
    *,
    adapter: str | None = None,
    live: bool = True,
    home: Place = None,
    progress: bool | StageProgress = True,
) -> "Generation":
    """Open what is served, or another generation, every file of it checked, with the items that a service was told of.

    >>> import recsys
    >>> served = recsys.load()
    >>> served.recommend(["u000", "u001"], k=3)["user_id"].to_list()
    ['u000', 'u000', 'u000', 'u001', 'u001', 'u001']

    Args:
        generation: its id or alias, or what ``train`` gave; None: the one that is served.
        adapter: open the newest generation that this adapter, named likewise, made instead.
        live: with what was put, changed or deleted up to now; else its own catalogue.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.
        progress: here and in all that is asked of it: True: bars; False: none; or a callback.

    Raises:
        ArtifactError: nothing is served, there is no such generation or adapter, or something of it has changed.
        SettingError: both a generation and an adapter are named.
    """
    place = reached(home)
    chosen = generation_id(place, generation)
    if adapter is not None:
        if chosen is not None:
            raise SettingError("Name a generation or an adapter, not both.")
        chosen = _made_with(place, adapter)
    with reporting(progress) as report, step(report, "Load"):
        opened = Recommender.open(place, chosen)
        if not live:
            return Generation(place, opened, progress)
        database = Database.of(place)
        try:
            return Generation(place, as_served(place, opened, database), progress, opened.scoring.system)
        finally:
            database.close()


class Generation:
    """A loaded generation. It never changes, whatever is published later.

    Attributes:
        generation: its id.
        adapter: id of its adapter.
        snapshot: id of what it was trained on.
        items: its catalogue.
        users: ids of the users of its snapshot.
        weights: of the blend by component, the largest first: what its lists are made of.
    """

    def __init__(
        self,
        home: Home,
        recommender: Recommender,
        progress: bool | StageProgress = True,
        system: System | None = None,
    ) -> None:
        """Take what answers, and its system as it was loaded, where live items have made another of it."""
        self.generation, self.adapter = recommender.generation_id, recommender.adapter_id
        self.snapshot = recommender.snapshot_id
        catalogue = recommender.catalogue
        self.items = catalogue.items.filter(~pl.col(ITEM_ID).is_in(sorted(catalogue.gone)))
        self.users = list(recommender.users.rows)
        self.weights = recommender.scoring.system.parts.weights
        self._home, self._recommender, self._progress = home, recommender, progress
        self._system = system or recommender.scoring.system

    def __repr__(self) -> str:
        size = f"{len(self.items):,} items, {len(self.users):,} users"
        return f"<generation {self.generation}: adapter {self.adapter}, snapshot {self.snapshot}, {size}>"

    def recommend(
        self,
        users: str | Iterable[str] | Mapping[str, Sequence[str]],
        *,
        k: int = 10,
        filter: Condition | None = None,
        explain: bool = False,
        fields: Sequence[str] = (TITLE,),
        **request: Any,
    ) -> pl.DataFrame:
        """Rank items for users, all in one frame.

        >>> import recsys
        >>> served = recsys.load()
        >>> served.recommend("u000", k=3, filter={"field": "year", "gte": 1980}, explain=True).columns
        ['user_id', 'rank', 'item_id', 'score', 'title', 'fallback', 'reasons']
        >>> served.recommend({"a visitor": ["i004", "i008"]})["fallback"].unique().to_list()
        [None]

        Args:
            users: an id, or some; what they did since the snapshot counts. Or what anybody did: item ids, oldest first,
                by any name.
            k: the length of a list; shorter only where fewer items are left.
            filter: a structured condition on item columns: ``{"field": "year", "gte": 1990}``.
            explain: add ``reasons``.
            fields: columns of the catalogue to return.
            request: ``exclude_seen`` (true, false, or ``{"days": 7}``, ``{"event_types": ["purchase"]}``),
                ``exclude_ids``, ``diversity``, ``limits``, ``promotions``, ``context``; see
                ``recsys.serving.answers.ListRequest``.

        Returns:
            ``user_id``, ``rank`` from 1, ``item_id``, ``score``, the fields, and ``fallback``: ``popular`` for users
            of whom nothing is known, ``segment`` where people alike are, ``filled`` where popular items fill the list,
            else null.

        Raises:
            FilterError, LimitError: the filter or a limit does not fit the catalogue.
            KeyError: a field does not exist.
            RequestError: k is not positive.
        """
        given: dict[str, Any] = {"now": int(time.time()), **request}
        if isinstance(given.get("exclude_seen"), Mapping):
            given["exclude_seen"] = Seen.of(given["exclude_seen"])
        wanted = ListRequest(k=_positive(k), filter=filter, explain=explain, fields=_listed(fields), **given)
        histories, attributes = self._histories(users), self._attributes(users)
        names, answers = list(histories), dict[str, Answer]()
        with reporting(self._progress) as report:
            for start in range(0, len(names), BATCH):
                batch = names[start : start + BATCH]
                told = [attributes.get(name, {}) for name in batch]
                found = self._recommender.recommend_many([histories[name] for name in batch], wanted, attributes=told)
                answers |= zip(batch, found, strict=True)
                if report is not None:
                    report("Recommend", len(answers), len(names))
        missing = sorted({item_id for answer in answers.values() for item_id in answer.missing_ids})
        if missing:
            more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
            warnings.warn(f"Unknown items are left out: {', '.join(missing[:5])}{more}.", stacklevel=2)
        unused = sorted({name for answer in answers.values() for name in answer.unused_context})
        if unused:
            warnings.warn(f"Of the context, {', '.join(unused)} had no part in the lists.", stacklevel=2)
        return self._frame(answers, wanted)

    def batch(
        self,
        out: str | Path,
        users: Iterable[str] | None = None,
        *,
        k: int = 10,
        filter: Condition | None = None,
        fields: Sequence[str] = (),
        since: str | Path | None = None,
        block_size: int = BLOCK_SIZE,
        **request: Any,
    ) -> BatchManifest:
        """Write lists for many users to Parquet files, as of now, whatever this was opened with; what was cut goes on.

        >>> import recsys
        >>> recsys.load().batch(recsys.Home.of().runs / "batch-of-two", ["u000", "u001"], k=3).rows
        6

        Args:
            out: the folder for the files, and for nothing else.
            users: whose; None: of all in the snapshot, and of those who have live events.
            k: as of ``recommend``, like ``filter``, ``fields`` and ``request``.
            filter: a structured condition on item columns.
            fields: columns of the catalogue to write.
            since: the folder of finished lists, to write what has changed since into ``changes.parquet``.
            block_size: users whose lists are one file.
            request: what a list shall be like otherwise.

        Raises:
            ArtifactError: the folder holds something else, or the generation was pruned.
            FilterError, LimitError, RequestError: the request does not fit the generation.
            ClusterError: ``RECSYS_RAY_ADDRESS`` names a cluster that cannot do it.
        """
        if isinstance(request.get("exclude_seen"), Mapping):
            request["exclude_seen"] = Seen.of(request["exclude_seen"])
        wanted = ListRequest(k=_positive(k), filter=filter, fields=_listed(fields), **request)
        given = None if users is None else as_ids(users)
        with reporting(self._progress) as report, executor_at() as executor:
            told = stage(report, "Make lists")
            made = write_lists(
                self._home, Path(out), self.generation, wanted, given, block_size, progress=told, executor=executor
            )
            if since is not None:
                made = write_changes(made, Path(since), stage(report, "Compare"))
        return made.manifest

    def history(self, user_id: str) -> list[str]:
        """Return the ids of what somebody did, oldest first, also since the snapshot; none of the forgotten."""
        return list(self._histories(user_id)[user_id])

    def listed(
        self,
        recipe: str,
        users: str | Iterable[str] | Mapping[str, Sequence[str]] | None = None,
        *,
        k: int = 10,
        filter: Condition | None = None,
        explain: bool = False,
        fields: Sequence[str] = (TITLE,),
        **options: Any,
    ) -> pl.DataFrame:
        """Make a named list of a shop: what trends, what is bought together, and the others.

        >>> import recsys
        >>> served = recsys.load()
        >>> served.listed("trending", k=3, days=30).columns
        ['user_id', 'rank', 'item_id', 'score', 'title', 'fallback']
        >>> served.listed("because-you-liked", "u000", k=2, explain=True)["rank"].to_list()
        [1, 2]

        Args:
            recipe: its name, as in the service's routes.
            users: for whom, as of ``recommend``; None: for whoever comes, whose ``user_id`` is null.
            k: the length of a list; shorter where the recipe has no more.
            filter: a structured condition on item columns.
            explain: add ``reasons``.
            fields: columns of the catalogue to return.
            options: what the recipe takes, such as ``days``, ``item_ids``, ``by``; see ``recsys.serving.recipes``.

        Returns:
            As ``recommend``.

        Raises:
            FilterError: the filter does not fit the catalogue.
            KeyError: a field does not exist.
            RequestError: there is no such list, it does not take an option, or the data do not have it.
        """
        made = named(recipe, **options)
        wanted = ListRequest(
            k=_positive(k), filter=filter, explain=explain, fields=_listed(fields), now=int(time.time())
        )
        histories: Mapping[Any, Sequence[str]] = {None: []} if users is None else self._histories(users)
        answers = {name: self._recommender.listed(made, history, wanted) for name, history in histories.items()}
        return self._frame(answers, wanted)

    def similar(
        self,
        items: str | Iterable[str],
        *,
        k: int = 10,
        filter: Condition | None = None,
        by: By | None = None,
        fields: Sequence[str] = (TITLE,),
    ) -> pl.DataFrame:
        """Rank items by how like an item they are, or each of some: by the cosine of their vectors, or ``by``.

        ``by`` is ``text``, ``behaviour`` or ``both``, see ``recsys.serving.recipes.likeness``.

        >>> import recsys
        >>> recsys.load().similar("i000", k=2).columns
        ['similar_to', 'rank', 'item_id', 'score', 'title']

        Raises:
            FilterError: the filter does not fit the catalogue.
            KeyError: a field does not exist.
            RequestError: the catalogue does not hold an item, or k is not positive.
        """
        asked = as_ids(items)
        unknown = [item_id for item_id in asked if not self._recommender.known_item(item_id)]
        if unknown:
            raise RequestError(f"The catalogue of generation {self.generation} has no item {unknown[0]!r}.")
        fields = _listed(fields)
        found = {
            item_id: self._recommender.similar(item_id, k=_positive(k), filter=filter, by=by, fields=fields).items
            for item_id in asked
        }
        return ranked("similar_to", found, self.items, fields)

    def search(
        self,
        queries: str | Iterable[str],
        *,
        k: int = 10,
        filter: Condition | None = None,
        mode: Mode = BOTH,
        fields: Sequence[str] = (TITLE,),
    ) -> pl.DataFrame:
        """Find items by free text, by meaning and by words, or by ``meaning`` or ``words`` alone.

        >>> import recsys
        >>> found = recsys.load().search("a sheriff in the desert", k=2)
        >>> found.columns
        ['query', 'rank', 'item_id', 'score', 'title', 'found_by']

        Raises:
            ArtifactError: the adapter or its base is missing or another.
            FilterError: the filter does not fit the catalogue.
            KeyError: a field does not exist.
            RequestError: k is not positive, or there is no such mode.
            UnreadableError: by words alone, and their index cannot be read.
        """
        fields = _listed(fields)
        if mode not in typing.get_args(Mode):
            raise RequestError(f"mode is {mode!r}; it must be one of {', '.join(typing.get_args(Mode))}.")
        found = {
            query: self._search.search(query, k=_positive(k), filter=filter, mode=mode, fields=fields).items
            for query in as_ids(queries)
        }
        found_by = [list(hit.found_by) for hits in found.values() for hit in hits]
        return ranked("query", found, self.items, fields, found_by=pl.Series(found_by, dtype=pl.List(pl.String)))

    def embed(self, texts: Table) -> pl.DataFrame:
        """Return texts, or items, as unit vectors by this generation's adapter; see ``recsys.embed``.

        >>> import recsys
        >>> recsys.load().embed(["a western", "a comedy"]).columns
        ['id', 'text', 'vector']

        Raises:
            ArtifactError: the adapter or its base is missing or another.
            SourceError: the texts are no texts.
        """
        encoder = self._search.encoder
        with reporting(self._progress) as report:
            return embed_with(encoder.vectors, texts, self._texts, report)

    def _frame(self, answers: Mapping[Any, Answer], wanted: ListRequest) -> pl.DataFrame:
        """Return the lists of users in one frame."""
        lists = {name: answer.items for name, answer in answers.items()}
        fallback = [answer.fallback for answer in answers.values() for _ in answer.items]
        columns = {"fallback": pl.Series(fallback, dtype=pl.String)}
        if wanted.explain:
            reasons = [list(item.reasons) for items in lists.values() for item in items]
            columns["reasons"] = pl.Series(reasons, dtype=pl.List(pl.String))
        return ranked(USER_ID, lists, self.items, wanted.fields, **columns)

    @cached_property
    def _search(self) -> TextSearch:
        with reporting(self._progress) as report, step(report, "Open the encoder"):
            encoder = Encoder.open(self._home, self.generation, self._system)
            return TextSearch(self._recommender, encoder)

    @cached_property
    def _texts(self) -> TextConfig:
        return TextMaps.load(read_generation(self._home, self.generation)[0]).text

    def _histories(self, users: str | Iterable[str] | Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
        if isinstance(users, Mapping):
            return {str(name): [str(item_id) for item_id in item_ids] for name, item_ids in users.items()}
        database = Database.of(self._home)
        try:
            people, known, offered = Users(database), self._recommender.users, self._recommender.catalogue
            return {user_id: people.history(known, offered, user_id) for user_id in as_ids(users)}
        finally:
            database.close()

    def _attributes(self, users: str | Iterable[str] | Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
        if isinstance(users, Mapping) or self._recommender.users.audience is None:
            return {}
        database = Database.of(self._home)
        try:
            people = Users(database)
            return {user_id: people.attributes(self._recommender.users, user_id) for user_id in as_ids(users)}
        finally:
            database.close()


def _made_with(home: Home, name: str) -> str:
    adapter = meant(home, ADAPTER, name)
    made = newest_with(home, adapter)
    if made is None:
        task = read_card(home, adapter).task  # or there is no such adapter, which it says
        raise ArtifactError(f"No generation was made with adapter {adapter} (task {task}), so it cannot answer.")
    return made


def _positive(k: int) -> int:
    if k < 1:
        raise RequestError(f"k must be at least 1, not {k}.")
    return k


def _listed(fields: Sequence[str]) -> tuple[str, ...]:
    return (fields,) if isinstance(fields, str) else tuple(fields)
