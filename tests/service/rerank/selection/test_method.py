"""A selection, from JSON and back."""

import json
from typing import Any

import pytest

from service.rerank.selection import ARGMAX, FREE, Selection
from service.rerank.selection.heads import Variance, Worst
from service.rerank.selection.picks import Likelihood, Majority, Pessimistic, WeightedVote

DESCRIBED: list[tuple[Selection, dict[str, Any]]] = [
    (ARGMAX, {"pick": "argmax"}),
    (Selection(pick=Pessimistic()), {"pick": "pessimistic", "beta": 0.1}),
    (
        Selection(pick=WeightedVote(answer="boxed"), heads=Variance(), length_calibrated=True),
        {
            "pick": "weighted_vote",
            "heads": "variance",
            "length_calibrated": True,
            "variance_weight": 0.5,
            "temperature": 0.5,
            "answer": "boxed",
        },
    ),
    (Selection(heads=Worst()), {"pick": "argmax", "heads": "worst"}),
]


@pytest.mark.parametrize(("selection", "described"), DESCRIBED)
def test_it_describes_itself_by_what_is_read(selection: Selection, described: dict[str, Any]) -> None:
    assert list(selection.described().items()) == list(described.items())
    assert Selection.model_validate(described) == selection
    assert Selection.of_setting(str(selection)) == selection


def test_a_setting_is_a_name_json_or_an_object() -> None:
    given = {"pick": "majority", "answer": "exact"}
    expected = Selection(pick=Majority(answer="exact"))
    assert Selection.of_setting("majority") == Selection(pick=Majority())
    assert Selection.of_setting(" " + json.dumps(given)) == Selection.of_setting(given) == expected


def test_it_is_by_reward_unless_heads_or_length_change_what_a_candidate_is_worth() -> None:
    assert Selection(pick=Majority()).by_reward
    assert not Selection(heads=Worst()).by_reward
    assert not Selection(length_calibrated=True).by_reward


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"pick": Worst()}, "pick"),
        ({"heads": Majority()}, "heads"),
        ({"pick": {"name": "majority"}}, "pick"),
        ({"pick": Majority(), "beta": 1}, "beta"),
    ],
)
def test_what_is_no_variant_of_its_field_is_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Selection.model_validate(wrong)


def test_what_it_reads_of_the_engine_depends_on_whether_rewards_break_ties() -> None:
    assert Selection(pick=Majority()).quantities(scored=True) == set()
    assert Selection(pick=Majority()).quantities(scored=False) == {"logprob"}
    assert Selection(likelihood_weight=1.0).quantities(scored=True) == {"logprob"}
    assert not Selection(likelihood_weight=1.0).by_reward
    assert Selection(pick=Likelihood(), likelihood_weight=0.0) == FREE


def test_a_combined_worth_is_described_and_needs_a_reward() -> None:
    combined = Selection(pick=Majority(), likelihood_weight=0.25)
    assert combined.described() == {"pick": "majority", "likelihood_weight": 0.25, "answer": "last_line"}
    assert Selection.of_setting(str(combined)) == combined
    assert (combined.needs_reward, Selection(pick=Majority()).needs_reward, FREE.needs_reward) == (True, False, False)
