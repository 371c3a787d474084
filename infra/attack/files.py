"""The files of a home: who may read them, and what is served when somebody has changed them."""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.target import Target

SECRETS = ("*.db", "*.db-wal", "*.db-shm", "keys.json", "*salt*", "*secret*", "*tombstone*")


def _open_to_others(root: Path) -> list[str]:
    found = [path for pattern in SECRETS for path in root.glob(pattern) if path.is_file()]
    said = [f"{path.name} {stat.S_IMODE(path.stat().st_mode):o}" for path in found if path.stat().st_mode & 0o077]
    mode = stat.S_IMODE(root.stat().st_mode)
    return [*([f"the home {mode:o}"] if mode & 0o077 else []), *said]


@attack("files", seconds=60)
def files_of_a_new_home(target: Target) -> Outcome:
    """A home, its databases and keys are read by their owner alone."""
    from recsys.database.engine import Database
    from recsys.home import Home
    from recsys.serving.users import Users
    from services.edge.keys import create_key

    os.umask(0o022)
    with tempfile.TemporaryDirectory() as place:
        home = Home(Path(place) / "home")
        database = Database.of(home)
        Users(database).forget("attack")
        create_key(home, "attack", ["recommend"])
        found = _open_to_others(home.root)
        database.close()
    return judged(not found, f"open to others: {', '.join(found) or 'nothing'}")


@attack("files")
def files_of_the_home(target: Target) -> Outcome:
    """The databases and keys of a home that is served are read by their owner alone, also where it is an older one."""
    if target.home is None:
        return not_tried("its files are elsewhere")
    from recsys.database.engine import Database
    from recsys.home import Home

    Database.of(Home(target.home)).close()  # as a service does
    found = [one for one in _open_to_others(target.home) if not one.startswith("the home")]  # an operator's to choose
    return judged(not found, f"open to others: {', '.join(found) or 'nothing'}")


@contextmanager
def _changed(folder: Path) -> Iterator[Path]:
    """Yield a folder that may be changed; it is as before afterwards."""
    kept = folder.with_name(f".{folder.name}-kept")
    shutil.copytree(folder, kept, symlinks=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.replace(kept, folder)


@attack("files", seconds=150)
def a_home_that_was_changed(target: Target) -> Outcome:
    """What somebody has changed, added or replaced by a link after it was published is not served."""
    if target.home is None:
        return not_tried("its files are elsewhere")
    import polars as pl

    from recsys.artifacts import digest_file
    from recsys.errors import RecsysError
    from recsys.home import Home
    from recsys.serving.recommender import Recommender
    from recsys.store.generations import current_id, read_generation

    home = Home(target.home)
    folder, manifest = read_generation(home, str(current_id(home)))
    snapshot, adapter = home.snapshots / manifest.snapshot, home.adapters / manifest.adapter
    served, refused = [], 0

    def opened(what: str) -> None:
        nonlocal refused
        try:
            Recommender.open(home)
            served.append(what)
        except RecsysError:
            refused += 1

    with _changed(snapshot):
        path = snapshot / "items.parquet"
        pl.read_parquet(path).with_columns(pl.lit("changed by an attack").alias("title")).write_parquet(path)
        document = json.loads((snapshot / "manifest.json").read_text())
        document["files"]["items.parquet"] = digest_file(path)
        (snapshot / "manifest.json").write_text(json.dumps(document))
        opened("a snapshot rewritten with its manifest")
    for room in (snapshot, folder, adapter):
        with _changed(room):
            first = max(
                (path for path in room.iterdir() if path.suffix != ".json"), key=lambda path: path.stat().st_size
            )
            outside = room.parent.parent / "attack-outside"
            shutil.move(first, outside)
            first.symlink_to(outside)
            opened(f"a link in {room.parent.name}")
            outside.unlink()
        with _changed(room):
            first = max(
                (path for path in room.iterdir() if path.suffix != ".json"), key=lambda path: path.stat().st_size
            )
            content = bytearray(first.read_bytes())
            content[len(content) // 2] ^= 1
            first.write_bytes(content)
            opened(f"a bit in {room.parent.name}")
    with _changed(folder):
        (folder / "pickle.bin").write_bytes(b"x")
        opened("a file too many in generations")
    return judged(not served, f"{refused + len(served)} changes; served: {', '.join(served) or 'none'}")


@attack("files", seconds=120)
def what_an_unready_service_says(target: Target) -> Outcome:
    """Nobody is told by a service that is not ready where its files lie."""
    if target.home is None:
        return not_tried("its files are elsewhere")
    import httpx

    from infra.attack.homes import started
    from recsys.home import Home
    from recsys.store.generations import current_id

    with tempfile.TemporaryDirectory() as place:
        broken = Home(Path(place) / "home")
        served = str(current_id(Home(target.home)))
        shutil.copytree(target.home / "generations" / served, broken.generations / served)
        shutil.copy(target.home / "generations" / "current.json", broken.generations)
        (broken.generations / served / "planted.bin").write_bytes(b"x")
        with started(broken, ready=False) as (url, _):
            texts = [httpx.get(f"{url}{path}").text for path in ("/readyz", "/v1/shadow", "/metrics", "/livez")]
            texts.append(httpx.post(f"{url}/v1/recommend", json={"history": []}).text)
    said = [text for text in texts if place in text or str(target.home) in text]
    return judged(
        not said,
        f"{len(said)} of {len(texts)} answers name a path{f': {said[0][:160]}' if said else ''}".replace(place, "…"),
    )


@attack("keyed", seconds=60)
def a_file_cut_short(target: Target) -> Outcome:
    """A service whose files are damaged under it goes on, or says so: it does not end."""
    mapped = sorted((target.home / "lance").glob("*.npy")) if target.home else []
    if not mapped:
        return not_tried("no file of vectors is mapped here")
    workers = {process.pid for process in target.processes()}
    content = mapped[-1].read_bytes()
    try:
        os.truncate(mapped[-1], 4_096)
        statuses = [target.reply(target.prepared("POST", "/v1/recommend", target.wish(n)), 10)[0] for n in range(5)]
    finally:
        with mapped[-1].open("r+b") as file:
            file.write(content)
    ended = workers - {process.pid for process in target.processes()}
    evidence = f"answers {statuses}; {len(ended)} of {len(workers)} processes ended"
    return judged(not ended and not {0, 500} & set(statuses), evidence)
