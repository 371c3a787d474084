"""The encoders behind a worker's texts, and searches with them: loaded in the background, kept by generation."""

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from recsys.home import Home
from recsys.store.generations import read_manifest
from recsys_client.schemas.problems import Code
from services.edge.lanes import StillLoadingError
from services.edge.problems import Refused
from services.worker.generation_cache import GenerationCache
from services.worker.loading import RETRY_SECONDS, BackgroundLoader, NoRoomError

if TYPE_CHECKING:
    from recsys.serving.new_texts import Encoder
    from recsys.serving.recommender import Recommender
    from recsys.serving.search import TextSearch

KEPT = 2  # the one that serves and the one before it, or two adapters side by side; each is two BERTs


class Encoders:
    """Encoders by generation. Safe to share between threads.

    An encoder is opened with its generation as the cache has it: one that carries live items has other vectors than
    those that the encoder is checked by.

    Args:
        home: where state lives.
        cache: where loaded generations are.
        ahead: whether the encoder of what serves is loaded before a text needs it.
    """

    def __init__(self, home: Home, cache: GenerationCache, ahead: bool = True) -> None:
        self.ahead = ahead
        self._home = home
        self._cache = cache
        self._loader = BackgroundLoader("The encoder of generation {key}", self._load, KEPT)
        self._changing = threading.Lock()
        self._searches: OrderedDict[str, tuple[Recommender, TextSearch]] = OrderedDict()

    def serve(self, generation_id: str) -> None:
        """Keep this generation's encoder from now on; load it where that is done ahead, and again where it failed."""
        self._loader.want(generation_id, self.ahead)

    def of(self, generation_id: str) -> "Encoder":
        """Return the encoder that made a generation's vectors, in a lane.

        Raises:
            StillLoadingError: it is being loaded.
            Refused: 503, its adapter or its base is missing or another; the detail says which.
        """
        try:
            return self._loader.get(generation_id)
        except (StillLoadingError, NoRoomError):
            raise
        except Exception as error:
            headers = {"Retry-After": f"{RETRY_SECONDS:g}"}
            raise Refused(Code.TEXTS_UNAVAILABLE, f"Texts cannot be encoded: {error}", headers) from error

    def find(self, generation_id: str) -> "Encoder | None":
        """Return a generation's encoder if it is loaded."""
        return self._loader.find(generation_id)

    def begin(self, generation_id: str) -> None:
        """Begin to load a generation's encoder unless that has happened."""
        self._loader.begin(generation_id)

    def check(self, generation_id: str) -> None:
        """Begin to load a generation's encoder unless that has happened, in a lane.

        Raises:
            StillLoadingError: it is being loaded.
            NoRoomError: there is no room for it.
        """
        try:
            self.of(generation_id)
        except NoRoomError:
            raise
        except Refused:
            pass  # answers leave its texts out

    def wait(self, generation_id: str) -> None:
        """Wait until a generation's encoder is loaded, or could not be: not for lanes."""
        self._loader.begin(generation_id).exception()

    def state(self, generation_id: str) -> str:
        """Return "ready", "loading", "failed: why" or "off"."""
        return self._loader.state(generation_id)

    @property
    def settled(self) -> bool:
        """Whether what serves has its encoder, or it could not be loaded."""
        return self._loader.settled

    @property
    def answering(self) -> str | None:
        """The generation whose encoder answers meanwhile, where that of what serves is not there yet."""
        return self._loader.answering

    def search_of(self, recommender: "Recommender") -> "TextSearch":
        """Return what searches a generation's items by text, its live ones among them, in a lane.

        Raises:
            StillLoadingError, Refused: as ``of``.
        """
        from recsys.serving.search import TextSearch

        encoder = self.of(recommender.generation_id)
        with self._changing:
            found = self._searches.get(recommender.generation_id)
            # live items may have changed, or the encoder was loaded again
            if found is None or found[0] is not recommender or found[1].encoder is not encoder:
                found = recommender, TextSearch(recommender, encoder)
            self._keep(*found)
            return found[1]

    def _load(self, generation_id: str) -> "Encoder":
        # bring transformers, which lists do not need
        from recsys.serving.new_texts import Encoder
        from recsys.serving.search import TextSearch
        from recsys.texts.vectors import TextVectors

        adapter_id = read_manifest(self._home, generation_id).adapter
        same = next((one for one in self._loader.loaded() if one.adapter_id == adapter_id), None)
        vectors = same.vectors if same else TextVectors.of_adapter(self._home, adapter_id)
        base = self._cache.open(generation_id)  # at a start it is loaded while the vectors are
        encoder = Encoder.open(self._home, generation_id, base.scoring.system, vectors)
        search = TextSearch(base, encoder)
        with self._changing:
            self._keep(base, search)
        return encoder

    def _keep(self, recommender: "Recommender", search: "TextSearch") -> None:
        self._searches[recommender.generation_id] = recommender, search
        self._searches.move_to_end(recommender.generation_id)
        while len(self._searches) > KEPT:
            self._searches.popitem(last=False)
