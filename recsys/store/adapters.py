"""Adapters: PEFT LoRA folders, each with a card that says what it was made from and how well it does.

An adapter's id is the hash of its files and its card's inputs, so the same training gives the same id.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from recsys.artifacts import (
    ArtifactError,
    check_id,
    commit_folder,
    digest_file,
    digest_folder,
    made_at,
    now,
    read_each,
    refuse_links,
    staged_folder,
    verify_folder,
    write_json,
)
from recsys.home import Home
from recsys.remote.claims import deleting
from recsys.remote.folders import discard_stored, fetch, found, push
from recsys.remote.listing import ADAPTERS
from recsys.store.generations import list_generations
from recsys.store.manifests import CARD, MADE, AdapterCard
from recsys.store.names import ADAPTER, forget_names


def save_adapter(home: Home, write: Callable[[Path], None], card: AdapterCard) -> str:
    """Store a trained adapter and return its id.

    Args:
        home: where state lives.
        write: puts the PEFT files into an empty folder.
        card: what it was made from and how well it does; its id and files are filled in.
    """
    with staged_folder(home.make().adapters) as staging:
        write(staging)
        sealed = card.sealed(digest_folder(staging))
        write_json(staging / CARD, sealed.to_dict() | {MADE: now()})
        commit_folder(staging, home.adapters / sealed.id)
    push(home, ADAPTERS, sealed.id)
    return sealed.id


def read_card(home: Home, adapter_id: str) -> AdapterCard:
    """Return an adapter's card.

    Raises:
        ArtifactError: there is no adapter of that id, or its card is not what it was.
    """
    check_id(adapter_id, "adapter")
    found(home, ADAPTERS, adapter_id)
    path = home.adapters / adapter_id / CARD
    refuse_links(home.adapters, path.parent)
    if not path.is_file():
        raise ArtifactError(f"There is no adapter {adapter_id!r}. `recsys adapters` lists those that exist.")
    card = AdapterCard.read(path, "Remove the folder, or train it again.")
    if card.id != adapter_id:
        raise ArtifactError(f"{path} is not the card of adapter {adapter_id}. Remove the folder, or train it again.")
    return card


def verify_adapter(home: Home, adapter_id: str) -> Path:
    """Check every file of an adapter against its card, and the card against the id; return its folder.

    Raises:
        ArtifactError: a file is missing, changed, a link, or one too many.
    """
    card = read_card(home, adapter_id)
    fetch(home, ADAPTERS, adapter_id)
    folder = home.adapters / adapter_id
    verify_folder(folder, card.files | {CARD: digest_file(folder / CARD)})
    if card.content_id != adapter_id:
        raise ArtifactError(f"{folder / CARD} has changed since it was written. Train the adapter again.")
    return folder


def list_adapters(home: Home) -> list[AdapterCard]:
    """Return the cards of all adapters, by id; a folder that is none of ours is left out."""
    return read_each(home.adapters, CARD, lambda adapter_id: read_card(home, adapter_id))


def when_made(home: Home, card: AdapterCard) -> datetime:
    """Return when an adapter was stored (UTC)."""
    return made_at(card.made, home.adapters / card.id / CARD)


def delete_adapter(home: Home, adapter_id: str) -> None:
    """Delete an adapter and its names.

    Raises:
        ArtifactError: it does not exist, or a generation uses it.
    """
    read_card(home, adapter_id)
    users = [one.id for one in list_generations(home) if adapter_id in (one.adapter, one.search_adapter)]
    if users:
        raise ArtifactError(f"Generation {users[0]} uses adapter {adapter_id}. Delete the generation first.")
    with deleting(home):
        discard_stored(home, ADAPTERS, adapter_id)
    forget_names(home, ADAPTER, adapter_id)
