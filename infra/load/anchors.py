"""The service with routes beside it that load tests compare it with: the bare LanceDB search in the same process."""

import os
import time
from typing import Any

import numpy as np
from anyio import to_thread
from pydantic import BaseModel

from recsys.data.sequences import Sequences
from recsys.store.index import ROW, VECTOR
from services.recommender import RecommenderService, app

__all__ = ["RecommenderService"]
FOUND = 10


class Asked(BaseModel):
    """Whose items are searched, how much of the index is read, and whether to compare with all items."""

    users: list[str]
    nprobes: int
    judge: bool = False


@app.get("/anchor/worker", include_in_schema=False)
async def worker() -> dict[str, int]:
    """Tell which worker a connection has reached."""
    return {"pid": os.getpid()}


@app.post("/anchor/search", include_in_schema=False)
async def search(asked: Asked) -> dict[str, Any]:
    """Search LanceDB for the ten best items of each user, one after the other; tell times and, if asked, the recall."""
    return await to_thread.run_sync(_search, asked.users, asked.nprobes, asked.judge)


def _search(users: list[str], nprobes: int, judge: bool) -> dict[str, Any]:
    recommender = app.state.workers.worker.generation.recommender()
    rows = [recommender.catalogue.split(recommender.history(user))[0] for user in users]
    source = recommender.scoring.source
    times, shares = [], []
    for person in recommender.scoring.prepared(Sequences.from_lists(rows)):
        query = person.query
        started = time.perf_counter()
        asked = source._table.search(query, vector_column_name=VECTOR).distance_type("dot").select([ROW, "_distance"])
        found = asked.nprobes(nprobes).refine_factor(2).limit(FOUND).to_arrow()[ROW].to_pylist()
        times.append((time.perf_counter() - started) * 1_000)
        if judge:
            best = np.argpartition(-(source.vectors @ query), FOUND - 1)[:FOUND]
            shares.append(len(set(best.tolist()) & set(found)) / FOUND)
    return {"milliseconds": times, "recall": round(float(np.mean(shares)), 4) if judge else None}
