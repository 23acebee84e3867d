"""Profiles of the strategies, learned from a trace."""

from dataclasses import replace

import pytest

from service.rerank.strategies.adaptive import AdaptiveOptions
from service.rerank.strategies.prune import PruneOptions
from tests.training.experiments.replay.pools import STEP, pool
from training.experiments.replay.kinds import learn
from training.experiments.replay.learn import cross_fitted, learn_profile


def test_what_a_trace_can_teach_is_learned_and_the_rest_keeps_its_default() -> None:
    prompts = pool(4, 6)
    profile = learn_profile(prompts, best_of=4, miss=0.1)
    prior = learn([[candidate.reward for candidate in prompt.candidates] for prompt in prompts])
    assert profile.complete(AdaptiveOptions()) == AdaptiveOptions(prior=prior)
    assert profile.complete(PruneOptions()).checkpoint_tokens == STEP
    assert profile.complete(PruneOptions()).keep != PruneOptions().keep


def test_without_rewards_of_prefixes_nothing_is_learned_of_pruning() -> None:
    blind = [
        replace(prompt, candidates=tuple(replace(candidate, prefix_rewards=()) for candidate in prompt.candidates))
        for prompt in pool(4, 6)
    ]
    assert learn_profile(blind, best_of=4, miss=0.1).complete(PruneOptions()) == PruneOptions()


def test_each_half_is_played_with_what_the_other_taught() -> None:
    prompts = pool(6, 6)
    folds = cross_fitted(prompts, best_of=4, miss=0.1)
    assert [half for _, half in folds] == [prompts[::2], prompts[1::2]]
    assert folds[0][0] != folds[1][0]
    with pytest.raises(ValueError, match="at least two prompts"):
        cross_fitted(prompts[:1], best_of=4, miss=0.1)
