"""The reward itself."""

from service.rerank.selection.heads import Mean
from service.rerank.strategies import Candidate


def test_a_candidate_is_worth_its_reward_and_one_without_is_left_out() -> None:
    candidates = [Candidate(0, reward=0.5, rewards={"a": 9.0, "b": 1.0}), Candidate(1, unscored=True)]
    assert Mean().worth(candidates, 2.0) == {0: 0.5}
