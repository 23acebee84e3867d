"""What the reward of a prefix says about that of the whole."""

import pytest

from service.rerank.strategies.prune import Prune
from training.experiments.replay.prefixes import checkpoint_of, learn_keep, prefix_ranks
from training.samples.trace import Traced, TracedPrompt


def prompt(*pairs: tuple[float, float], tokens: int = 16) -> TracedPrompt:
    """(reward at 8 tokens, final reward) of each candidate."""
    return TracedPrompt("p", tuple(Traced("", tokens, "stop", end, prefix_rewards=((8, at),)) for at, end in pairs))


def test_spearmans_correlation_by_hand() -> None:
    """Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15) = 0.6; at a quarter nothing was scored yet."""
    ranks = prefix_ranks([prompt((0.1, 5.0), (0.2, 1.0), (0.3, 9.0), (0.4, 8.0))])
    assert ranks is not None
    assert {share: found.value for share, found in ranks.correlation.items()} == pytest.approx({0.5: 0.6, 0.75: 0.6})


def test_ties_share_their_mean_rank() -> None:
    """Ranks 1.5 1.5 3 against 1 2 3."""
    ranks = prefix_ranks([prompt((0.0, 1.0), (0.0, 2.0), (1.0, 3.0))])
    assert ranks is not None
    assert ranks.correlation[0.5].value == pytest.approx(0.75**0.5)


def test_without_prefixes_there_is_nothing_to_rank() -> None:
    assert prefix_ranks([TracedPrompt("p", (Traced("", 9, "stop", 1.0),))]) is None


def test_the_checkpoint_is_the_usual_distance() -> None:
    grown = Traced("", 40, "stop", 1.0, prefix_rewards=((9, 0.0), (17, 0.0), (25, 0.0), (37, 0.0)))
    assert checkpoint_of([TracedPrompt("p", (grown,))]) == 8
    assert checkpoint_of([prompt((0.0, 1.0))]) == 8
    with pytest.raises(ValueError, match="--trace"):
        checkpoint_of([TracedPrompt("p", (Traced("", 9, "stop", 1.0),))])


def test_as_many_are_kept_as_come_before_the_best() -> None:
    """The best is always second at the checkpoint: two of four have to stay; then it is known."""
    prompts = [prompt((0.9, 1.0), (0.8, 2.0), (0.1, 0.0), (0.0, 0.5))] * 3
    keep = learn_keep(prompts, best_of=4, checkpoint_tokens=8, miss=0.0)
    strategy = Prune(4, 8, keep)
    assert [strategy.places(1), strategy.places(2)] == [2, 1]


def test_a_blind_reward_model_prunes_nothing() -> None:
    prompts = [prompt((0.9, 0.0), (0.8, 0.1), (0.1, 0.2), (0.0, 1.0))]
    assert learn_keep(prompts, best_of=4, checkpoint_tokens=8, miss=0.0)[0] == 1.0


def test_who_may_miss_some_keeps_fewer() -> None:
    often, rarely = prompt((0.9, 2.0), (0.8, 1.0)), prompt((0.8, 1.0), (0.7, 2.0))
    keep = [learn_keep([often] * 9 + [rarely], best_of=2, checkpoint_tokens=8, miss=miss)[0] for miss in (0.0, 0.2)]
    assert keep == [1.0, 0.5]
