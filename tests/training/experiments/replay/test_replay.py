"""Strategies over a trace, beside best-of-N at equal N and equal tokens."""

import math
from typing import Any

import numpy as np
import pytest

from reward.expected_best import best_of_each
from service.rerank.strategies.profile import DEFAULTS
from tests.training.experiments.replay.pools import STEP, pool
from training.experiments.replay.replay import replay
from training.samples.trace import Traced, TracedPrompt

PRUNE = {"strategy": "prune", "checkpoint_tokens": STEP}


def test_best_of_n_by_simulation_is_the_unbiased_estimate() -> None:
    prompts = pool(12, 12)
    found = replay([(DEFAULTS, prompts)], [], best_of=4, draws=150)
    rewards = [[one.reward for one in prompt.candidates] for prompt in prompts]
    exact = [best_of_each(values, values, [4])[0] for values in rewards]
    assert found.played[0].quality.mean() == pytest.approx(np.mean(exact), abs=0.05)
    assert found.single == pytest.approx([np.mean(values) for values in rewards])
    assert found.played[0].sampled.tolist() == [4.0] * 12


def test_pruning_saves_tokens_and_keeps_the_best_where_prefixes_tell() -> None:
    found = replay([(DEFAULTS, pool(8, 8, noise=0.0))], [PRUNE], best_of=8, draws=3)
    plain, prune = found.played
    assert prune.quality == pytest.approx(plain.quality)
    assert prune.tokens.mean() < 0.6 * plain.tokens.mean()
    assert found.gain_kept(prune).value == pytest.approx(1)
    assert found.over_equal_tokens(prune).value > 0


def test_where_all_are_drawn_plain_best_of_n_costs_and_gains_what_itself_does() -> None:
    found = replay([(DEFAULTS, pool(4, 6))], [], best_of=6, draws=2)
    assert found.played[0].equal_tokens == pytest.approx(found.played[0].quality)


def test_equal_tokens_lie_between_two_whole_numbers() -> None:
    """Rewards 0 and 1, 10 tokens each: adaptive stops after one and a half in the mean; best-of-1 has 0.5, of 2 1."""
    candidates = tuple(Traced("", 10, "stop", reward) for reward in (0.0, 1.0))
    asked = {"strategy": "adaptive", "wave": 1, "price": 0.01}
    found = replay([(DEFAULTS, [TracedPrompt("p", candidates)] * 40)], [asked], best_of=2, draws=1)
    n = found.played[1].tokens.mean() / 10
    assert 1 < n <= 2
    assert found.played[1].equal_tokens[0] == pytest.approx(0.5 + (n - 1) * 0.5)


def test_pools_of_different_size_count_alike() -> None:
    short = TracedPrompt("p", tuple(Traced("", 10, "stop", float(i)) for i in range(40)))
    long = TracedPrompt("q", tuple(Traced("", 100, "stop", float(i)) for i in range(4)))
    plain = replay([(DEFAULTS, [short, long])], [], best_of=4, draws=300).played[0]
    assert plain.equal_tokens == pytest.approx(plain.quality, abs=1.0)
    assert not math.isnan(plain.equal_tokens.sum())


@pytest.mark.parametrize(("incomplete", "quality"), [("allow", 3.0), ("last", 1.0), ("never", 1.0)])
def test_answers_that_were_cut_off_are_ranked_as_the_server_ranks_them(incomplete: str, quality: float) -> None:
    ends = (("stop", 0.0), ("length", 3.0), ("stop", 1.0))
    candidates = tuple(Traced("x", 4, reason, reward, growth=((1, 0.1), (4, 0.4))) for reason, reward in ends)
    found = replay([(DEFAULTS, [TracedPrompt("[]", candidates)])], [{"incomplete": incomplete}], best_of=3, draws=2)
    assert found.played[1].quality.tolist() == [quality]


@pytest.mark.parametrize(
    ("rerank", "reason"), [({"stop_after": 1}, "enough"), ({"strategy": "adaptive", "price": 9.0}, "price")]
)
def test_strategies_go_on_where_all_so_far_were_cut_off(rerank: dict[str, object], reason: str) -> None:
    candidates = tuple(Traced("x", 4, "length", 1.0, growth=((1, 0.1), (4, 0.4))) for _ in range(6))
    asked = [rerank, rerank | {"incomplete": "last"}]
    found = replay([(DEFAULTS, [TracedPrompt("[]", candidates)])], asked, best_of=6, draws=2)
    assert [dict(played.stop_reasons) for played in found.played[1:]] == [{reason: 1.0}, {"complete": 1.0}]
    assert found.played[2].sampled.tolist() == [6.0]


# -- free picks


def test_recorded_log_probabilities_choose_as_they_would_have() -> None:
    known = ((3.0, -9.0, 1.0), (1.0, -1.0, 2.0), (2.0, -5.0, 9.0))
    candidates = tuple(
        Traced("x", 4, "stop", reward, logprob=sum_, self_certainty=mean) for reward, sum_, mean in known
    )
    selections: list[Any] = ["likelihood", "self_certainty", {"likelihood_weight": 2.0}]
    asked = [{"selection": selection} for selection in selections]
    found = replay([(DEFAULTS, [TracedPrompt("[]", candidates)])], asked, best_of=3, draws=2)
    assert [played.quality.tolist() for played in found.played] == [[3.0], [1.0], [2.0], [1.0]]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"selection": "likelihood"}, "reads the logprob of each candidate, which was not recorded"),
        ({"selection": "self_certainty"}, "reads the self_certainty of each candidate"),
        ({"strategy": "greedy"}, "no greedy answer to replay"),
        ({"include_greedy": True}, "no greedy answer to replay"),
    ],
)
def test_what_a_trace_does_not_hold_is_not_made_up(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replay([(DEFAULTS, pool(2, 4))], [asked], best_of=3, draws=1)
