"""What tests of live items ask: a service of two workers, and whether all of it says the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from recsys.home import Home

Eventually = Callable[[Callable[[], bool]], None]
ASKED = 8  # connections, each of which either worker may take


@dataclass(frozen=True)
class World:
    home: Home
    url: str
    eventually: Eventually

    def send(self, method: str, path: str, **body: Any) -> httpx.Response:
        headers = {"Content-Type": "application/json"}  # without keys it is asked for also where there is no body
        return httpx.request(method, f"{self.url}{path}", json=body or None, headers=headers, timeout=30)

    def ask(self, method: str, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
        """Ask, and come again as often as the service says so: BERT takes its time, to be loaded and to encode."""
        responses: list[httpx.Response] = []

        def answered() -> bool:
            responses.append(self.send(method, path, **body))
            return responses[-1].status_code != 503

        self.eventually(answered)
        assert responses[-1].status_code == status, responses[-1].text
        answer: dict[str, Any] = responses[-1].json()
        return answer

    def put(self, item_id: str, **columns: Any) -> int:
        version: int = self.ask("PUT", f"/v1/items/{item_id}", **columns)["version"]
        return version

    def known(self, version: int) -> bool:
        """Tell whether all workers know a change."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return [float(line.split()[1]) for line in lines if line.startswith("recsys_live_items_version ")] >= [version]

    def listed(self, **body: Any) -> list[str]:
        asked = {"history": ["i000", "i004"], "k": 200, "exclude_seen": False} | body
        return [item["item_id"] for item in self.ask("POST", "/v1/recommend", **asked)["items"]]

    def holds(self, item_id: str, **body: Any) -> bool:
        """Tell whether an item is in all of some lists; fails where workers disagree."""
        found = {item_id in self.listed(**body) for _ in range(ASKED)}
        assert len(found) == 1
        return found.pop()
