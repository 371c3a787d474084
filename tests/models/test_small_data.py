"""Few texts and few events are gone through in fewer steps; from a size on, in as many as ever."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.sequences import Sequences
from recsys.models.adapter import LEAST_ROUNDS, LEAST_WARM_STEPS, WARM_STEPS, adapter_rounds, warm_steps
from recsys.models.encoder.tokens import Tokens


def texts(count: int) -> Tokens:
    return Tokens([np.zeros(1, np.int64)] * count, 0)


def events(count: int) -> Sequences:
    return Sequences(np.zeros(count, np.int32), np.array([0, count]))


@pytest.mark.parametrize(("count", "rounds"), [(1_024, 12), (1_682, 12), (3_072, 12), (4_000, 15), (12_101, 47)])
def test_a_large_catalogue_gets_the_rounds_that_it_always_had(count: int, rounds: int) -> None:
    assert adapter_rounds(texts(count)) == rounds


@given(st.integers(1, 5_000))
def test_more_texts_and_more_events_never_get_fewer_steps(count: int) -> None:
    assert LEAST_ROUNDS <= adapter_rounds(texts(count)) <= adapter_rounds(texts(count + 1))
    assert LEAST_WARM_STEPS <= warm_steps(events(8 * count)) <= warm_steps(events(8 * count + 8)) <= WARM_STEPS


def test_few_of_both_are_gone_through_in_few_steps() -> None:
    assert (adapter_rounds(texts(200)), warm_steps(events(3_000))) == (LEAST_ROUNDS, 23)
    assert warm_steps(events(19_200)) == WARM_STEPS
