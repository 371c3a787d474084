"""A training's protocols, each with a whole training of its own: one after another, or side by side on a cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsys.callbacks import RunStage, StageProgress, call, told_here
from recsys.config import ModelConfig, Protocol
from recsys.data.snapshot import MANIFEST, Snapshot
from recsys.distributed.executor import Advance, Work
from recsys.evaluation.report import Section
from recsys.models.checkpoints import Checkpoints
from recsys.training.encoding import TextEncoding
from recsys.training.measuring import Measured, measure
from recsys.training.resuming import Parent

Part = tuple[Section, Measured | None]  # what a protocol gave; all of it where the generation comes from there


@dataclass(frozen=True)
class ProtocolsJob:
    """The job whose shards are protocols; see ``recsys.distributed.executor.Job``.

    Attributes:
        snapshot: what to train and to ask on.
        whole: the protocol whose system is wanted; of the others figures are, since much memory is behind a system.
        texts: of the catalogue.
        frozen: their vectors under the base.
        config: all settings.
        systems: which rank the test targets.
        checkpoints: each protocol's lie below it, and one that was killed goes on from there.
        parent: what is gone on from, which has one protocol.
        pretrained: the PEFT folder that adapters begin with.
        progress: called with stage, done, total, where this process works.
        run: what runs the stage, likewise.
    """

    snapshot: Snapshot
    whole: Protocol
    texts: list[str]
    frozen: TextEncoding
    config: ModelConfig
    systems: Sequence[str]
    checkpoints: Checkpoints
    parent: Parent | None
    pretrained: Path | None
    progress: StageProgress | None
    run: RunStage

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels: who asks keeps the snapshot from being pruned, and has its stages logged."""
        return told_here(self) | {"snapshot": replace(self.snapshot, hold=None), "run": call}

    def files(self) -> list[Path]:
        """See ``Job``."""
        begun = [] if self.pretrained is None else [path for path in self.pretrained.iterdir() if path.is_file()]
        return [self.snapshot.path / MANIFEST, *begun]

    @contextmanager
    def opened(self) -> Iterator[Work[Protocol, Part]]:
        """See ``Job``."""
        yield self._measured

    def _measured(self, protocol: Protocol, advance: Advance) -> Part:
        part = self.run(
            measure, self.snapshot, protocol, self.texts, self.frozen, self.config, self.systems,
            checkpoints=self.checkpoints.under(protocol), parent=self.parent, pretrained=self.pretrained,
            progress=self.progress,
        )  # fmt: skip
        advance(1)
        return part.figures, part if protocol == self.whole else None
