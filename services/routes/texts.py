"""Texts to vectors, and texts to items."""

import math
import time

from fastapi import Response

from services.auth import guarded_router, scoped
from services.parts import Parts, PartsOfApp, answering, in_thread, json_response, milliseconds_since
from services.routes.recommend import ERRORS, refusing
from services.schemas.texts import EmbedAnswer, EmbedRequest, FoundItem, SearchAnswer, SearchRequest

router = guarded_router()


@router.post("/v1/embed", response_model=EmbedAnswer, **scoped("recommend", *ERRORS))
async def embed(request: EmbedRequest, parts: PartsOfApp) -> Response:
    """Return texts as vectors, as the items' texts are encoded: with the adapter of the generation that answers.

    The first text after a start, or after a switch, waits some seconds for the encoder to be loaded.
    """
    return json_response(await in_thread(parts.encoding, _embed, parts, request))


@router.post("/v1/search", response_model=SearchAnswer, **scoped("recommend", *ERRORS))
async def search(request: SearchRequest, parts: PartsOfApp) -> Response:
    """Find items by free text: by meaning and by words, fused; an item whose title is the text comes first."""
    return json_response(await in_thread(parts.encoding, _search, parts, request))


def _embed(parts: Parts, request: EmbedRequest) -> EmbedAnswer:
    started = time.perf_counter()
    recommender = answering(parts, request.adapter)
    encoder = parts.encoders.of(recommender)
    vectors = encoder.encode(request.texts) / math.sqrt(2)  # two unit vectors side by side make one of this length
    return EmbedAnswer(
        model=recommender.manifest["settings"]["adapter"]["base"],
        dimensions=vectors.shape[1],
        vectors=vectors.tolist(),
        generation=recommender.generation_id,
        adapter=encoder.adapter_id,
        took_ms=milliseconds_since(started),
    )


def _search(parts: Parts, request: SearchRequest) -> SearchAnswer:
    started = time.perf_counter()
    recommender = answering(parts, request.adapter)
    found_in = parts.encoders.search_of(recommender)
    with refusing(recommender, request.fields):
        hits = found_in.search(request.query, k=request.k, filter=request.filter, fields=request.fields)
    return SearchAnswer(
        items=[FoundItem.model_validate(hit) for hit in hits.items],
        fallback=hits.fallback,
        generation=hits.generation,
        adapter=hits.adapter,
        took_ms=milliseconds_since(started),
    )
