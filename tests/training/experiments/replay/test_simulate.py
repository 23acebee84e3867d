"""Recorded candidates played to a strategy: by hand, and as the server's own `Run` plays them."""

import random
from typing import Any

import pytest

from service.rerank.plan import make_plan
from service.rerank.run import Run
from service.rerank.selection import select
from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.prune import Prune
from tests.service.fakes import CONVERSATION, FREE, METER, LockstepSampler, RecordScorer, Told, make_ask, supervised
from training.experiments.replay.simulate import Timing, simulate
from training.samples.trace import Traced, TracedPrompt

STEP = 4
TIMING = Timing(first_s=1.0, step_s=0.1, candidate_s=0.05, score_s=0.5)
INSTANT_SCORES = Timing(first_s=0.0, step_s=1.0, candidate_s=0.0, score_s=0.0)


def traced(tokens: int, *rewards: float, first_s: float = 1.0, pace_s: float = 0.2) -> Traced:
    """rewards: at each checkpoint, and of the end."""
    stops = [*range(STEP, tokens, STEP)]
    assert len(rewards) == len(stops) + 1
    growth = tuple((at, first_s + pace_s * (at - 1)) for at in [1, *stops, tokens])
    return Traced(
        "x", tokens, "stop", rewards[-1], prefix_rewards=tuple(zip(stops, rewards, strict=False)), growth=growth
    )


def test_two_candidates_by_hand() -> None:
    """First tokens at 1 s; two run at 0.2 s a token until the first ends, then one at 0.15 s; a score takes 0.5 s."""
    outcome = simulate([traced(3, 1.0), traced(7, 0.0, 2.0)], BestOfN(2), TIMING)
    assert outcome.latency_s == pytest.approx(1 + 2 * 0.2 + 4 * 0.15 + 0.5)
    assert (outcome.tokens, outcome.stop_reason) == (10, "complete")
    assert [(one.state, one.reward, one.finish_rank) for one in outcome.candidates] == [
        ("finished", 1.0, 0),
        ("finished", 2.0, 1),
    ]


def test_an_aborted_candidate_has_the_tokens_that_it_came_to_while_it_was_judged() -> None:
    """Both come to 4 tokens at 1.6 s; the scores are there 0.5 s later, 2 whole tokens on."""
    outcome = simulate([traced(9, 0.0, 0.0, 9.0), traced(9, 1.0, 1.0, 1.0)], Prune(2, STEP, (0.5,)), TIMING)
    assert [(one.state, one.tokens) for one in outcome.candidates] == [("aborted", 6), ("finished", 9)]
    # the third token after the checkpoint was half done; the rest runs alone
    assert outcome.latency_s == pytest.approx(1.6 + 0.5 + 2.5 * 0.15 + 0.5)


def test_nothing_is_generated_before_the_first_token() -> None:
    plan = make_plan(
        make_ask({"best_of": 2, "rerank": {"deadline_ms": 500}}), n=1, temperature=1, checkpoint_tokens=None
    )
    outcome = simulate([traced(3, 1.0), traced(3, 2.0)], plan.strategy, TIMING)
    assert (outcome.stop_reason, outcome.latency_s, outcome.tokens) == ("deadline", 0.5, 0)


def test_more_than_were_recorded_cannot_be_sampled() -> None:
    with pytest.raises(ValueError, match="samples 3 of 1 recorded"):
        simulate([traced(3, 1.0)], BestOfN(3), TIMING)


def test_an_unscored_candidate_stays_so() -> None:
    outcome = simulate([traced(3, float("nan")), traced(3, 1.0)], BestOfN(2), TIMING)
    assert [(one.reward, one.unscored) for one in outcome.candidates] == [(None, True), (1.0, False)]


# -- the times of a trace


def test_the_time_of_a_token_is_fitted_against_how_many_run() -> None:
    """Ten run at 0.6 s a token to the end of nine of them, then one at 0.15 s."""
    short = [Traced("x", 5, "stop", 0.0, growth=((1, 2.0), (5, 4.4))) for _ in range(9)]
    long = Traced("x", 9, "stop", 0.0, growth=((1, 2.0), (5, 4.4), (9, 5.0)))
    timing = Timing.of([TracedPrompt("p", (*short, long), score_s=0.3)])
    assert (timing.first_s, timing.score_s) == (2.0, 0.3)
    assert timing.step_s + timing.candidate_s * 10 == pytest.approx(0.6)
    assert timing.step_s + timing.candidate_s == pytest.approx(0.15)


def test_where_always_as_many_ran_nothing_is_said_of_fewer() -> None:
    timing = Timing.of([TracedPrompt("p", tuple(traced(9, 0.0, 0.0, 0.0) for _ in range(4)))])
    assert [timing.step_s, timing.candidate_s, timing.score_s] == pytest.approx([0.2, 0.0, 0.0])


def test_a_batch_that_gets_faster_as_it_fills_is_not_believed() -> None:
    fast = [Traced("x", 5, "stop", 0.0, growth=((1, 0.0), (5, 0.4))) for _ in range(3)]
    slow = Traced("x", 9, "stop", 0.0, growth=((1, 0.0), (5, 0.4), (9, 4.4)))
    assert Timing.of([TracedPrompt("p", (*fast, slow))]).candidate_s == 0.0


def test_a_trace_without_times_takes_none() -> None:
    assert Timing.of([TracedPrompt("p", (Traced("x", 5, "stop", 0.0),))]) == Timing(0.0, 0.0, 0.0, 0.0)


# -- the server takes the same decisions

RERANKS: list[dict[str, Any]] = [
    {"strategy": "prune", "keep": 0.5, "checkpoint_tokens": STEP},
    {"strategy": "prune", "keep": [1.0, 0.3], "checkpoint_tokens": STEP},
    {"strategy": "prune", "keep": 0.6, "checkpoint_tokens": STEP, "target_reward": 0.8},
    {"strategy": "adaptive", "wave": 2, "price": 0.15},
    {"strategy": "adaptive", "wave": 3, "price": 0.05, "stop_after": 5},
    {"strategy": "best_of_n", "stop_after": 3},
    {"strategy": "best_of_n", "target_reward": 1.0, "checkpoint_tokens": STEP},
]


def recorded(best_of: int, seed: int) -> list[Told]:
    """Different lengths, so that no two finish in the same step and the order of their ends is the record's."""
    draw = random.Random(seed)
    lengths = draw.sample(range(2, 40), best_of)
    told = []
    for tokens in lengths:
        stops = tuple(range(STEP, tokens, STEP))
        told.append(Told(stops, tuple(draw.gauss(0, 1) for _ in [*stops, tokens]), tokens))
    return told


@pytest.mark.parametrize("rerank", RERANKS, ids=lambda rerank: "-".join(map(str, rerank.values())))
@pytest.mark.parametrize("seed", range(4))
async def test_the_server_decides_as_the_replay_does(rerank: dict[str, Any], seed: int) -> None:
    told = recorded(8, seed)
    plan = make_plan(make_ask({"best_of": 8, "rerank": rerank}), n=1, temperature=1.0, checkpoint_tokens=None)
    run = Run(plan, CONVERSATION, LockstepSampler(told), supervised(RecordScorer(told), "error"), METER, FREE)
    selected = await run.best()
    replayed = simulate([traced(one.tokens, *one.rewards) for one in told], plan.strategy, INSTANT_SCORES)
    ours, theirs = run.ledger.candidates, replayed.candidates
    assert run.ledger.stop_reason == replayed.stop_reason
    assert rerank["strategy"] != "prune" or "aborted" in {one.state for one in ours}
    assert [one.state for one in ours] == [one.state for one in theirs]
    assert [one.prefix_rewards for one in ours if one.state == "finished"] == [
        one.prefix_rewards for one in theirs if one.state == "finished"
    ]
    assert selected == select(theirs, 1, plan.selection).selected
