"""Texts to labels."""

import time
from typing import TYPE_CHECKING

import numpy as np
from fastapi import Response

from recsys_client.schemas.classify import Classified, ClassifyAnswer, ClassifyRequest
from services.edge.auth import guarded_router, scoped
from services.edge.bodies import TEXTS
from services.edge.context import MODEL, end_stage
from services.routes.texts import in_pieces, timed
from services.worker.answering import ERRORS, json_response, milliseconds_since
from services.worker.state import Worker, WorkerOfApp

if TYPE_CHECKING:
    from recsys.models.encoder.classifier import Classifier

router = guarded_router("texts")


@router.post("/v1/classify", response_model=ClassifyAnswer, **scoped("recommend", *ERRORS, body=TEXTS))
async def classify(request: ClassifyRequest, worker: WorkerOfApp) -> Response:
    """Return what each text is, with probabilities, by a classifier that `recsys classify` has trained.

    Without ``adapter`` the newest classifier answers, or the one before until it is loaded. A text's probabilities do
    not depend on the texts beside it.
    """
    started = time.perf_counter()
    adapter, classifier = await worker.encoding.run(_classifier, worker, request.adapter)
    made = [await worker.encoding.run(timed, classifier.probabilities, piece) for piece in in_pieces(request.texts)]
    results = [
        Classified(
            label=classifier.labels[int(row.argmax())], probabilities=dict(zip(classifier.labels, row, strict=True))
        )
        for row in np.concatenate(made).astype(float)
    ]
    return json_response(ClassifyAnswer(results=results, adapter=adapter, took_ms=milliseconds_since(started)))


def _classifier(worker: Worker, adapter: str | None) -> "tuple[str, Classifier]":
    found = worker.classifiers.of(adapter)
    end_stage(MODEL)
    return found
