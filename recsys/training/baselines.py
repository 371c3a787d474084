"""Our system, its ablations and baselines fitted with the same care, ranking the test targets of one split.

All systems see the same training part, choose on the same validation sample, and are asked the same test targets. Where
several have to be trained, a cluster may share them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from recsys.callbacks import StageProgress, stage, told_here
from recsys.config import ExpertsConfig, ModelConfig
from recsys.data.sequences import Scorer, Sequences
from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import Advance, InProcess, Work, shards_done
from recsys.errors import SettingError
from recsys.evaluation.full_ranking import Ranking, evaluate
from recsys.evaluation.report import OURS
from recsys.evaluation.splits import Split, Targets, sample
from recsys.experts.ease import fit_ease
from recsys.experts.ials import ImplicitFactors, fit_ials
from recsys.experts.sparse import ItemMatrixScorer
from recsys.models.towers.training import train_towers
from recsys.ranking.blend import BlendScorer, fit_blend
from recsys.ranking.system import AGAIN, EASE, KNN, LEXICAL, POPULARITY, RULES, TOWERS, System
from recsys.training.encoding import TextEncoding
from recsys.training.fit_experts import DECAYS, RIDGES, fit_content
from recsys.training.fit_system import FIXED_POWER, Trained
from recsys.training.validation import tower_validation, validation_ndcg

BASELINES = (
    POPULARITY,
    RULES,
    KNN,
    EASE,
    "ease-undecayed",
    "ials",
    LEXICAL,
    AGAIN,
    "bert",
    "bert-whitened",
    "sasrec",
    "blend",
)
OUR_TOWERS, OUR_TEXT = f"{OURS}.{TOWERS}", f"{OURS}.text"
FROZEN_TOWERS, FROZEN_TEXT = f"{OURS}.frozen-towers", f"{OURS}.frozen-text"
OUR_CONTENT = f"{OURS}.content"
ABLATIONS = (OUR_TOWERS, OUR_TEXT, OUR_CONTENT, FROZEN_TOWERS, FROZEN_TEXT)
SYSTEMS = (OURS, *ABLATIONS, *BASELINES)
TRAINED = frozenset({OUR_TEXT, FROZEN_TOWERS, FROZEN_TEXT, "sasrec", "ials", "ease-undecayed"})  # ours set aside
SIGNED = frozenset({"ials", "bert", "sasrec"})  # baselines whose scores are of any sign
QUICK = (OURS, OUR_TOWERS, OUR_CONTENT, POPULARITY, RULES, KNN, EASE, LEXICAL, AGAIN, "bert", "bert-whitened", "blend")

IALS_GRID = ((2.0, 1.0), (2.0, 10.0), (10.0, 1.0), (10.0, 10.0), (40.0, 1.0), (40.0, 10.0))  # confidence, ridge


def rank_systems(
    split: Split,
    frozen: TextEncoding,
    trained: Trained,
    config: ModelConfig,
    systems: Sequence[str] = QUICK,
    progress: StageProgress | None = None,
) -> list[Ranking]:
    """Rank the split's test targets with each named system.

    Args:
        split: what was trained on, and the targets.
        frozen: text vectors of the base alone.
        trained: our system, as fitted on this split.
        config: all settings.
        systems: names from ``SYSTEMS``. ``blend`` is that of all simple components and of the baselines named here.
        progress: called with stage, done, total.

    Raises:
        SettingError: there is no system of that name.
        ClusterError: several are to be trained, and the cluster that is to do it cannot.
    """
    unknown = sorted(set(systems) - set(SYSTEMS))
    if unknown:
        raise SettingError(f"There is no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}.")
    validation = sample(split.validation, config.evaluation.max_validation_users, config.seed)
    rankings = []
    baselines: dict[str, Scorer] = {}
    single = [name for name in systems if name != "blend"]
    job = SystemsJob(split, frozen, trained.encoding, trained.system, validation, config, "blend" in systems, progress)
    many = len(TRAINED.intersection(single)) > 1
    with executor_at() if many else nullcontext(InProcess()) as executor:
        advance = shards_done(executor, stage(progress, "Train and rank systems"), len(single))
        for name, (ranking, scorer) in zip(single, executor.map(job, single, advance, trains=True), strict=True):
            rankings += [] if ranking is None else [ranking]
            if scorer is not None:
                baselines[name] = scorer
    if "blend" in systems:
        report = stage(progress, "Rank blend")
        blend = _blend(trained.system, baselines, validation)
        rankings.append(evaluate("blend", blend, split.test, seed=config.seed, progress=report))
    return rankings


@dataclass(frozen=True)
class SystemsJob:
    """The job whose shards are systems, by name; see ``recsys.distributed.executor.Job``.

    Attributes:
        split: what is trained on, and the targets.
        frozen: text vectors of the base alone.
        encoding: those of base and adapter.
        system: ours, as fitted on this split.
        validation: targets that settings are chosen by.
        config: all settings.
        blends: whether fitted baselines are given back, for a blend of them.
        progress: called with stage, done, total, where this process works.
    """

    split: Split
    frozen: TextEncoding
    encoding: TextEncoding
    system: System
    validation: Targets
    config: ModelConfig
    blends: bool
    progress: StageProgress | None

    __getstate__ = told_here

    def files(self) -> list[Path]:
        """See ``Job``: none."""
        return []

    @contextmanager
    def opened(self) -> Iterator[Work[str, tuple[Ranking | None, Scorer | None]]]:
        """See ``Job``."""
        yield self._ranked

    def _ranked(self, name: str, advance: Advance) -> tuple[Ranking | None, Scorer | None]:
        """Return what a system did, and the system itself where it is a baseline to be blended."""
        scorer = self._scorer(name)
        ranking = None
        if scorer is not None:
            report = stage(self.progress, f"Rank {name}")
            ranking = evaluate(name, scorer, self.split.test, seed=self.config.seed, progress=report)
        advance(1)
        return ranking, scorer if self.blends and name in BASELINES else None

    def _scorer(self, name: str) -> Scorer | None:
        """Return a fitted scorer, or None where the catalogue is too large for it, or nobody repeats enough."""
        system, split, config = self.system, self.split, self.config
        if name == OURS:
            return system
        if name == OUR_TOWERS:
            return system.towers
        if name == OUR_CONTENT:
            return fit_content(self.encoding.features, self.validation)
        if name == "sasrec" and system.ids is not None:
            return system.ids  # trained on this split with these settings
        if name in system.components:
            return system.components[name]
        if name in (EASE, LEXICAL, AGAIN):
            return None
        large = split.catalogue > config.experts.max_ease_items
        if name == "ease-undecayed":
            return None if large else fit_undecayed_ease(split.train, split.catalogue, config.experts, self.validation)
        if name == "ials":
            return fit_best_ials(split.train, split.catalogue, self.validation, config.seed)
        if name == "bert":
            return fit_content(self.frozen.vectors, self.validation)
        if name == "bert-whitened":
            return system.content
        features, residual = {
            "sasrec": (None, config.tower.residual_norm),
            OUR_TEXT: (self.encoding.features, 0.0),
            FROZEN_TEXT: (self.frozen.features, 0.0),
            FROZEN_TOWERS: (self.frozen.features, config.tower.residual_norm),
        }[name]
        return train_towers(
            features,
            split.train,
            split.catalogue,
            replace(config.tower, residual_norm=residual),
            config.seed,
            validate=tower_validation(self.validation, config),
            progress=stage(self.progress, f"Train {name}"),
        ).towers


def _blend(system: System, baselines: dict[str, Scorer], validation: Targets) -> Scorer:
    """Return the best that can be had without our towers: every simple component and every baseline of the run."""
    simple: dict[str, Scorer] = {
        name: scorer for name, scorer in system.components.items() if name not in system.learnt
    }
    simple |= {name: scorer for name, scorer in baselines.items() if name != "bert-whitened"}  # that is ``content``
    fixed = FIXED_POWER | SIGNED
    blend, _ = fit_blend(simple, fixed, validation.histories, validation.items, repeats=validation.repeats)
    return BlendScorer(blend, simple)


def fit_undecayed_ease(
    train: Sequences, catalogue: int, config: ExpertsConfig, validation: Targets
) -> ItemMatrixScorer:
    """Return EASE as published, every event of a history weighing the same, its ridge chosen by validation NDCG@10."""
    scorers = [fit_ease(train, catalogue, ridge, config.neighbours, decay=1.0) for ridge in RIDGES]
    return max(scorers, key=lambda scorer: validation_ndcg(scorer, validation))


def fit_best_ials(train: Sequences, catalogue: int, validation: Targets, seed: int) -> ImplicitFactors:
    """Return iALS with confidence, ridge and history decay chosen by validation NDCG@10."""
    fitted = (fit_ials(train, catalogue, *choice, decay=1.0, seed=seed) for choice in IALS_GRID)
    scorers = (factors.with_decay(decay) for factors in fitted for decay in DECAYS)
    return max(scorers, key=lambda scorer: validation_ndcg(scorer, validation))
