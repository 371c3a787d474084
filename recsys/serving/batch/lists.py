"""Lists for many users, made as of one moment and written a file at a time; whoever is cut short goes on.

The lists are those that the service would have given at that moment to a caller who may read histories.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from time import time

from recsys.artifacts import (
    MANIFEST,
    ArtifactError,
    canonical_json,
    digest,
    make_room,
    read_json,
    remove_staging,
    unheld,
    write_json,
)
from recsys.callbacks import Progress
from recsys.database.engine import Database
from recsys.database.exposures import ExposureStore
from recsys.database.live_items import ItemStore
from recsys.database.live_tables import EventExport
from recsys.database.user_attributes import AttributeStore
from recsys.distributed.executor import Executor, InProcess
from recsys.errors import RequestError, SettingError
from recsys.home import Home
from recsys.ranking.exploration import Exposure
from recsys.serving.answers import ListRequest
from recsys.serving.batch.manifest import BLOCK_SIZE, BatchManifest, Inputs, as_of, read_manifest
from recsys.serving.batch.shards import Answering, ListsJob
from recsys.serving.batch.unfinished import UNFINISHED, Begun, Unfinished, jsonable
from recsys.serving.recommender import Recommender
from recsys.serving.users import Users


@dataclass(frozen=True)
class Batch:
    """A folder of lists.

    Attributes:
        folder: where they are.
        manifest: what they are.
        found: whether they were there already.
    """

    folder: Path
    manifest: BatchManifest
    found: bool


def inputs_of(
    generation: str, request: ListRequest, users: Sequence[str] | None = None, block_size: int = BLOCK_SIZE
) -> Inputs:
    """Return what lists are asked for by; arguments as of ``write_lists``.

    Raises:
        SettingError: a block has no users.
        RequestError: a list has no items.
    """
    if block_size < 1:
        raise SettingError(f"The block size is {block_size}; it is at least 1.")
    if request.k < 1:
        raise RequestError(f"k must be at least 1, not {request.k}.")
    wish = request.new_items and replace(request.new_items, exposures={})
    values = asdict(replace(request, now=None, new_items=wish))
    seen = values["exclude_seen"]
    if isinstance(seen, dict) and seen["event_types"] is not None:
        seen["event_types"] = sorted(seen["event_types"])
    given = None if users is None else digest(canonical_json(sorted(set(users))))
    return Inputs(generation=generation, request=values, given=given, block_size=block_size)


def write_lists(
    home: Home,
    folder: Path,
    generation: str,
    request: ListRequest,
    users: Sequence[str] | None = None,
    block_size: int = BLOCK_SIZE,
    now: int | None = None,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Batch:
    """Write the lists of some users, or go on with them, or find them done.

    Each file has the lists of ``block_size`` users, in the order of their ids: ``user_id``, ``rank`` from 1,
    ``item_id``, ``score``, the fields, ``fallback``, and ``reasons`` where the request asks for explanations. A user
    for whom there is nothing has no row.

    Args:
        home: where state lives.
        folder: for the files alone; made where it is missing.
        generation: id of what answers; it is kept from being pruned meanwhile.
        request: what each list shall be like; ``now`` and exposures are those of the moment when it began.
        users: whose; None: of all in the snapshot, and of those who have live events. Forgotten ones are neither.
        block_size: users whose lists are one file.
        now: Unix seconds; None: the clock's. It does not count for what was begun before.
        progress: told of users done, and of all.
        executor: makes the files; None: this process.

    Raises:
        ArtifactError: the generation is missing or broken, the folder holds something else or what was asked for
            otherwise, or another process writes there.
        FilterError, LimitError, FieldError, ObjectiveError, KeyError, SettingError, RequestError: the request does not
            fit the generation.
    """
    inputs = inputs_of(generation, request, users, block_size)
    with alone(folder):
        found = _finished(folder, inputs)
        if found is not None:
            return Batch(folder, found, found=True)
        unfinished = Unfinished.find(folder)
        if unfinished is None:
            _check_empty(folder)
        else:
            _check_same(folder, unfinished.begun, inputs)
        opened = Recommender.open(home, generation)
        database = Database.of(home)
        try:
            moment = int(time()) if now is None else now
            begun = unfinished.begun if unfinished else _moment(opened, database, inputs, request, moment)
            answering = Answering.of(home, opened, database, begun, request)
            if unfinished is None:
                answering.check()
                asked = sorted(set(users)) if users is not None else _everybody(opened, answering.users)
                unfinished = Unfinished.begin(folder, begun, asked)
            job = ListsJob(home, folder, request, answering)
            manifest = _written(unfinished, job, answering, executor or InProcess(), progress)
        finally:
            database.close()
        remove_staging(folder)  # of workers that were lost
        write_json(folder / MANIFEST, manifest.to_dict())
        unfinished.end()
        return Batch(folder, manifest, found=False)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a folder of lists to oneself; what a process that ended has left half written there goes.

    Raises:
        ArtifactError: another process writes there.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(unheld(make_room(folder)))
        except BlockingIOError:
            message = f"Another process writes lists into {folder}. Wait for it, or give another folder."
            raise ArtifactError(message) from None
        remove_staging(folder)
        yield


def _written(
    unfinished: Unfinished, job: ListsJob, answering: Answering, executor: Executor, progress: Progress | None
) -> BatchManifest:
    """Have the files made that are not whole yet, and return what is to be said of all."""
    begun, done = unfinished.begun, 0

    def advance(users: int) -> None:
        nonlocal done
        done += users
        if progress is not None:
            progress(done, begun.users)

    parts = list(executor.map(job, range(unfinished.count), advance))
    together = sum((Counter(part.answers) for part in parts), Counter[str]())
    return BatchManifest(
        inputs=begun.inputs,
        adapter=answering.recommender.adapter_id,
        snapshot=answering.recommender.snapshot_id,
        asked=as_of(begun.now),
        events=begun.events,
        items=begun.items,
        version=begun.version,
        users=begun.users,
        rows=sum(part.rows for part in parts),
        answers=dict(sorted(together.items())),
        parts=parts,
    )


def _moment(opened: Recommender, database: Database, inputs: Inputs, request: ListRequest, now: int) -> Begun:
    """Return what is fixed at a moment, Unix seconds."""
    Users(database)  # makes the tables that are missing
    store = ItemStore(database)
    items = store.version()  # before the items themselves: what follows changes one of them once more
    shown = ExposureStore(database).read() if request.new_items else {}
    said = AttributeStore(database).all() if opened.users.audience is not None else {}
    return Begun(
        inputs=inputs,
        version=version("recsys"),
        now=now,
        events=None if database.read_only else EventExport(database).close_batch(),
        items=items,
        live=[asdict(one) for one in store.changed()],
        said=jsonable(said),
        shown=jsonable({item_id: Exposure(*counts) for item_id, counts in shown.items()}),
    )


def _everybody(opened: Recommender, people: Users) -> list[str]:
    """Return who did something by the moment that is not forgotten, in order."""
    forgotten, active = people.tombstones.read(), people.active()
    old = (
        user_id
        for user_id in opened.users.rows
        if (until := forgotten.when(user_id)) is None or opened.users.history(user_id, until)
    )
    return sorted({*old, *active})


def _finished(folder: Path, inputs: Inputs) -> BatchManifest | None:
    """Return the manifest of lists that are done, None where they are not.

    Raises:
        ArtifactError: they are others.
    """
    if not (folder / MANIFEST).exists():
        return None
    document = read_json(folder / MANIFEST)
    if not isinstance(document, dict) or "inputs" not in document:
        raise ArtifactError(f"{folder} holds something else than lists. Give another folder.")
    found = read_manifest(folder)
    _refuse_others(folder, found.inputs, inputs)
    if (folder / UNFINISHED).exists():  # a process ended between the two
        Unfinished(folder, Begun(inputs=inputs, version="", now=0, events=None, items=0)).end()
    return found


def _check_same(folder: Path, begun: Begun, inputs: Inputs) -> None:
    _refuse_others(folder, begun.inputs, inputs)
    if begun.version != version("recsys"):
        raise ArtifactError(
            f"{folder} holds lists that version {begun.version} has begun, and this is {version('recsys')}. Give "
            "another folder."
        )


def _refuse_others(folder: Path, before: Inputs, now: Inputs) -> None:
    differences = "; ".join(before.differences(now))
    if differences:
        raise ArtifactError(
            f"{folder} holds lists that were asked for otherwise: {differences}. Ask for the same, or give another "
            "folder."
        )


def _check_empty(folder: Path) -> None:
    there = sorted(path.name for path in folder.iterdir())
    if there:
        raise ArtifactError(f"{folder} holds {there[0]!a}, which is no list of ours. Give another folder.")
