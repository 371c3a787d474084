"""Whether a worker can answer everything: its lists, and what needs an encoder or a classifier of texts."""

from recsys_client.schemas.problems import Code
from recsys_client.schemas.readiness import Readiness
from services.edge.paths import without_paths
from services.edge.problems import Refused
from services.worker.classifiers import Classifiers
from services.worker.current import CurrentGeneration
from services.worker.encoders import Encoders
from services.worker.loading import FAILED


def readiness_of(generation: CurrentGeneration, encoders: Encoders, classifiers: Classifiers) -> Readiness:
    """Return what is loaded.

    Raises:
        Refused: 503, it cannot answer yet; the detail says what is missing.
    """
    generation_id = generation.recommender().generation_id
    states = (encoders.state(generation_id), classifiers.state)
    texts, classifier = map(without_paths, states)
    found = Readiness(generation=generation_id, texts=texts, classifier=classifier)
    if not encoders.ahead:
        return found
    lists = f"Generation {generation_id} answers lists;"
    if encoders.find(encoders.answering or generation_id) is None:
        if texts.startswith(FAILED):
            why = texts.removeprefix(f"{FAILED}: ")
            raise Refused(Code.TEXTS_UNAVAILABLE, f"{lists} texts cannot be encoded: {why}", {"Retry-After": "10"})
        raise Refused(Code.LOADING, f"{lists} the encoder of its texts is still being loaded.", {"Retry-After": "2"})
    if not classifiers.settled:
        raise Refused(Code.LOADING, f"{lists} the classifier of texts is still being loaded.", {"Retry-After": "2"})
    return found
