"""Few texts are gone through in fewer rounds; from a size on, in as many as ever."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.models.adapter import LEAST_ROUNDS, adapter_rounds
from recsys.models.encoder.tokens import Tokens


def texts(count: int) -> Tokens:
    return Tokens([np.zeros(1, np.int64)] * count, 0)


@pytest.mark.parametrize(("count", "rounds"), [(1_024, 12), (1_682, 12), (3_072, 12), (4_000, 15), (12_101, 47)])
def test_a_large_catalogue_gets_the_rounds_that_it_always_had(count: int, rounds: int) -> None:
    assert adapter_rounds(texts(count)) == rounds


@given(st.integers(1, 5_000))
def test_more_texts_never_get_fewer_rounds(count: int) -> None:
    assert LEAST_ROUNDS <= adapter_rounds(texts(count)) <= adapter_rounds(texts(count + 1))


def test_few_are_gone_through_in_few() -> None:
    assert adapter_rounds(texts(200)) == LEAST_ROUNDS
