"""What is read of a candidate's log-probabilities, and what is left of them for the client."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput
from vllm.sampling_params import SamplingParams

from service.rerank.selection.picks.self_certainty import from_top
from service.rerank.strategies.base import Quantity
from service.vllm.sampling.quantities import Quantities

LOGPROB: frozenset[Quantity] = frozenset({"logprob"})
ALL: frozenset[Quantity] = LOGPROB | {"self_certainty"}
# By token id: the first of each position was drawn.
POSITIONS = [{7: (-3.0, 3), 1: (-0.2, 1), 2: (-1.9, 2)}, {1: (-0.1, 1), 2: (-2.5, 2), 3: (-4.5, 3)}]


@dataclass
class Model:
    """Stands for vLLM's ModelConfig."""

    max_logprobs: int = 3
    vocabulary: int = 10

    def get_vocab_size(self) -> int:
        return self.vocabulary


def completion(positions: list[dict[int, tuple[float, int]]] = POSITIONS, **changes: Any) -> CompletionOutput:
    logprobs = [{token: Logprob(value, rank) for token, (value, rank) in one.items()} for one in positions]
    drawn = [next(iter(one)) for one in positions]
    total = sum(one[token][0] for one, token in zip(positions, drawn, strict=True))
    fields = {"token_ids": drawn, "cumulative_logprob": total, "logprobs": logprobs, **changes}
    return CompletionOutput(index=0, text="", **fields)


@pytest.mark.parametrize(
    ("wanted", "asked", "model", "expected"),
    [
        (frozenset(), None, Model(), None),
        (frozenset(), 2, Model(), 2),
        (LOGPROB, None, Model(), 0),
        (LOGPROB, 2, Model(), 2),
        (ALL, None, Model(), 3),
        (ALL, 2, Model(), 3),
        (ALL, 5, Model(8), 8),
        (ALL, 9, Model(8), 9),
        (ALL, None, Model(50), 10),
        (ALL, None, Model(-1, 50_000), 20),
        (ALL, -1, Model(-1), -1),
    ],
)
def test_the_engine_is_asked_for_what_client_and_plan_want_together(
    wanted: Any, asked: int | None, model: Model, expected: int | None
) -> None:
    params = SamplingParams(logprobs=asked)
    Quantities(wanted, params, model).ask(params)
    assert params.logprobs == expected


def test_tokens_that_the_client_names_leave_room_for_the_sum_alone() -> None:
    params = SamplingParams(logprob_token_ids=[4, 5])
    quantities = Quantities(ALL, params, Model())
    quantities.ask(params)
    assert (params.logprobs, params.logprob_token_ids) == (None, [4, 5])
    assert quantities.read(completion(), 0, 0.0) == {"logprob": pytest.approx(-3.1)}
    given = completion()
    quantities.leave_out(given)
    assert given == completion()


def test_the_sum_is_of_what_has_come_since_and_the_mean_over_its_tokens() -> None:
    quantities = Quantities(ALL, SamplingParams(), Model(max_logprobs=2))
    first, second = from_top([-0.2, -1.9], 10), from_top([-0.1, -2.5], 10)  # the drawn 7 is not of the top 2
    read = quantities.read(completion(), 0, 0.0)
    assert read == pytest.approx({"logprob": -3.1, "self_certainty": (first + second) / 2})
    assert quantities.read(completion(), 1, -3.0) == pytest.approx({"logprob": -0.1, "self_certainty": second})


def test_a_distribution_that_the_client_asked_for_whole_is_read_whole() -> None:
    whole = [{token: (math.log(value), 1) for token, value in enumerate((0.5, 0.3, 0.2))}]
    quantities = Quantities(ALL, SamplingParams(logprobs=-1), Model(-1, 3))
    expected = -sum(math.log(3 * value) for value in (0.5, 0.3, 0.2)) / 3
    assert quantities.read(completion(whole), 0, 0.0)["self_certainty"] == pytest.approx(expected)


def test_what_nobody_wants_is_not_read() -> None:
    assert Quantities(frozenset(), SamplingParams(logprobs=1), None).read(completion(), 0, 0.0) == {}


def test_a_client_that_asked_for_none_gets_none() -> None:
    given = completion()
    Quantities(ALL, SamplingParams(), Model()).leave_out(given)
    assert (given.logprobs, given.cumulative_logprob) == (None, None)


@pytest.mark.parametrize(("asked", "left"), [(0, [[7], [1]]), (1, [[7, 1], [1]]), (2, [[7, 1, 2], [1, 2]])])
def test_a_client_gets_the_drawn_token_and_as_many_as_it_asked_for(asked: int, left: list[list[int]]) -> None:
    given = completion()
    Quantities(ALL, SamplingParams(logprobs=asked), Model()).leave_out(given)
    assert given.logprobs is not None
    assert [list(position) for position in given.logprobs] == left
    assert given.cumulative_logprob == pytest.approx(-3.1)
