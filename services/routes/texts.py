"""Texts to vectors, and texts to items."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from fastapi import Response

from recsys.ranking.stages import ENCODE
from recsys_client.schemas.problems import Code
from recsys_client.schemas.recommend import FromModel
from recsys_client.schemas.texts import EmbedAnswer, EmbedRequest, FoundItem, SearchAnswer, SearchRequest
from services.edge.auth import guarded_router, scoped
from services.edge.bodies import A_QUESTION, TEXTS
from services.edge.context import MODEL, end_stage
from services.edge.problems import Refused
from services.worker.answering import ERRORS, answering, json_response, milliseconds_since, refusing
from services.worker.state import Worker, WorkerOfApp

if TYPE_CHECKING:
    from recsys.serving.new_texts import Encoder
    from recsys.serving.recommender import Recommender

PIECE_TEXTS, PIECE_CHARACTERS = 16, 4_096  # encoded at once; a search of another key waits for so much at most
router = guarded_router("texts")
T = TypeVar("T")


@router.post("/v1/embed", response_model=EmbedAnswer, **scoped("recommend", *ERRORS, body=TEXTS))
async def embed(request: EmbedRequest, worker: WorkerOfApp) -> Response:
    """Return texts as vectors, as the items' texts are encoded: with the adapter of the generation that answers.

    After a switch the generation before answers until the new one's encoder is loaded.
    """
    started = time.perf_counter()
    recommender, encoder = await worker.encoding.run(_encoder, worker, request)
    made = [await worker.encoding.run(timed, encoder.encode, piece) for piece in in_pieces(request.texts)]
    vectors = np.concatenate(made) / math.sqrt(2)  # two unit vectors side by side make one of this length
    answer = EmbedAnswer(
        model=recommender.manifest.config.adapter.lora.base,
        dimensions=vectors.shape[1],
        vectors=vectors.tolist(),
        generation=recommender.generation_id,
        adapter=encoder.adapter_id,
        took_ms=milliseconds_since(started),
    )
    return json_response(answer)


@router.post("/v1/search", response_model=SearchAnswer, **scoped("recommend", *ERRORS, body=A_QUESTION))
async def search(request: SearchRequest, worker: WorkerOfApp) -> Response:
    """Find items by free text: by meaning and by words, fused; an item whose title is the text comes first.

    By words alone, 503 where their index cannot be read; by both, the answer is then by meaning, and says so.

    After a switch the generation before answers until the new one's encoder is loaded.
    """
    return json_response(await worker.encoding.run(_search, worker, request))


def in_pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Return texts in their order, a few at a time: between two pieces others have their turn."""
    piece: list[str] = []
    for text in texts:
        if piece and (len(piece) == PIECE_TEXTS or sum(map(len, piece)) + len(text) > PIECE_CHARACTERS):
            yield piece
            piece = []
        piece.append(text)
    yield piece


def timed(encode: Callable[[Sequence[str]], T], texts: Sequence[str]) -> T:
    """Encode texts as a stage of the request."""
    result = encode(texts)
    end_stage(ENCODE)
    return result


def _answering(worker: Worker, asked: FromModel) -> "Recommender":
    if asked.adapter is None and asked.generation is None:
        return worker.generation.for_texts()
    return answering(worker, asked)


def _encoder(worker: Worker, asked: EmbedRequest) -> "tuple[Recommender, Encoder]":
    recommender = _answering(worker, asked)
    encoder = worker.encoders.of(recommender.generation_id)
    end_stage(MODEL)
    return recommender, encoder


def _search(worker: Worker, request: SearchRequest) -> SearchAnswer:
    from recsys.store.index import UnreadableError  # brings LanceDB, which BentoML's supervisor does not need

    started = time.perf_counter()
    recommender = _answering(worker, request)
    found_in = worker.encoders.search_of(recommender)
    end_stage(MODEL)
    with refusing(recommender, request.fields):
        try:
            hits = found_in.search(
                request.query, k=request.k, offset=request.offset, filter=request.filter, mode=request.mode,
                fields=request.fields, end_stage=end_stage,
            )  # fmt: skip
        except UnreadableError as error:
            detail = f"Words cannot be looked up at the moment: {error}. Ask by meaning, or again later."
            raise Refused(Code.UNAVAILABLE, detail, {"Retry-After": "10"}) from None
    return SearchAnswer(
        items=[FoundItem.model_validate(hit) for hit in hits.items],
        fallback=hits.fallback,
        generation=hits.generation,
        adapter=hits.adapter,
        search_adapter=hits.search_adapter,
        took_ms=milliseconds_since(started),
    )
