"""The `rerank` object of a request: what it may hold, and the field by which anything else is refused."""

from dataclasses import replace
from typing import Any

import pytest

from service.rerank.errors import InvalidRequest
from service.rerank.options import RerankOptions, read_options
from service.rerank.selection import Selection
from service.rerank.selection.heads import Variance
from service.rerank.selection.picks import Majority, WeightedVote
from service.rerank.strategies.best_of_n import BestOfNOptions
from service.rerank.strategies.prune import PruneOptions
from tests.service.rerank.asks import DEFAULT_4, ENSEMBLE, read, refusal


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
    assert refusal({"rerank": rerank}) == field


def test_an_unknown_rerank_key_is_told_the_known_ones() -> None:
    known = "target_reward, deadline_ms, selection, reward_weights, min_reward, incomplete"
    with pytest.raises(InvalidRequest, match=known):
        read({"rerank": {"deadline": 5}})


@pytest.mark.parametrize(
    ("rerank", "field"),
    [
        ({"selection": "best"}, "rerank.selection.pick"),
        ({"selection": 1}, "rerank.selection"),
        ({"selection": {"pick": "soft", "tempo": 1}}, "rerank.selection.tempo"),
        ({"selection": {"pick": "soft", "temperature": 0}}, "rerank.selection.temperature"),
        ({"selection": {"pick": "soft", "temperature": "1"}}, "rerank.selection.temperature"),
        ({"selection": {"pick": "soft", "temperature": float("nan")}}, "rerank.selection.temperature"),
        ({"selection": {"pick": "soft", "temperature": 10**400}}, "rerank.selection.temperature"),
        ({"selection": {"temperature": 1}}, "rerank.selection.temperature"),
        ({"selection": {"pick": "soft", "beta": 1}}, "rerank.selection.beta"),
        ({"selection": {"pick": "pessimistic", "beta": -1}}, "rerank.selection.beta"),
        ({"selection": {"pick": "pessimistic", "temperature": 1}}, "rerank.selection.temperature"),
        ({"selection": {"pick": "soft", "answer": "boxed"}}, "rerank.selection.answer"),
        ({"selection": {"pick": "majority", "temperature": 1}}, "rerank.selection.temperature"),
        ({"selection": {"pick": "majority", "answer": "a+"}}, "rerank.selection.answer"),
        ({"selection": {"heads": "worst", "variance_weight": 1}}, "rerank.selection.variance_weight"),
        ({"selection": {"length_calibrated": 1}}, "rerank.selection.length_calibrated"),
        ({"selection": {"heads": "worst", "pick": "soft"}, "reward_weights": {"short": 1}}, "rerank.reward_weights"),
        ({"reward_weights": {"kind": 1}}, "rerank.reward_weights.kind"),
        ({"reward_weights": {"short": 0, "helpful": 0}}, "rerank.reward_weights"),
        ({"reward_weights": {}}, "rerank.reward_weights"),
        ({"reward_weights": {"short": float("inf")}}, "rerank.reward_weights.short"),
        ({"reward_weights": {"short": "1"}}, "rerank.reward_weights.short"),
        ({"min_reward": "high"}, "rerank.min_reward"),
        ({"min_reward": float("-inf")}, "rerank.min_reward"),
    ],
)
def test_a_fault_in_how_to_select_is_refused_by_its_path(rerank: Any, field: str) -> None:
    assert refusal({"rerank": rerank}, limits=ENSEMBLE) == field


def test_a_string_names_a_pick_and_an_object_its_knobs() -> None:
    assert read({"rerank": {"selection": "majority"}}).selection == Selection(pick=Majority())
    knobs: dict[str, Any] = {
        "pick": "weighted_vote",
        "heads": "variance",
        "variance_weight": 2,
        "temperature": 3,
        "answer": "boxed",
    }
    expected = Selection(pick=WeightedVote(temperature=3, answer="boxed"), heads=Variance(variance_weight=2))
    assert read({"rerank": {"selection": knobs}}, limits=ENSEMBLE).selection == expected


def test_lone_surrogates_are_refused_not_crashed_on() -> None:
    assert refusal(b'{"rerank": {"strategy": "\\ud800"}}') == "rerank.strategy"
    with pytest.raises(InvalidRequest):
        read(b'{"rerank": {"\\ud800": 1}}')


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
    assert refusal({"rerank": {"strategy": strategy, **rerank}}) == f"rerank.{knob}"
    assert refusal({"rerank": rerank}, limits=replace(DEFAULT_4, default_strategy=strategy)) == f"rerank.{knob}"
    with pytest.raises(InvalidRequest, match=f"{knob} belongs to strategy .*; this request has {strategy}"):
        read({"rerank": {"strategy": strategy, **rerank}})


def test_a_knob_that_is_null_is_silence() -> None:
    assert read({"rerank": {"keep": None, "wave": None}}).options.strategy == BestOfNOptions()
    assert read({"rerank": {"strategy": "prune", "keep": None}}).options.strategy.model_fields_set == set()


def test_one_share_is_a_list_of_one() -> None:
    assert read({"rerank": {"strategy": "prune", "keep": 1}}).options.strategy == PruneOptions(keep=[1.0])
    several = read({"rerank": {"strategy": "prune", "keep": [0.5, 0.75]}}).options.strategy
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
        ({"strategy": "prune", "checkpoint_tokens": 10**27}, "rerank.checkpoint_tokens"),
        ({"checkpoint_tokens": 10**27}, "rerank.checkpoint_tokens"),
        ({"strategy": "adaptive", "wave": 0}, "rerank.wave"),
        ({"strategy": "adaptive", "price": 0}, "rerank.price"),
        ({"stop_after": 0}, "rerank.stop_after"),
        ({"target_reward": "high"}, "rerank.target_reward"),
        ({"trace": 1}, "rerank.trace"),
    ],
)
def test_a_fault_in_a_strategys_knobs_is_refused_by_its_path(rerank: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read({"rerank": rerank})
    assert caught.value.param == field
    assert field in str(caught.value)


def options_of(rerank: Any, default: str = "best_of_n") -> RerankOptions:
    return read_options(rerank, default)


def test_nothing_asks_for_the_default_strategy() -> None:
    assert options_of(None) == options_of({}) == RerankOptions()
    assert options_of(None, "prune") == RerankOptions(strategy=PruneOptions())
