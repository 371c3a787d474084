"""What a shadow generation would have answered, compared with what was answered. Holds no user and no item."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sql

from recsys.database.engine import METADATA, TEXT, Database
from recsys.database.moments import microseconds

SUMMARISED = 10_000  # newest comparisons that a summary reads
COMPARISONS = sql.Table(
    "shadow_answers",
    METADATA,
    sql.Column("rec_id", TEXT, primary_key=True),
    sql.Column("shadow", TEXT, primary_key=True),
    sql.Column("live", TEXT, nullable=False),
    sql.Column("time", sql.BigInteger, nullable=False),  # microseconds since 1970, UTC
    sql.Column("k", sql.Integer, nullable=False),
    sql.Column("overlap", sql.Double, nullable=False),
    sql.Column("live_ms", sql.Double, nullable=False),
    sql.Column("shadow_ms", sql.Double, nullable=False),
    sql.Column("live_cold", sql.Double, nullable=False),
    sql.Column("shadow_cold", sql.Double, nullable=False),
    sql.Column("shared", TEXT),  # see Comparison, joined by commas; null: of an older version
)
sql.Index("shadow_answers_by_shadow", COMPARISONS.c.shadow, COMPARISONS.c.time)


@dataclass(frozen=True)
class Comparison:
    """One answer beside its shadow.

    Attributes:
        live: the generation that answered.
        shadow: the one that answered in the background.
        k: how many items were asked for.
        overlap: |live ∩ shadow| / max(|live|, |shadow|) of the two lists; 1 for two empty ones.
        live_ms: time to rank, likewise ``shadow_ms``.
        live_cold: share of the list without a training event, likewise ``shadow_cold``.
        shared: places of the live list, from 0, whose items the other one holds as well.
    """

    rec_id: str
    live: str
    shadow: str
    time: datetime
    k: int
    overlap: float
    live_ms: float
    shadow_ms: float
    live_cold: float
    shadow_cold: float
    shared: Sequence[int] = ()


class ShadowStore:
    """The comparisons of a database; one object serves all threads of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = database.engine

    def add(self, comparisons: Sequence[Comparison]) -> None:
        """Store comparisons in one transaction, each at most once."""
        rows = [
            asdict(one) | {"time": microseconds(one.time), "shared": ",".join(map(str, one.shared))}
            for one in comparisons
        ]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(self._database.insert(COMPARISONS).on_conflict_do_nothing(), rows)

    def summary(self, shadow: str) -> dict[str, int | float]:
        """Return ``answers`` and, where there are any, means and percentiles of the newest comparisons of a shadow."""
        newest = sql.select(COMPARISONS).where(COMPARISONS.c.shadow == shadow)
        newest = newest.order_by(COMPARISONS.c.time.desc(), COMPARISONS.c.rec_id).limit(SUMMARISED)
        with self._engine.connect() as connection:
            rows = connection.execute(newest).mappings().all()
        if not rows:
            return {"answers": 0}
        values = {name: np.array([row[name] for row in rows]) for name in rows[0] if name.endswith(("_ms", "_cold"))}
        times = {
            f"{name}_p{part}": float(np.percentile(values[f"{name}_ms"], part))
            for name in ("live", "shadow")
            for part in (50, 95)
        }
        return {
            "answers": len(rows),
            "overlap": float(np.mean([row["overlap"] for row in rows])),
            **times,
            "live_cold": float(values["live_cold"].mean()),
            "shadow_cold": float(values["shadow_cold"].mean()),
        }
