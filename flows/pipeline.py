"""The whole story, from raw files to a generation that is served. A stage a line; each is a flow of its own.

Run ``recsys demo`` for it on MovieLens 100K, deploy it with ``recsys deploy``, or call ``pipeline(...)``.
"""

from pathlib import Path

from flows.forms import Address, Folder, Reason
from flows.ingest import fetch_movielens, ingest_tables
from flows.locations import TableLocation, located_flow
from flows.publish import publish_generation
from flows.reports import report_metrics, report_samples
from flows.runtime import open_home
from flows.tidy import tidied
from flows.train import Training, train_generation
from flows.work import STEPS
from recsys.artifacts import read_json
from recsys.config import GateConfig, IngestConfig, ModelConfig
from recsys.errors import SettingError
from recsys.store.promotions import Cause

_INGEST = IngestConfig()
_MODEL = ModelConfig()
_GATE = GateConfig()


@located_flow("pipeline", STEPS, about={"events": "MovieLens 100K"})
def pipeline(
    events: TableLocation | None = None,
    items: TableLocation | None = None,
    home: Folder | None = None,
    ingest: IngestConfig = _INGEST,
    model: ModelConfig = _MODEL,
    publish: bool = True,
    force: bool = False,
    users: TableLocation | None = None,
    reason: Reason | None = None,
    live: bool = True,
    gate: GateConfig = _GATE,
    ray: Address | None = None,
    bento: bool = False,
) -> Training:
    """Ingest, train, measure and publish; what was done before with the same inputs is found, not done again.

    Args:
        events: where the events are: a file, a folder, a glob or a URL; empty: MovieLens 100K. A signed URL is
            given as secret:NAME, a Prefect block of type Secret, or env:NAME, the worker's variable RECSYS_SOURCE_NAME.
        items: where the items are, likewise; empty: MovieLens 100K.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this, or .recsys in its working folder.
        ingest: column names, and how many bad rows may be set aside.
        model: all settings of text, adapter, towers, experts and evaluation.
        publish: serve the new generation if the gate lets it pass.
        force: serve it whatever the gate says, which takes a reason.
        users: where the users' attributes are, likewise; empty: nothing is known of users but their events.
        reason: why the gate is overruled, or this is published; the log of promotions keeps it; empty: it is not said.
        live: join what the service has collected: events, items that were put or deleted, what was said of users.
        gate: what the gate lets pass.
        ray: host:port of a Ray cluster whose nodes share the home and the training; empty: RECSYS_RAY_ADDRESS of
            whoever runs this, or no cluster.
        bento: build a Bento that carries what was published, into BentoML's store of whoever runs this.

    Raises:
        DataError, SettingError: only one of events and items is given, or users without them, or the data cannot be
            read or is not good enough, or the gate is to be overruled without a reason.
        RefusedError: the gate refused the new generation; the one that was served still is.
    """
    Cause(reason=reason or None).check(force)  # before hours of training
    place = open_home(home)
    tidied(place)
    if (events is None) != (items is None):
        raise SettingError("Give both events and items, or neither for MovieLens 100K.")
    if events is None and users is not None:
        raise SettingError("Give events and items beside users: nobody else's are theirs.")
    if events is None or items is None:
        events, items = fetch_movielens(place.cache)

    snapshot_id = ingest_tables(events, items, str(place.root), ingest, users, live)
    training = train_generation(snapshot_id, str(place.root), model, ray=ray)
    report_metrics(read_json(Path(training.metrics)))
    report_samples(place, training.generation)
    if publish:
        publish_generation(training.generation, str(place.root), force, reason, gate, bento)
    return training
