"""What lies in JSON beside a generation and an adapter: the one place that knows its fields and how it makes the id.

An older file, which lacks fields, and a newer one, which has others, can be read and keep their ids: see ``Record``.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from recsys.artifacts import ArtifactError, short_id
from recsys.config import ModelConfig, Protocol, TextConfig, from_stored
from recsys.record import Record

CARD = "card.json"
TABLE_FOLDER = ".lance"  # behind a table's name: LanceDB's folder of it
GOING_ON, GOING_ON_SETTINGS = "training", "training.json"  # of an adapter: its towers as they were measured
MADE = "made"  # when, as ``artifacts.now`` has it: no part of an id
# An adapter's tasks; of an imported one it is whatever it was trained for elsewhere, of a merged one what its parents'.
RECOMMENDATION, CLASSIFICATION, PRETRAINING = "recommendation", "classification", "pretraining"
SEARCH, IMPORTED, MERGED = "search", "imported", "merged"


@dataclass(frozen=True)
class IndexReference:
    """Where a generation's vectors are, and how they are searched.

    Attributes:
        table: its name.
        version: of the table.
        rows: items.
        dimensions: of each vector.
        digest: the hash of ids, vectors and texts.
        probes: parts of the index that a search reads, as measured; None: it was not.
    """

    table: str
    version: int
    rows: int
    dimensions: int
    digest: str
    probes: int | None = None


@dataclass(frozen=True, kw_only=True)
class GenerationManifest(Record):
    """What a generation is bound from.

    Attributes:
        id: the hash of everything else but the notes; empty before the generation is committed.
        snapshot: id of what it was trained on.
        snapshot_digest: the SHA-256 over what it reads of that; None: made before generations bound it.
        adapter: id of the adapter behind it.
        search_adapter: id of the adapter that its search reads meaning by; None: the base alone.
        index: where its vectors are.
        settings: the ``ModelConfig``, as it was written; ``config`` reads it.
        files: the SHA-256 of each file of its own, by its name.
        notes: what may differ between equal generations: flow run, timings.
    """

    id: str = ""
    snapshot: str
    snapshot_digest: str | None = None
    adapter: str
    search_adapter: str | None = None
    index: IndexReference
    settings: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def config(self) -> ModelConfig:
        """All settings.

        Raises:
            ArtifactError: they are none of this version.
        """
        try:
            return from_stored(ModelConfig, self.settings)
        except (ValueError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"The settings of generation {self.id} cannot be read: {error} Train and publish again."
            ) from None

    @property
    def flow_run(self) -> str | None:
        """The id of the run that made it, where one did."""
        return self.notes.get("flow_run")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values.

        A manifest from before snapshots were bound has no digest of one, most have no adapter of the search.
        """
        return {
            name: value
            for name, value in super().to_dict().items()
            if value is not None or name not in ("snapshot_digest", "search_adapter")
        }

    @property
    def content_id(self) -> str:
        """The id that its content makes; how LanceDB counts versions and divides what it indexes has no part in it."""
        bound = {name: value for name, value in self.to_dict().items() if name not in ("id", "files", "notes")}
        bound["index"] = {name: value for name, value in bound["index"].items() if name not in ("version", "probes")}
        return short_id(self.files, bound)

    def sealed(self, files: dict[str, str]) -> Self:
        """Return the manifest of some files, with its id."""
        filled = replace(self, files=files)
        return replace(filled, id=filled.content_id)


@dataclass(frozen=True)
class TextFile:
    """A file that a classifier has learnt from or was judged by: its SHA-256, and how many texts it holds."""

    sha256: str
    texts: int


@dataclass(frozen=True, kw_only=True)
class AdapterCard(Record):
    """What an adapter was made from, and how well it does.

    Attributes:
        id: the hash of everything else; empty before the adapter is stored.
        task: what it is for; one of the names above.
        base: the base model's name.
        base_digest: the hash of the base that was trained on; None: not known.
        pooling: how the vectors of a text's tokens become one; None: by their mean.
        snapshot: id of what it was trained on; None: of texts from elsewhere.
        protocol: how it was measured, where held-out events did it.
        settings: the configuration of its task, as it was written.
        training: how the training went.
        metrics: by system, by part of the texts, or by what they measure, as the task has it.
        parent: id of the adapter that it went on from or began with.
        labels: of a classifier.
        data: of a classifier: its files by what they were for.
        files: the SHA-256 of each of its files, by its name.
        made: when it was stored; no part of what it is, so ``to_dict`` leaves it out; None: not written.
    """

    id: str = ""
    task: str = RECOMMENDATION
    base: str
    base_digest: str | None = None
    pooling: str | None = None
    snapshot: str | None = None
    protocol: Protocol | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    labels: list[str] | None = None
    data: dict[str, TextFile] | None = None
    files: dict[str, str] = field(default_factory=dict)
    made: str | None = None

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text it was trained to read: the settings of a recommender nest it, others do not."""
        found = self.settings.get("text", self.settings).get("max_tokens")
        return TextConfig().max_tokens if found is None else int(found)

    @property
    def content_id(self) -> str:
        """The id that its content makes; another than ``id`` where somebody has changed it."""
        about = {name: value for name, value in self.to_dict().items() if name not in ("id", "files")}
        return short_id(self.files, about)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but when it was made as JSON values; only classifiers have labels, few bases a pooling."""
        return {
            name: value
            for name, value in super().to_dict().items()
            if name != MADE and (value is not None or name not in ("labels", "data", "pooling"))
        }

    def sealed(self, files: dict[str, str]) -> Self:
        """Return the card of some files, with its id."""
        filled = replace(self, files=files)
        return replace(filled, id=filled.content_id)
