"""By what the policy thinks of its answers."""

import pytest

from service.rerank.selection import Selection, select
from service.rerank.selection.picks import Likelihood
from tests.service.rerank.selection.crowds import likely


def test_the_mean_is_over_tokens_and_the_sum_prefers_short_answers() -> None:
    candidates = likely((-4.0, 2), (-6.0, 6), (-5.0, 4))
    mean = select(candidates, 3, Selection(pick=Likelihood()))
    assert mean.selected == (1, 2, 0)
    assert mean.utilities == {0: -2.0, 1: -1.0, 2: -1.25}
    assert select(candidates, 3, Selection(pick=Likelihood(over_tokens="sum"))).selected == (0, 2, 1)


def test_a_candidate_without_a_log_probability_comes_last_whatever_its_reward() -> None:
    candidates = likely((None, 2), (-6.0, 6), rewards=(9.0, None))
    choice = select(candidates, 2, Selection(pick=Likelihood()))
    assert (choice.selected, choice.utilities) == ((1, 0), {1: -1.0})


@pytest.mark.parametrize("knob", ["heads", "length_calibrated", "likelihood_weight"])
def test_what_is_about_rewards_is_not_read(knob: str) -> None:
    value = {"heads": "worst", "length_calibrated": True, "likelihood_weight": 0.5}[knob]
    with pytest.raises(ValueError, match=rf"(?s){knob}.*pick likelihood reads no reward"):
        Selection.model_validate({"pick": "likelihood", knob: value})
