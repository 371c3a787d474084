"""A look at good tables: what is odd about them, and how they are distributed; events come in any number of parts.

Of events what is kept grows with users, items and days, and not with events.
"""

from collections.abc import Mapping

import polars as pl

from recsys.data.distributions import Distribution
from recsys.data.findings.drift import Profile, drift_findings
from recsys.data.findings.events import EventRules
from recsys.data.findings.finding import ERROR, Finding
from recsys.data.findings.texts import text_findings


class Look:
    """Fed by ``update`` with good events, and asked then."""

    def __init__(self) -> None:
        self._rules = EventRules()
        self._profile: Profile | None = None

    def update(self, events: pl.DataFrame) -> None:
        """Take a part of the events; all have the same columns."""
        own = Profile.of(events)
        self._profile = own if self._profile is None else self._profile.with_more(own)
        self._rules.update(events)

    def findings(
        self, items: pl.DataFrame, users: pl.DataFrame | None, before: Mapping[str, Profile] | None = None
    ) -> tuple[Finding, ...]:
        """Return what is odd, the gravest first.

        Args:
            items: the good ones.
            users: likewise; None: nothing is known of them.
            before: profiles of the last snapshot's tables; None: there is none.
        """
        now = {"items": Profile.of(items)} | ({} if users is None else {"users": Profile.of(users)})
        now |= {} if self._profile is None else {"events": self._profile}
        found = [*drift_findings(before or {}, now), *self._rules.result(items), *text_findings(items)]
        return tuple(sorted(found, key=lambda one: one.severity != ERROR))

    def distributions(self, items: pl.DataFrame) -> tuple[Distribution, ...]:
        """Return how all of it is distributed; see ``EventCounts.distributions``. Nothing is where no events came."""
        counts = self._rules.counts
        return tuple(counts.distributions(items)) if counts.rows else ()
