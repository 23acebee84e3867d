"""A profile of the strategies, learned from a trace."""

from collections.abc import Sequence

from service.rerank.strategies.profile import StrategyProfile
from training.experiments.replay.kinds import learn
from training.experiments.replay.prefixes import checkpoint_of, learn_keep
from training.samples.trace import TracedPrompt, check_pools, has_prefixes

Fold = tuple[StrategyProfile, Sequence[TracedPrompt]]


def learn_profile(prompts: Sequence[TracedPrompt], *, best_of: int, miss: float) -> StrategyProfile:
    """What rewards to expect, and, where the trace has rewards of prefixes, how many `prune` has to keep of `best_of`.

    miss: how often a checkpoint may lose the best candidate. Raises ValueError where all rewards are equal, or
    where some prompt has fewer candidates than `best_of`.
    """
    check_pools(prompts, best_of)
    prior = learn([[candidate.reward for candidate in prompt.candidates] for prompt in prompts])
    if not has_prefixes(prompts):
        return StrategyProfile.of({"prior": prior})
    step = checkpoint_of(prompts)
    keep = learn_keep(prompts, best_of=best_of, checkpoint_tokens=step, miss=miss)
    return StrategyProfile.of({"checkpoint_tokens": step, "keep": keep, "prior": prior})


def cross_fitted(prompts: Sequence[TracedPrompt], *, best_of: int, miss: float) -> list[Fold]:
    """Each half of the prompts with the profile that was learned on the other. Raises ValueError for fewer than two."""
    if len(prompts) < 2:
        raise ValueError("to learn a profile and to judge it needs at least two prompts")
    halves = prompts[::2], prompts[1::2]
    return [(learn_profile(other, best_of=best_of, miss=miss), half) for half, other in (halves, halves[::-1])]
