"""Training further: an adapter and the towers behind it go on from where they stood, with newer events and items.

What a training leaves for that lies in the adapter's folder, beside the LoRA weights: the towers as they were measured,
which have learnt from the training part alone, so that later events can still judge them and what comes of them. The
whitening stays as it was, so vectors of both can be compared.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError
from recsys.callbacks import StageProgress, stage
from recsys.config import COLD_ITEMS, ModelConfig, Protocol, from_stored
from recsys.data.mapped_sequences import mapped_sequences
from recsys.data.sequences import SIGNALS, Scorer, Sequences, Weighing
from recsys.data.signals import signals_of
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.errors import DataError
from recsys.evaluation.held_out import make_split
from recsys.evaluation.splits import Split, Targets, sample
from recsys.experts.again import fit_again
from recsys.experts.content import Content
from recsys.experts.lexical import Lexicon, fit_lexical
from recsys.experts.popularity import Popularity
from recsys.experts.sparse import ItemMatrixScorer
from recsys.home import Home
from recsys.models.adapter import adapter_rounds, train_adapter
from recsys.models.checkpoints import Checkpoints, checkpoint_of, vectors_of
from recsys.models.encoder.backbone import Backbone, continue_lora, load_backbone, save_lora
from recsys.models.encoder.export import encode_texts
from recsys.models.encoder.tokens import tokenize
from recsys.models.towers.batches import newer_windows
from recsys.models.towers.epochs import TowerRun
from recsys.models.towers.resuming import carried_over, continue_towers, with_replay
from recsys.models.towers.tower import TwoTower
from recsys.ranking.blend import fit_blend
from recsys.ranking.system import AGAIN, CONTENT, IDS, LEXICAL, POPULARITY, TOWERS, Chosen, System
from recsys.ranking.text_maps import TextMaps
from recsys.store.adapters import read_card, verify_adapter
from recsys.store.manifests import GOING_ON, GOING_ON_SETTINGS
from recsys.training.encoding import TextEncoding
from recsys.training.fit_experts import fit_expert, refit_again, refit_experts
from recsys.training.fit_system import FIXED_POWER, Trained
from recsys.training.validation import tower_validation


@dataclass(frozen=True)
class Parent:
    """An earlier training, as a later one goes on from it.

    Attributes:
        adapter_id: the stored adapter.
        folder: its PEFT folder.
        base_digest: of the base that it was trained on.
        config: its settings.
        protocol: how it was measured, and what its towers may have learnt from.
        snapshot: what it was trained on.
        maps: how items became texts, and texts features.
        towers: by name, as they were measured.
        chosen: what validation chose for the experts: decays by name, ridge.
    """

    adapter_id: str
    folder: Path
    base_digest: str | None
    config: ModelConfig
    protocol: Protocol
    snapshot: Snapshot
    maps: TextMaps
    towers: dict[str, TwoTower]
    chosen: Chosen

    @classmethod
    def open(cls, home: Home, adapter_id: str) -> "Parent":
        """Open a stored adapter with all that goes with it, every file checked.

        Raises:
            ArtifactError: the adapter or its snapshot is missing or changed, or it is not for recommendation.
            BaseModelError: the installed base is another.
        """
        card = read_card(home, adapter_id)
        folder = verify_adapter(home, adapter_id)
        if not (folder / GOING_ON / GOING_ON_SETTINGS).is_file():
            raise ArtifactError(
                f"Adapter {adapter_id} (task {card.task}) has no towers to go on from. "
                "Name one that `recsys train` made; `recsys adapters` lists them."
            )
        load_backbone(card.base, expected=card.base_digest)
        if card.protocol is None or card.snapshot is None:
            raise ArtifactError(
                f"The card of adapter {adapter_id} does not say on what and how it was trained. Train a new adapter."
            )
        settings = json.loads((folder / GOING_ON / GOING_ON_SETTINGS).read_text())
        return cls(
            adapter_id=adapter_id,
            folder=folder,
            base_digest=card.base_digest,
            config=from_stored(ModelConfig, card.settings),
            protocol=card.protocol,
            snapshot=open_snapshot(home, card.snapshot),
            maps=TextMaps.load(folder / GOING_ON),
            towers={name: TwoTower.load(folder / GOING_ON, name) for name in settings["towers"]},
            chosen=settings["experts"],
        )

    @property
    def weighing(self) -> Weighing:
        """By how much events counted."""
        return self.chosen.get("weighing", SIGNALS)

    def settings(self, given: ModelConfig) -> ModelConfig:
        """Return the parent's settings, with what may change from one training to the next as given."""
        evaluation = replace(self.config.evaluation, protocols=(self.protocol,))
        return replace(self.config, resume=given.resume, evaluation=evaluation, seed=given.seed)

    def encode(
        self,
        texts: list[str],
        config: ModelConfig,
        progress: StageProgress | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> TextEncoding:
        """Encode a newer catalogue with the base alone, whitened as the parent's was."""
        backbone = load_backbone(config.adapter.lora.base, expected=self.base_digest)
        report = stage(progress, "Encode texts")
        vectors = encode_texts(backbone, texts, config.text.max_tokens, report, vectors_of(checkpoints))
        return TextEncoding(vectors, self.maps.content.apply(vectors), self.maps.content)

    def rows(self, snapshot: Snapshot) -> NDArray[np.int64]:
        """Return each item's row in the parent's catalogue, -1 where it is new, (catalogue,)."""
        places = {item_id: place for place, item_id in enumerate(self.snapshot.item_ids())}
        return np.array([places.get(item_id, -1) for item_id in snapshot.item_ids()], dtype=np.int64)

    def learnt(self, snapshot: Snapshot, split: Split) -> NDArray[np.int64]:
        """Return how many events of each training row the parent has learnt from, (users,).

        Raises:
            DataError: the parent has learnt from events that the split holds out, or that the snapshot has not, or
                from all that it has; or it holds items out, which an older training may have used.
        """
        if self.protocol == COLD_ITEMS:
            raise DataError("A training that held items out cannot be gone on from: other items are held out now.")
        sequences = mapped_sequences(self.snapshot, signals=signals_of(self.config))
        older = make_split(sequences, len(self.snapshot.item_ids()), self.protocol, self.config).train
        places = {user_id: place for place, user_id in enumerate(self.snapshot.user_ids())}
        rows = np.array([places.get(user_id, -1) for user_id in snapshot.user_ids()], dtype=np.int64)
        learnt = np.where(rows >= 0, older.lengths[np.maximum(rows, 0)], 0)
        beyond = learnt > split.train.lengths
        if beyond.any():
            raise DataError(
                f"Adapter {self.adapter_id} has learnt from events of {beyond.sum():,} users that snapshot "
                f"{snapshot.id} holds out or lacks. Ingest older and newer events together, and more newer ones."
            )
        if not (split.train.lengths > np.maximum(learnt, 1)).any():
            raise DataError(f"Snapshot {snapshot.id} has no events that adapter {self.adapter_id} has not learnt from.")
        return learnt


def save_training(folder: Path, trained: Trained, maps: TextMaps) -> None:
    """Write LoRA weights, and beside them what a later training goes on from, into an adapter's empty folder."""
    save_lora(trained.backbone, folder)
    system, state = trained.system, folder / GOING_ON
    for name, towers in system.learnt.items():
        towers.save(state, name)
    maps.save(state)
    decays = {name: expert.decay for name, expert in system.experts.items()} | {CONTENT: system.content.decay}
    experts: dict[str, Any] = {"decays": decays, "ridge": system.chosen.get("ridge")}
    scorers: dict[str, ItemMatrixScorer | Content] = {**system.experts, CONTENT: system.content}
    aversions = {name: scorer.aversion for name, scorer in scorers.items() if scorer.aversion != 1.0}
    experts |= {"aversions": aversions} if aversions else {}
    experts |= {} if system.weighing == SIGNALS else {"weighing": system.weighing}
    settings = {"towers": sorted(system.learnt), "experts": experts}
    (state / GOING_ON_SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def adapt_on(
    split: Split,
    texts: list[str],
    frozen: TextEncoding,
    parent: Parent,
    rows: NDArray[np.int64],
    learnt: NDArray[np.int64],
    config: ModelConfig,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Go on from a parent on one split's training part: adapter and towers on what is new, experts anew on everything.

    Settings that validation chose for the experts stay; the weights of the blend are searched again.

    Args:
        split: of the newer snapshot, by the parent's protocol.
        texts: the newer catalogue's, read as the parent's.
        frozen: ``Parent.encode`` of these.
        parent: see there.
        rows: ``Parent.rows``.
        learnt: ``Parent.learnt``.
        config: ``Parent.settings``.
        progress: called with stage, done, total.
        checkpoints: where adapter and towers stand; a killed training goes on from there.
    """
    encoding, backbone, records = _adapted(split, texts, frozen, parent, rows, learnt, config, progress, checkpoints)
    validation = sample(split.validation, config.evaluation.max_validation_users, config.seed)
    judge = tower_validation(validation, config)
    runs: dict[str, TowerRun] = {}
    for name, towers in parent.towers.items():
        features = encoding.features if name == TOWERS else None
        runs[name] = continue_towers(
            carried_over(towers, rows, features, config.seed), features, split.train, learnt, config.tower,
            config.resume, config.seed, judge, progress=stage(progress, f"Train {name} further"),
            checkpoint=checkpoint_of(checkpoints, name),
        )  # fmt: skip
    system = _composed(
        split, texts, {name: run.towers for name, run in runs.items()}, frozen, parent, validation, config
    )
    chosen = system.chosen | {"epochs": runs[TOWERS].epochs, "tower_history": runs[TOWERS].history}
    if IDS in runs:
        chosen |= {"id_epochs": runs[IDS].epochs, "id_tower_history": runs[IDS].history}
    return Trained(encoding, backbone, records, replace(system, chosen=chosen))


def continue_system(
    system: System,
    sequences: Sequences,
    learnt: NDArray[np.int64],
    features: NDArray[np.float32],
    config: ModelConfig,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
) -> System:
    """Let a system that ``adapt_on`` gave learn from held-out events as well; a new one has ``refit_system`` for that.

    Args:
        system: as measured.
        sequences: all events.
        learnt: (rows,) how many of each row the system has learnt from.
        features: (catalogue, width) whitened text vectors.
        config: all settings.
        progress: called with stage, done, total.
        checkpoints: where the towers stand; a killed training goes on from there.
    """
    chosen = system.chosen
    towers = {}
    for name, start in system.learnt.items():
        towers[name] = continue_towers(
            start, features if name == TOWERS else None, sequences, learnt, config.tower, config.resume, config.seed,
            epochs=chosen["epochs"] if name == TOWERS else chosen["id_epochs"],
            progress=stage(progress, f"Train {name} on all events"), checkpoint=checkpoint_of(checkpoints, name),
        ).towers  # fmt: skip
    experts = refit_experts(system, sequences, len(features), config.experts)
    popularity = Popularity.fit(sequences, len(features), config.experts.popularity_half_life_days)
    again = refit_again(system, sequences, len(features))
    return replace(
        system, towers=towers[TOWERS], ids=towers.get(IDS), experts=experts, popularity=popularity, again=again
    )


def _adapted(
    split: Split,
    texts: list[str],
    frozen: TextEncoding,
    parent: Parent,
    rows: NDArray[np.int64],
    learnt: NDArray[np.int64],
    config: ModelConfig,
    progress: StageProgress | None,
    checkpoints: Checkpoints | None,
) -> tuple[TextEncoding, Backbone, list[dict[str, float]]]:
    """Train the parent's LoRA weights further through its own towers, and encode the catalogue."""
    backbone = continue_lora(parent.folder, config.adapter.lora.base, expected=parent.base_digest)
    tokens = tokenize(backbone, texts, config.text.max_tokens)
    report, keep = stage(progress, "Encode texts"), vectors_of(checkpoints)
    vectors = encode_texts(backbone, texts, config.text.max_tokens, report, keep)
    whitening = parent.maps.towers
    joined = np.concatenate([frozen.vectors, vectors], axis=1)
    if config.adapter.rounds == 0:  # the parent took it as it is
        return TextEncoding(joined, whitening.apply(joined), whitening), backbone, []
    warm = carried_over(parent.towers[TOWERS], rows, whitening.apply(joined), config.seed)
    learnable = split.train.taught()
    newer, older = newer_windows(learnable, split.train.taught_before(learnt), warm.shape.max_history)
    rounds = config.adapter.rounds if config.adapter.rounds is not None else adapter_rounds(tokens)
    settings = replace(
        config.adapter,
        rounds=max(1, round(config.resume.rounds * rounds)),
        learning_rate=config.resume.rate * config.adapter.learning_rate,
    )
    records = train_adapter(
        backbone,
        tokens,
        with_replay(newer, older, config.resume.replay, np.random.default_rng(config.seed)),
        settings,
        config.tower,
        config.seed,
        warm,
        vectors,
        stage(progress, "Fine-tune BERT further"),
        checkpoint_of(checkpoints, "adapter"),
        fixed=frozen.vectors,
        whitening=whitening,
    )
    adapted = encode_texts(backbone, texts, config.text.max_tokens, report, keep)
    joined = np.concatenate([frozen.vectors, adapted], axis=1)
    return TextEncoding(joined, whitening.apply(joined), whitening), backbone, records


def _composed(
    split: Split,
    texts: list[str],
    towers: dict[str, TwoTower],
    frozen: TextEncoding,
    parent: Parent,
    validation: Targets,
    config: ModelConfig,
) -> System:
    """Fit the experts with the parent's choices and search the weights of the blend again."""
    decays, ridge = parent.chosen["decays"], parent.chosen["ridge"]
    aversions = parent.chosen.get("aversions", {})
    experts = {
        name: fit_expert(name, split.train, split.catalogue, config.experts, decay, ridge, aversions.get(name, 1.0))
        for name, decay in decays.items()
        if name not in (CONTENT, LEXICAL)
    }
    lexicon = Lexicon.fit(texts) if LEXICAL in decays and len(texts) <= config.experts.max_lexical_items else None
    if lexicon is not None:
        experts[LEXICAL] = fit_lexical(lexicon, decays[LEXICAL])
        experts[LEXICAL].aversion = aversions.get(LEXICAL, 1.0)
    content = Content(frozen.features, decays[CONTENT], aversions.get(CONTENT, 1.0))
    popularity = Popularity.fit(split.train, split.catalogue, config.experts.popularity_half_life_days)
    components: dict[str, Scorer] = {**towers, CONTENT: content, POPULARITY: popularity, **experts}
    again = fit_again(split.train, split.catalogue) if split.repeats else None
    components |= {} if again is None else {AGAIN: again}
    judged = sample(validation, config.resume.blend_targets, config.seed)
    text = frozenset({TOWERS, CONTENT})
    blend, figure = fit_blend(components, FIXED_POWER, judged.histories, judged.items, text, judged.repeats)
    kept = towers.get(IDS) if IDS in blend.weights else None
    chosen = parent.chosen | {"validation_ndcg@10": figure}
    return System(towers[TOWERS], kept, experts, content, lexicon, popularity, blend, chosen, again, split.repeats)
