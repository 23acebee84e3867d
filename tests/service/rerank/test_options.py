"""The `rerank` object: what it may hold, and how what it may not hold is refused."""

from typing import Any

import pytest

from service.rerank.errors import InvalidRequest
from service.rerank.options import RerankOptions, read_options
from service.rerank.strategies.best_of_n import BestOfNOptions
from service.rerank.strategies.prune import PruneOptions


def read(rerank: Any, default: str = "best_of_n") -> RerankOptions:
    return read_options(rerank, default)


def refusal(rerank: Any, default: str = "best_of_n") -> str:
    """The field that the refusal names; its message names it too."""
    with pytest.raises(InvalidRequest) as caught:
        read(rerank, default)
    assert caught.value.param is not None
    assert caught.value.param in str(caught.value)
    return caught.value.param


@pytest.mark.parametrize(
    ("rerank", "field"),
    [
        ([], "rerank"),
        ("best_of_n", "rerank"),
        (True, "rerank"),
        ({"straregy": "best_of_n"}, "rerank.straregy"),
        ({"strategy": "magic"}, "rerank.strategy"),
        ({"strategy": None}, "rerank.strategy"),
        ({"deadline_ms": 0}, "rerank.deadline_ms"),
        ({"deadline_ms": -5}, "rerank.deadline_ms"),
        ({"deadline_ms": "5"}, "rerank.deadline_ms"),
        ({"deadline_ms": 5.5}, "rerank.deadline_ms"),
        ({"deadline_ms": True}, "rerank.deadline_ms"),
        ({"return_candidates": "yes"}, "rerank.return_candidates"),
        ({"return_candidates": 1}, "rerank.return_candidates"),
        ({"fixed_best_of": 1}, "rerank.fixed_best_of"),
    ],
)
def test_a_fault_in_the_rerank_object_is_refused_by_its_path(rerank: Any, field: str) -> None:
    assert refusal(rerank) == field


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    known = "target_reward, deadline_ms, selection, reward_weights, min_reward, return_candidates, trace"
    with pytest.raises(InvalidRequest, match=known):
        read({"deadline": 5})


def test_nothing_asks_for_the_default_strategy() -> None:
    assert read(None) == read({}) == RerankOptions()
    assert read(None, "prune") == RerankOptions(strategy=PruneOptions())


def test_lone_surrogates_are_refused_not_crashed_on() -> None:
    assert refusal({"strategy": "\ud800"}) == "rerank.strategy"
    with pytest.raises(InvalidRequest):
        read({"\ud800": 1})


# -- strategies


@pytest.mark.parametrize(
    ("rerank", "strategy"),
    [
        ({"keep": 0.5}, "best_of_n"),
        ({"keep": [0.5, 1]}, "adaptive"),
        ({"wave": 2}, "best_of_n"),
        ({"wave": 2}, "prune"),
        ({"price": 0.1}, "prune"),
        ({"checkpoint_tokens": 8}, "adaptive"),
    ],
)
def test_a_knob_that_the_strategy_does_not_read_is_refused_by_name(rerank: dict[str, Any], strategy: Any) -> None:
    (knob,) = rerank
    assert refusal({"strategy": strategy, **rerank}) == f"rerank.{knob}"
    assert refusal(rerank, strategy) == f"rerank.{knob}"
    with pytest.raises(InvalidRequest, match=f"{knob} belongs to strategy .*; this request has {strategy}"):
        read({"strategy": strategy, **rerank})


def test_a_knob_that_is_null_is_silence() -> None:
    assert read({"keep": None, "wave": None}).strategy == BestOfNOptions()
    assert read({"strategy": "prune", "keep": None}).strategy.model_fields_set == set()


def test_one_share_is_a_list_of_one() -> None:
    assert read({"strategy": "prune", "keep": 1}).strategy == PruneOptions(keep=[1.0])
    several = read({"strategy": "prune", "keep": [0.5, 0.75]}).strategy
    assert several == PruneOptions(keep=[0.5, 0.75])


@pytest.mark.parametrize(
    ("rerank", "field"),
    [
        ({"strategy": "worst_of_n"}, "rerank.strategy"),
        ({"strategy": "adaptive", "prior": {}}, "rerank.prior"),
        ({"strategy": "prune", "keep": 0}, "rerank.keep.0"),
        ({"strategy": "prune", "keep": True}, "rerank.keep.0"),
        ({"strategy": "prune", "keep": [0.5, 1.5]}, "rerank.keep.1"),
        ({"strategy": "prune", "keep": []}, "rerank.keep"),
        ({"strategy": "prune", "keep": "half"}, "rerank.keep"),
        ({"strategy": "prune", "checkpoint_tokens": 0}, "rerank.checkpoint_tokens"),
        ({"strategy": "adaptive", "wave": 0}, "rerank.wave"),
        ({"strategy": "adaptive", "price": 0}, "rerank.price"),
        ({"stop_after": 0}, "rerank.stop_after"),
        ({"target_reward": "high"}, "rerank.target_reward"),
        ({"trace": 1}, "rerank.trace"),
    ],
)
def test_a_fault_in_a_strategys_knobs_is_refused_by_its_path(rerank: Any, field: str) -> None:
    assert refusal(rerank) == field
