"""Texts to labels."""

import time
from typing import TYPE_CHECKING

import numpy as np
from fastapi import Response

from services.edge.auth import guarded_router, scoped
from services.edge.context import MODEL, lap
from services.routes.texts import CHUNK, timed
from services.schemas.classify import Classified, ClassifyAnswer, ClassifyRequest
from services.worker.answering import ERRORS, json_response, milliseconds_since
from services.worker.state import Parts, PartsOfApp

if TYPE_CHECKING:
    from recsys.models.encoder.classifier import Classifier

router = guarded_router()


@router.post("/v1/classify", response_model=ClassifyAnswer, **scoped("recommend", *ERRORS))
async def classify(request: ClassifyRequest, parts: PartsOfApp) -> Response:
    """Return what each text is, with probabilities, by a classifier that `recsys classify` has trained.

    The first text after a start waits some seconds for the classifier to be loaded. A text's probabilities do not
    depend on the texts beside it.
    """
    started = time.perf_counter()
    adapter, classifier = await parts.encoding.run(_classifier, parts, request.adapter)
    chunks = []
    for start in range(0, len(request.texts), CHUNK):  # between two chunks a search has its turn
        chunk = request.texts[start : start + CHUNK]
        chunks.append(await parts.encoding.run(timed, classifier.probabilities, chunk))
    results = [
        Classified(
            label=classifier.labels[int(row.argmax())], probabilities=dict(zip(classifier.labels, row, strict=True))
        )
        for row in np.concatenate(chunks).astype(float)
    ]
    return json_response(ClassifyAnswer(results=results, adapter=adapter, took_ms=milliseconds_since(started)))


def _classifier(parts: Parts, adapter: str | None) -> "tuple[str, Classifier]":
    found = parts.classifiers.of(adapter)
    lap(MODEL)
    return found
