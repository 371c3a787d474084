"""Puts together what answers for one home: its database, what follows its pointer, and all that routes work with."""

from collections.abc import Mapping

from recsys.database.comparisons import ShadowStore
from recsys.database.engine import Database
from recsys.database.exposures import ExposureStore
from recsys.database.live_items import ItemStore
from recsys.database.rates import RateStore
from recsys.home import Home
from services.edge.guard import Guard
from services.edge.lanes import Lane
from services.edge.metrics import Metrics
from services.worker.attribution import Attribution
from services.worker.classifiers import Classifiers
from services.worker.comparisons import Comparisons
from services.worker.current import CurrentGeneration
from services.worker.encoders import Encoders
from services.worker.exposures import Exposures
from services.worker.generation_cache import GenerationCache
from services.worker.impression_writer import Impressions, Retention
from services.worker.live_items import LiveItems, room_from_environment
from services.worker.loading import loads_ahead
from services.worker.promotions import Promotions, limits_from_environment
from services.worker.shadow import Shadow
from services.worker.state import Worker
from services.worker.users import Histories
from services.worker.wording import Wording


def open_worker(home: Home, guard: Guard, metrics: Metrics, lanes: Mapping[str, Lane]) -> Worker:
    """Return what answers for a home, not started yet.

    Args:
        home: where state lives.
        guard: judges its requests.
        metrics: count them.
        lanes: by name, where its work is done.

    Raises:
        SettingError: a variable of the environment is not what it must be.
        ArtifactError: this machine lacks the salt of the database's tombstones.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached.
    """
    from recsys.serving.users import Users  # brings torch, for which BentoML's supervisor has no use

    database = Database.of(home)
    users, shadows = Users(database), ShadowStore(database)
    exposures = Exposures(ExposureStore(database))
    cache, ahead = GenerationCache(home), loads_ahead()
    encoders, classifiers = Encoders(home, cache, ahead), Classifiers(home, ahead)
    items = LiveItems(home, ItemStore(database, room_from_environment()), encoders)
    shadow = Shadow(home, cache, items, shadows, metrics)
    rates = RateStore(database)
    # classifiers after the encoder, without which nothing is ready
    look = [shadow.check, lambda: classifiers.look() if encoders.settled else None]
    generation = CurrentGeneration(home, cache, items, encoders, metrics, also=look)
    return Worker(
        home,
        database,
        generation,
        cache,
        items,
        users,
        Histories(users),
        Impressions(home, users.impressions, metrics, Retention.from_environment(), exposures),
        shadow,
        shadows,
        metrics,
        guard,
        encoders=encoders,
        classifiers=classifiers,
        rates=rates,
        attribution=Attribution(rates, metrics, exposures.store),
        exposures=exposures,
        wording=Wording.from_environment(),
        comparisons=Comparisons(home),
        promotions=Promotions(home, generation, cache, limits_from_environment()),
        **lanes,
    )
