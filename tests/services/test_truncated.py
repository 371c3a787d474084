"""Every file of the home cut short under a running service: it answers as before, or says 503 or 409, and goes on."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
from variants import make_variant
from workers import workers_of

from recsys.home import Home
from recsys.store.generations import current_id
from services.serve import running


def test_a_worker_survives_files_that_are_cut_short(
    copy_of_home: Callable[[Path], Home], known_user: str, tmp_path: Path
) -> None:
    home = copy_of_home(tmp_path / "cut")
    encoders = Path(shutil.copytree(home.encoders, tmp_path / "encoders"))
    shutil.rmtree(home.encoders)  # links to those of other tests
    encoders.rename(home.encoders)
    served, (other, _) = str(current_id(home)), make_variant(home, {"content": 1.0})
    asked = {
        "recommend": {"user_id": known_user, "k": 20, "explain": True},
        "similar": {"item_id": "i001", "k": 20},
        "rank": {"user_id": known_user, "item_ids": ["i001", "i002"]},
        "embed": {"texts": ["a quiet film about the sea"]},
    }
    with running(home) as url, httpx.Client(base_url=url, timeout=60) as client:

        def answers() -> dict[str, object]:
            found = {path: client.post(f"/v1/{path}", json=body).json() for path, body in asked.items()}
            return {path: answer.get("items", answer.get("vectors")) for path, answer in found.items()}

        before, workers = answers(), workers_of(home)
        stored = [path for path in home.root.rglob("*") if path.is_file() and home.runs not in path.parents]
        for path in stored:
            if not path.name.startswith("events.db"):  # SQLite's own affair
                os.truncate(path, path.stat().st_size // 3)
        assert answers() == before
        search = client.post("/v1/search", json={"query": "desert sheriff"})
        assert (search.status_code, search.json()["generation"]) == (200, served)
        ready = client.get("/readyz")  # the pointer cannot be read any more; what is loaded answers
        assert (ready.status_code, ready.json()["generation"]) == (200, served)
        named = client.post("/v1/recommend", json={"history": [], "generation": other})
        assert named.status_code in (404, 409)
        for call in ("promote", "shadow"):
            refused = client.post(f"/v1/generations/{other}/{call}", json={})
            assert refused.status_code in (404, 409), refused.text
        for path in ("/v1/generations", "/v1/adapters", "/v1/shadow"):
            listed = client.get(path)
            assert listed.status_code in (200, 503), f"{path}: {listed.text}"
        assert client.post("/v1/rollback", json={}).status_code in (409, 503)
        assert workers_of(home) == workers
