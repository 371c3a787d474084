"""The generation that a Bento carries: an empty home is filled with it before the first worker answers."""

import logging
from pathlib import Path

import bentoml

import services
from recsys.home import Home
from recsys.store.bundles import serve_bundle
from recsys.store.promotions import Cause

MODEL = "recsys_generation"  # its versions are ids of generations
BUNDLED = "bundled.txt"  # beside this package in a Bento: the tag of the model that it carries
_LOG = logging.getLogger(__name__)


def bundled_model() -> Path | None:
    """Return the folder of the model that the Bento of this process carries; None: there is none, or it is no Bento.

    Raises:
        NotFound: BentoML's store does not have it.
    """
    named = Path(services.__file__).parent / BUNDLED
    if not named.is_file():
        return None
    return Path(bentoml.models.get(named.read_text().strip()).path)


def serve_bundled(home: Home) -> None:
    """Let a home that serves nothing serve what the Bento of this process carries, if it carries something."""
    folder = bundled_model()
    if folder is None:
        return
    served = serve_bundle(folder, home, Cause(by="bento", reason="The home was empty."))
    _LOG.info("The home serves generation %s.", served)
