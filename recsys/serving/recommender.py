"""Answers from one generation: lists for users, given items in order, items like an item. Knows no web."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError, Hold
from recsys.data.columns import TITLE
from recsys.data.manifest import LiveMark
from recsys.data.sequences import Sequences
from recsys.data.signals import Signals, signals_of
from recsys.data.text import item_texts
from recsys.database.live_items import LiveItem
from recsys.home import Home
from recsys.ranking.candidates import CandidateSource, VectorSource, recall
from recsys.ranking.exploration import EVENTS
from recsys.ranking.scoring import PreparedHistory, Scoring
from recsys.ranking.search_vectors import load_search_vectors
from recsys.ranking.stages import RANKER, RULES, EndStage, unmeasured
from recsys.ranking.system import System
from recsys.selection.catalogue import Catalogue
from recsys.selection.dials import Boost, Dials, Objective
from recsys.selection.filters import Condition
from recsys.serving.adjustments import NOTHING, Adjustments
from recsys.serving.alike import LONGEST, Alike
from recsys.serving.answers import Answer, ListRequest, Recommendation
from recsys.serving.behaviour import Behaviour
from recsys.serving.history import History, KnownHistory
from recsys.serving.listing import CANDIDATES, Listing, Proposer, candidates_of
from recsys.serving.live_attributes import check_context
from recsys.serving.offer import Offer
from recsys.serving.recipes.likeness import By, Likeness
from recsys.serving.recipes.recipe import Asked, Recipe
from recsys.serving.settled import Settled
from recsys.serving.user_ranking import UserRanking
from recsys.serving.users import SnapshotUsers
from recsys.serving.words import SharedWords
from recsys.store.adapters import verify_adapter
from recsys.store.generations import current_id, generation_snapshot, read_generation
from recsys.store.manifests import GenerationManifest

NOTHING_KNOWN: Mapping[str, Any] = {}
NO_ROWS: Mapping[int, int] = {}
CHECKED_ITEMS = 16_384  # whose vectors are compared at once when a generation is opened


@dataclass(frozen=True, eq=False)
class Recommender:
    """Answers from one generation. Safe to share between threads: it never changes, but for what it caches.

    Attributes:
        manifest: the generation's.
        catalogue: its items; with live items, those as well.
        scoring: its components, their blend, and the index of their vectors.
        users: what its snapshot knows of users.
        words: what texts have in common, for explanations.
        behaviour: what its snapshot's users did, counted.
        search_vectors: (items, width) by the adapter of the search, or None where there is none.
        items_version: of the live items that this holds; 0: none.
        items_shown: the change of live items up to which it holds all of them: the texts of later ones are not encoded
            yet.
        settled: which changes of items the generation's own catalogue has overtaken.
        hold: keeps the generation, and what it stands on, from being pruned while this is in use.
    """

    manifest: GenerationManifest
    catalogue: Catalogue
    scoring: Scoring
    users: SnapshotUsers
    words: SharedWords
    behaviour: Behaviour
    settled: Settled
    search_vectors: NDArray[np.float32] | None = None
    items_version: int = 0
    items_shown: int = 0
    hold: Hold | None = None

    @classmethod
    def of(
        cls,
        manifest: GenerationManifest,
        system: System,
        source: CandidateSource,
        items: pl.DataFrame,
        users: SnapshotUsers,
        search_vectors: NDArray[np.float32] | None = None,
        live: LiveMark | None = None,
    ) -> "Recommender":
        """Return a recommender of a system over its index.

        Args:
            manifest: of the generation.
            system: components and blend.
            source: the index of their vectors.
            items: the catalogue, a row an item, in the order of the vectors.
            users: of the snapshot.
            search_vectors: see there.
            live: what the snapshot holds of what was collected while the service ran.
        """
        text = manifest.config.text
        words = SharedWords(lambda: item_texts(items, text))
        behaviour = Behaviour(users, len(items), signals_of(manifest.config))
        whole = Catalogue(items), Scoring(system, source), users, words, behaviour, Settled.of(items, live)
        return cls(manifest, *whole, search_vectors)

    @classmethod
    def open(cls, home: Home, generation_id: str | None = None) -> "Recommender":
        """Load a generation, the current one by default, and check every file and vector that it binds.

        Raises:
            ArtifactError: nothing is published, or something is missing or changed.
        """
        generation_id = current_id(home) if generation_id is None else generation_id
        if generation_id is None:
            raise ArtifactError(f"Nothing is published below {home.root}. Run `recsys train` and `recsys publish`.")
        hold = Hold(read_generation(home, generation_id)[0])  # first, so that nothing goes while it is verified
        folder, manifest = read_generation(home, generation_id, verify=True)
        verify_adapter(home, manifest.adapter)
        snapshot = generation_snapshot(home, manifest)
        source = VectorSource(home.lance, manifest.index)
        system = System.load(folder)
        _check_index(system, source, generation_id)
        search_vectors = None
        if manifest.search_adapter is not None:
            verify_adapter(home, manifest.search_adapter)
            search_vectors = load_search_vectors(folder)
        users = SnapshotUsers.of(snapshot, signals_of(manifest.config))
        items, live = snapshot.items(), snapshot.manifest.live
        opened = cls.of(manifest, system, source, items, users, search_vectors, live)
        return replace(opened, hold=hold)

    @cached_property
    def signals(self) -> Signals | None:
        """What events mean, by the settings that it was trained with; None: all count the same."""
        return signals_of(self.manifest.config)

    @property
    def generation_id(self) -> str:
        """Id of the generation."""
        return self.manifest.id

    @property
    def adapter_id(self) -> str:
        """Id of its adapter."""
        return self.manifest.adapter

    @property
    def snapshot_id(self) -> str:
        """Id of its snapshot."""
        return self.manifest.snapshot

    @property
    def field_names(self) -> list[str]:
        """Columns of the catalogue."""
        return self.catalogue.fields

    def prepare(self) -> None:
        """Count what is popular among whom now, so that no answer waits for it."""
        if self.users.audience is not None:
            self.users.audience.prepare()

    def situation(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the context of a request or an event without what is not known.

        Raises:
            FieldError: the snapshot does not declare one of its names, or for another type.
        """
        audience = self.users.audience
        check_context(context, {} if audience is None else audience.context_schema)
        return {name: value for name, value in context.items() if value is not None}

    def known_item(self, item_id: str) -> bool:
        """Tell whether there is an item: the catalogue holds it, and it was not deleted."""
        return self.catalogue.exists(item_id)

    def standing(self, live: LiveItem | None) -> LiveItem | None:
        """Return a change of an item if it counts, None where the generation's own catalogue has overtaken it."""
        if live is None or self.settled.overtakes(self.catalogue.find(live.item_id), live):
            return None
        return live

    def history(self, user_id: str) -> list[str]:
        """Return the item ids of a user's events in the snapshot, oldest first."""
        return self.users.history(user_id)

    def past(self, user_id: str) -> History:
        """Return a user's events in the snapshot, oldest first, with all that is known of them."""
        return self.users.past(user_id)

    def cold_share(self, item_ids: Sequence[str]) -> float:
        """Return the share of some items that have no training event; 0 for none."""
        rows, _ = self.catalogue.split(item_ids)
        return float(np.mean(self.scoring.system.popularity.counts[rows] == 0)) if rows else 0.0

    def little_known(self, item_ids: Sequence[str]) -> list[str]:
        """Return those of some items whose training events are so few that they are new."""
        rows, _ = self.catalogue.split(item_ids)
        counts = self.scoring.system.popularity.counts
        return [self.catalogue.ids[row] for row in rows if counts[row] < EVENTS]

    def index_recall(self, histories: Sequence[Sequence[str]], count: int) -> float:
        """Return the share of the ``count`` best items by vectors that the index finds, over histories that it knows.

        1 where vectors are compared exactly.
        """
        known = [taught for history in histories if len((taught := self.known(history)[0].taught).items)]
        if not known or self.scoring.source.kind == "exact":
            return 1.0
        return recall(self.scoring.source, self.scoring.queries(Sequences.joined(known)), count)

    def recommend(
        self, history: Sequence[str], attributes: Mapping[str, Any] = NOTHING_KNOWN, **request: Any
    ) -> Answer:
        """Rank items for a history of item ids, oldest first; keywords are those of ``ListRequest``.

        ``attributes`` are what is known of the user beside.

        Raises:
            FilterError: the filter does not fit the catalogue.
            LimitError: a limit does not.
            FieldError: the context is not what the snapshot declares.
            ObjectiveError: the objective does not.
            KeyError: a field does not exist.
        """
        return self.recommend_many([history], ListRequest(**request), attributes=[attributes])[0]

    def recommend_many(
        self,
        histories: Sequence[Sequence[str]],
        request: ListRequest,
        end_stage: EndStage = unmeasured,
        attributes: Sequence[Mapping[str, Any]] = (),
    ) -> list[Answer]:
        """Rank items for many users with the same request: the answers that ``recommend`` gives each of them.

        Args:
            histories: what each did, item ids, oldest first; unknown ids are left out and reported.
            request: what the lists shall be like.
            end_stage: is told when a stage ends, see ``recsys.ranking.stages``.
            attributes: what is known of each beside, by name; empty: nothing of anybody.

        Raises:
            FilterError, LimitError, ObjectiveError, KeyError: as ``recommend``.
        """
        offer = Offer.of(self.catalogue, request)
        adjusted = Adjustments.of(self.catalogue, self.scoring.system.popularity.counts, request, offer.allowed)
        split = [self.known(history) for history in histories]
        end_stage(RULES)
        count = candidates_of(request)
        taught = [known.taught for known, _ in split]
        prepared = self._prepared(taught, end_stage, count, offer.allowed, request.now)
        answers = []
        context = self.situation(request.context)
        described = attributes or [NOTHING_KNOWN] * len(split)
        for (known, missing), one, of_user in zip(split, prepared, described, strict=True):
            ranking = self._ranking(known, one, count, end_stage, request.now, of_user, context, adjusted)
            reserved = ranking.reserved(offer.allowed, offer.promoted, request.k)
            answer = self._listed(ranking, request, offer, known, missing, end_stage, reserved)
            answers.append(replace(answer, **ranking.remarks))
        return answers

    def listed(
        self,
        recipe: Recipe,
        history: Sequence[str],
        request: ListRequest,
        end_stage: EndStage = unmeasured,
        attributes: Mapping[str, Any] = NOTHING_KNOWN,
    ) -> Answer:
        """Return a list by a recipe.

        Args:
            recipe: which, see ``recsys.serving.recipes``.
            history: what its user did, item ids, oldest first; none of nobody.
            request: what the list shall be like.
            end_stage: is told when a stage ends, see ``recsys.ranking.stages``.
            attributes: what is known of the user beside, by name.

        Raises:
            FilterError, LimitError, FieldError, KeyError: as ``recommend``.
            RequestError: this generation has no such list.
        """
        context = self.situation(request.context)
        offer = Offer.of(self.catalogue, request)
        named, unknown = self.catalogue.existing(recipe.item_ids)
        offer.allowed[named] = False
        known, missing = self.known(history)
        end_stage(RULES)
        asked = Asked(known, offer.allowed, request.now, end_stage, attributes, context)
        proposer = recipe.proposer(self, asked)
        seen = None if recipe.lists_seen else known
        answer = self._listed(proposer, request, offer, seen, [*missing, *unknown], end_stage)
        return replace(answer, **({"unused_context": context} | proposer.remarks))

    def ranking(self, asked: Asked) -> UserRanking:
        """Return a user's own ranking of what is allowed."""
        taught, stages = [asked.history.taught], asked.end_stage
        (prepared,) = self._prepared(taught, stages, CANDIDATES, asked.allowed, asked.now)
        whose = asked.attributes, asked.context
        return self._ranking(asked.history, prepared, CANDIDATES, stages, asked.now, *whose)

    def rank(
        self,
        history: Sequence[str],
        item_ids: Sequence[str],
        *,
        boosts: Sequence[Boost] = (),
        objective: Objective | None = None,
        explain: bool = False,
        fields: Sequence[str] = (TITLE,),
        end_stage: EndStage = unmeasured,
        now: int | None = None,
        attributes: Mapping[str, Any] = NOTHING_KNOWN,
        context: Mapping[str, Any] = NOTHING_KNOWN,
    ) -> Answer:
        """Order given items for a history, by the scores that ``recommend`` gives; ties go to the catalogue's order.

        Every item that the catalogue holds is in the answer once, also when it was seen or is not available. ``now`` is
        as in ``ListRequest``.

        Raises:
            FilterError: the filter of a boost does not fit the catalogue.
            ObjectiveError: the objective does not.
            KeyError: a field does not exist.
        """
        adjusted = Adjustments(Dials.of(self.catalogue, boosts, objective))
        known, missing = self.known(history)
        wanted, unknown = self.catalogue.existing(item_ids)
        (prepared,) = self._prepared([known.taught], end_stage, now=now)
        whose = attributes, self.situation(context)
        ranking = self._ranking(known, prepared, 0, end_stage, now, *whose, adjusted)
        rows = np.unique(np.array(wanted, dtype=np.int64))
        scores = ranking.scores(rows)
        order = np.lexsort((rows, -scores))
        end_stage(RANKER)
        listing = self._listing(ranking, ListRequest(explain=explain, fields=fields), end_stage)
        answer = self._answer(listing.shown(rows[order], scores[order]), ranking.fallback, [*missing, *unknown])
        return replace(answer, **ranking.remarks)

    def similar(
        self,
        item_id: str,
        *,
        k: int = 10,
        offset: int = 0,
        filter: Condition | None = None,
        fields: Sequence[str] = (TITLE,),
        by: By | None = None,
        end_stage: EndStage = unmeasured,
    ) -> Answer:
        """Rank items by how like an item they are; the first ``offset`` are left out.

        Args:
            item_id: the item.
            k: how many; fewer only where fewer are allowed.
            offset: how many before them are left out.
            filter: a structured condition on item columns.
            fields: item columns to return.
            by: text, behaviour or both, see ``recsys.serving.recipes.likeness``; None: the cosine between the vectors
                that the towers have learnt from both, for what is chosen next.
            end_stage: is told when a stage ends.

        Raises:
            KeyError: there is no such item, or field.
        """
        if not self.known_item(item_id):
            raise KeyError(item_id)
        row = self.catalogue.row(item_id)
        request = ListRequest(k=k, offset=offset, filter=filter, fields=fields)
        offer = Offer.of(self.catalogue, request)
        offer.allowed[row] = False
        end_stage(RULES)
        likeness = Likeness.of(self, row, by) if by is not None else Likeness.learnt(self, row)
        return self._listed(likeness.proposer(self.catalogue, end_stage), request, offer, None, [], end_stage)

    def known(self, history: Sequence[str]) -> tuple[KnownHistory, list[str]]:
        """Return what is known of a history, and the ids that the catalogue does not hold."""
        return KnownHistory.of(history, self.catalogue, self.signals, self.scoring.system.weighing)

    def _prepared(
        self,
        histories: Sequence[Sequences | Sequence[int]],
        end_stage: EndStage,
        count: int = 0,
        allowed: NDArray[np.bool_] | None = None,
        now: int | None = None,
    ) -> list[PreparedHistory | None]:
        """Prepare all histories together, for candidates where ``allowed`` says which; None for unknown users."""
        rows = [Sequences.single(history) for history in histories]
        usable = [one for one in rows if len(one.items)]
        joined = Sequences.joined(usable) if usable else None
        prepared = iter([] if joined is None else self.scoring.prepared(joined, count, allowed, end_stage, now))
        return [next(prepared) if len(one.items) else None for one in rows]

    def _ranking(
        self,
        history: KnownHistory | None,
        prepared: PreparedHistory | None,
        count: int,
        end_stage: EndStage,
        now: int | None = None,
        attributes: Mapping[str, Any] = NOTHING_KNOWN,
        context: Mapping[str, Any] = NOTHING_KNOWN,
        adjusted: Adjustments = NOTHING,
    ) -> UserRanking:
        events, alike = 0 if history is None else len(history.taught.items), None
        if self.users.audience is not None and (context or (attributes and events <= LONGEST)):
            counts = self.scoring.system.popularity.counts
            alike = Alike.of(self.users.audience.audience, attributes, context, counts, events)
        whose = self.catalogue, self.scoring, self.words, count, history, prepared
        return UserRanking(*whose, now, adjusted, end_stage, alike)

    def _listing(
        self, proposer: Proposer, request: ListRequest, end_stage: EndStage, history: KnownHistory | None = None
    ) -> Listing:
        system = self.scoring.system
        return Listing(self.catalogue, proposer, request, system.item_vectors, history, end_stage, system.repeats)

    def _listed(
        self,
        proposer: Proposer,
        request: ListRequest,
        offer: Offer,
        history: KnownHistory | None,
        missing: Sequence[str],
        end_stage: EndStage,
        reserved: Mapping[int, int] = NO_ROWS,
    ) -> Answer:
        """Return the list that is made of what a proposer proposes, around rows by slot that are reserved for them."""
        listing = self._listing(proposer, request, end_stage, history)
        chosen, fallback = listing.chosen(offer.allowed.copy(), {**offer.promoted, **reserved})
        scores = proposer.scores(chosen)
        end_stage(RANKER)
        items = listing.shown(chosen, scores, offer.promoted.values(), reserved.values())
        return self._answer(items, fallback, [*missing, *offer.unknown])

    def _answer(self, items: list[Recommendation], fallback: str | None, missing: list[str]) -> Answer:
        return Answer(items, self.generation_id, self.adapter_id, fallback, missing)


def _check_index(system: System, source: VectorSource, generation_id: str) -> None:
    """Compare the index with the system's own vectors: equal dimensions do not make it this system's.

    Raises:
        ArtifactError: it is another's.
    """
    found = source.vectors
    same = found.shape == (len(system.content.vectors), sum(system.dense_widths().values()))
    for start in range(0, len(found) if same else 0, CHECKED_ITEMS):
        rows = slice(start, start + CHECKED_ITEMS)
        made = np.concatenate(list(system.dense_vectors(rows).values()), axis=1)
        same = same and np.allclose(made, found[rows], rtol=1e-3, atol=1e-3)
    if not same:
        raise ArtifactError(
            f"The index of generation {generation_id} was not made by its adapter and towers: their vectors differ. "
            "Train and publish again, or roll back."
        )
