"""What requests name is loaded outside of the lanes, and few things at a time take each other's place."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import HTTPException
from variants import make_variant

from recsys.home import Home
from recsys.store.generations import current_id
from services.edge.lanes import StillLoadingError
from services.worker import loading
from services.worker.generation_cache import GenerationCache
from services.worker.loading import RESIDENCE_SECONDS, BackgroundLoader, NoRoomError


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loading, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def ask(loader: BackgroundLoader[str], key: str) -> str:
    """Return what a request gets that waits for as long as it must."""
    while True:
        try:
            return loader.get(key)
        except StillLoadingError as still:
            still.loaded.exception(60)


def refused_for(loader: BackgroundLoader[str], key: str) -> int:
    with pytest.raises(NoRoomError) as refused:
        loader.get(key)
    assert refused.value.status_code == 503
    assert key in refused.value.detail
    return int(refused.value.headers["Retry-After"])


def test_what_is_named_in_turn_is_not_loaded_in_turn(clock: Clock) -> None:
    loads: list[str] = []
    loader = BackgroundLoader("Thing {key}", lambda key: (loads.append(key), key)[1], kept=2)
    assert [ask(loader, key) for key in ("a", "b")] == ["a", "b"]
    for _ in range(100):
        assert refused_for(loader, "c") == RESIDENCE_SECONDS
        assert [ask(loader, key) for key in ("a", "b")] == ["a", "b"]
    assert loads == ["a", "b"]
    clock.now += RESIDENCE_SECONDS - 2
    ask(loader, "b")
    assert refused_for(loader, "c") == 2
    clock.now += 3
    assert ask(loader, "c") == "c"  # nobody has asked for a
    assert refused_for(loader, "a") == RESIDENCE_SECONDS - 3
    assert loads == ["a", "b", "c"]


def test_what_serves_is_never_refused_for_what_was_named(clock: Clock) -> None:
    loader = BackgroundLoader("Thing {key}", str, kept=2)
    loader.want("serving", ahead=False)
    assert ask(loader, "a") == "a"
    assert refused_for(loader, "b") == RESIDENCE_SECONDS  # one place is what serves has
    assert ask(loader, "serving") == "serving"
    loader.want("next")
    loader.begin("next").result(60)
    assert ask(loader, "next") == "next"
    assert loader.find("next") == "next"


def test_a_failure_is_told_until_it_is_tried_again(clock: Clock) -> None:
    broken = [True]

    def load(key: str) -> str:
        if broken[0]:
            raise ValueError("broken")
        return key

    loader = BackgroundLoader("Thing {key}", load, kept=2)
    with pytest.raises(ValueError, match="broken"):
        ask(loader, "a")
    broken[0] = False
    with pytest.raises(ValueError, match="broken"):
        loader.get("a")
    assert loader.begin("a", again=True).result(60) == "a"
    assert ask(loader, "a") == "a"


def test_a_generation_that_is_named_is_loaded_in_the_background(
    copy_of_home: Callable[[Path], Home], tmp_path: Path
) -> None:
    home = copy_of_home(tmp_path)
    named = [str(current_id(home)), *(make_variant(home, {"content": weight})[0] for weight in (0.5, 0.7))]
    cache = GenerationCache(home)
    for generation_id in named[:2]:
        with pytest.raises(StillLoadingError) as still:
            cache.named(generation_id)
        still.value.loaded.result(60)
        assert cache.named(generation_id).generation_id == generation_id
    with pytest.raises(NoRoomError):
        cache.named(named[2])
    assert cache.open(named[2]).generation_id == named[2]  # an operator's switch is not a request that names one
    for unknown in ("0" * 16, "../nothing", ""):
        with pytest.raises(HTTPException) as refused:
            cache.named(unknown)
        assert refused.value.status_code == 404
