"""What is refused, by name, where no reward model is served."""

from dataclasses import replace
from typing import Any

import pytest

from service.rerank.selection import FREE, PICKS, Selection
from service.rerank.selection.served_reward import check_free_selection
from tests.service.rerank.asks import DEFAULT_4, read, refusal

FREE_4 = replace(DEFAULT_4, has_reward_model=False, selection=FREE)


@pytest.mark.parametrize(
    ("rerank", "named"),
    [
        ({"selection": "argmax"}, "rerank.selection"),
        ({"selection": "soft"}, "rerank.selection"),
        ({"selection": "weighted_vote"}, "rerank.selection"),
        ({"selection": {"pick": "majority", "heads": "worst"}}, "rerank.selection.heads"),
        ({"selection": {"pick": "majority", "length_calibrated": True}}, "rerank.selection.length_calibrated"),
        ({"selection": {"pick": "majority", "likelihood_weight": 1.0}}, "rerank.selection.likelihood_weight"),
        ({"strategy": "prune"}, "rerank.strategy"),
        ({"strategy": "adaptive"}, "rerank.strategy"),
        ({"checkpoint_tokens": 8}, "rerank.checkpoint_tokens"),
        ({"target_reward": 1.0}, "rerank.target_reward"),
        ({"min_reward": 1.0}, "rerank.min_reward"),
        ({"reward_weights": {"a": 1.0}}, "rerank.reward_weights"),
        ({"score_reasoning": True}, "rerank.score_reasoning"),
    ],
)
def test_what_needs_a_reward_is_refused_by_its_name(rerank: dict[str, Any], named: str) -> None:
    assert refusal({"rerank": rerank}, limits=FREE_4) == named


@pytest.mark.parametrize(
    "rerank", [None, {}, {"stop_after": 2, "deadline_ms": 9}, {"trace": True}, {"strategy": "greedy"}]
)
def test_anything_else_is_read_as_ever(rerank: dict[str, Any] | None) -> None:
    ask = read({"rerank": rerank}, limits=FREE_4)
    assert (ask.selection, ask.has_reward_model) == (FREE, False)


def test_the_free_picks_are_these() -> None:
    assert [pick.name for pick in PICKS if pick.free] == [
        "majority",
        "likelihood",
        "self_certainty",
        "shortest",
        "random",
    ]
    for pick in (pick for pick in PICKS if pick.free):
        check_free_selection(Selection(pick=pick()))
