"""Texts to labels."""

import time

import numpy as np
from fastapi import Response

from services.auth import guarded_router, scoped
from services.parts import PartsOfApp, json_response, milliseconds_since
from services.routes.recommend import ERRORS
from services.routes.texts import CHUNK
from services.schemas.classify import Classified, ClassifyAnswer, ClassifyRequest

router = guarded_router()


@router.post("/v1/classify", response_model=ClassifyAnswer, **scoped("recommend", *ERRORS))
async def classify(request: ClassifyRequest, parts: PartsOfApp) -> Response:
    """Return what each text is, with probabilities, by a classifier that `recsys classify` has trained.

    The first text after a start waits some seconds for the classifier to be loaded. A text's probabilities do not
    depend on the texts beside it.
    """
    started = time.perf_counter()
    adapter, classifier = await parts.encoding.run(parts.classifiers.of, request.adapter)
    chunks = []
    for start in range(0, len(request.texts), CHUNK):  # between two chunks a search has its turn
        chunk = request.texts[start : start + CHUNK]
        chunks.append(await parts.encoding.run(classifier.probabilities, chunk))
    results = [
        Classified(
            label=classifier.labels[int(row.argmax())], probabilities=dict(zip(classifier.labels, row, strict=True))
        )
        for row in np.concatenate(chunks).astype(float)
    ]
    return json_response(ClassifyAnswer(results=results, adapter=adapter, took_ms=milliseconds_since(started)))
