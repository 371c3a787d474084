"""The flow that writes lists for all users, or some, to Parquet, as the service would answer at that moment."""

from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any

from flows import progress
from flows.forms import Address, Count, Document, Folder, Named, at_least
from flows.locations import TableLocation, located_flow, resolved
from flows.runs import for_the_ui, show_markdown, show_table
from flows.runtime import open_home
from flows.work import LISTS
from recsys.artifacts import ArtifactError
from recsys.callbacks import stage
from recsys.errors import RequestError
from recsys.home import Home
from recsys.serving.batch.manifest import BLOCK_SIZE
from recsys.store.generations import current_id, newest_with
from recsys.store.names import ADAPTER, GENERATION, meant

if TYPE_CHECKING:
    from recsys.serving.answers import ListRequest  # torch, which a form has no use for
    from recsys.serving.batch.lists import Batch


@located_flow("batch", LISTS, about={"generation": "what is served", "users": "all users"})
def batch_lists(
    out: Folder | None = None,
    users: TableLocation | None = None,
    home: Folder | None = None,
    generation: Named | None = None,
    request: Document | None = None,
    k: Annotated[int, at_least(1)] | None = None,
    since: Folder | None = None,
    block_size: Count = BLOCK_SIZE,
    ray: Address | None = None,
) -> dict[str, Any]:
    """Write the lists of users to Parquet and return the manifest as JSON values, with ``folder`` and ``found``.

    Args:
        out: the folder for the files, of lists asked for in one way; empty: one below the home's runs, a new one a day.
        users: a table with user_id: a file, a folder, a glob or a URL; empty: all users of the snapshot, and all with
            live events.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        generation: which answers: its id, how it begins, or an alias; empty: as the request says, or what is served.
        request: the body of POST /v1/recommend without the person; empty: the route's own defaults, without fields.
        k: how long lists are; empty: as the request says.
        since: the folder of finished lists, to write what has changed since; empty: nothing of it.
        block_size: users whose lists are one file.
        ray: host:port of a Ray cluster whose nodes share home and folder, a file a worker; empty: RECSYS_RAY_ADDRESS of
            whoever runs this, or no cluster.

    Raises:
        ArtifactError: nothing is served, there is no such generation, or the folder holds something else.
        RequestError: the request is none, or does not fit the generation.
        SettingError, SourceError: users cannot be read.
        ClusterError: the cluster cannot do it.
    """
    from recsys.distributed.cluster import executor_at
    from recsys.serving.batch.changes import write_changes
    from recsys.serving.batch.lists import inputs_of, write_lists
    from recsys.serving.batch.manifest import read_manifest
    from recsys.serving.batch.places import place_of

    place = open_home(home)
    named, wanted = _asked(request or {}, k)
    chosen = _generation(place, generation, named)
    if since:
        read_manifest(Path(since))  # before the work: what cannot be compared with is known at once
    given = _user_ids(users) if users else None
    now = int(time())
    folder = Path(out).absolute() if out else place_of(place, inputs_of(chosen, wanted, given, block_size), now)
    with executor_at(ray) as executor:
        made = stage(progress.report, "Make lists")
        batch = write_lists(place, folder, chosen, wanted, given, block_size, now, made, executor)
    if since:
        batch = write_changes(batch, Path(since), stage(progress.report, "Compare"))
    _show(batch)
    return {"folder": str(batch.folder), "found": batch.found, **batch.manifest.to_dict()}


def _asked(document: dict[str, Any], k: int | None) -> "tuple[dict[str, str], ListRequest]":
    """Return which model a request names, and what each list shall be like.

    Raises:
        RequestError: it is no body of POST /v1/recommend, names a person, or asks for what only the service has.
    """
    from pydantic import ValidationError

    from recsys_client.schemas.recommend import DialledOptions
    from services.worker.asking import asked

    for name in ("user_id", "history", "language"):
        if document.get(name) is not None:
            raise RequestError(f"request.{name} has no place here: the request is for all users alike. Leave it out.")
    given = {name: value for name, value in document.items() if name not in ("user_id", "history", "language")}
    try:
        options = DialledOptions.model_validate({"fields": []} | given | ({} if k is None else {"k": k}))
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        place = ".".join(map(str, ("request", *found["loc"])))
        raise RequestError(
            f"{place}: {found['msg']}. It takes what POST /v1/recommend does, without the person."
        ) from None
    named = {"generation": options.generation, "adapter": options.adapter}
    return {name: value for name, value in named.items() if value}, asked(options, None, dict)


def _generation(home: Home, generation: str | None, named: dict[str, str]) -> str:
    """Return the id of what answers.

    Raises:
        ArtifactError: there is no such generation or adapter, or nothing is served.
        RequestError: generation and adapter do not belong together.
    """
    name = generation or named.get("generation")
    chosen = meant(home, GENERATION, name) if name else None
    if "adapter" in named:
        from recsys.store.generations import read_generation

        adapter = meant(home, ADAPTER, named["adapter"])
        chosen = chosen or _by(home, adapter)
        if read_generation(home, chosen)[1].adapter != adapter:
            raise RequestError(f"Generation {chosen} was not made with adapter {adapter}. Name one of the two.")
    found = chosen or current_id(home)
    if found is None:
        raise ArtifactError(f"Nothing is published below {home.root}. Run `recsys train` and `recsys publish`.")
    return found


def _by(home: Home, adapter: str) -> str:
    """Return the generation that answers for an adapter: what is served, if it made that, else its newest."""
    from recsys.store.generations import read_generation

    served = current_id(home)
    if served is not None and read_generation(home, served)[1].adapter == adapter:
        return served
    made = newest_with(home, adapter)
    if made is None:
        raise ArtifactError(f"No generation was made with adapter {adapter}, so it cannot answer.")
    return made


def _user_ids(location: str) -> list[str]:
    """Return the ids of a table's ``user_id``, each once.

    Raises:
        SourceError: the table cannot be read, or a row has no id.
    """
    from recsys.data.columns import USER_ID
    from recsys.data.sources import FILE, ROW, SourceError, read_table

    table = read_table(resolved(location), "users")
    missing = table.filter(table[USER_ID].fill_null("").str.strip_chars() == "")
    if missing.height:
        raise SourceError(
            f"{missing[FILE][0]}, row {missing[ROW][0]}: the user_id is missing. Fill it in, or leave the row out."
        )
    return sorted(set(table[USER_ID].to_list()))


@for_the_ui
def _show(batch: "Batch") -> None:
    manifest = batch.manifest
    title = f"{manifest.users:,} users by generation {manifest.inputs.generation}, as of {manifest.asked}"
    rows: list[dict[str, Any]] = [
        {"": "users", "number": manifest.users},
        {"": "items in lists", "number": manifest.rows},
    ]
    rows += [{"": f"lists: {link}", "number": number} for link, number in manifest.answers.items()]
    if manifest.changes is not None:
        rows.append({"": f"changed since generation {manifest.changes.generation}", "number": manifest.changes.users})
    show_table(rows, key="batch", description=title)
    show_markdown(f"[{batch.folder}]({batch.folder.as_uri()})", key="batch-folder", description=title)
