"""From an ask to a plan."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.config import RewardConfig
from reward.scorer import Score
from service.rerank.errors import InvalidRequest
from service.rerank.plan import Plan, make_plan
from service.rerank.selection import FREE, Selection
from service.rerank.selection.picks import Soft
from service.rerank.strategies.adaptive import Adaptive
from service.rerank.strategies.base import Candidate
from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.limited import Limited
from service.rerank.strategies.pass_on import PassOn
from service.rerank.strategies.prior import NORMAL_KINDS
from service.rerank.strategies.profile import StrategyProfile
from service.rerank.strategies.prune import Prune
from tests.service.fakes import LIMITS, make_ask


def plan(body: dict[str, Any], *, n: int = 1, temperature: float = 1.0, checkpoint_tokens: int | None = None) -> Plan:
    return make_plan(make_ask(body), n=n, temperature=temperature, checkpoint_tokens=checkpoint_tokens)


def passed_on(made: Plan) -> bool:
    """While it grows, since nothing is chosen."""
    return isinstance(made.strategy, PassOn)


def test_best_of_above_n_is_ranked() -> None:
    assert plan({"best_of": 8}) == Plan(best_of=8, n=1, ranked=True, strategy=BestOfN(8))


def test_one_candidate_is_neither_ranked_nor_delayed() -> None:
    made = plan({})
    assert (made.best_of, made.ranked, passed_on(made)) == (1, False, True)


def test_one_candidate_whose_reward_is_asked_for_is_scored_but_not_delayed() -> None:
    made = plan({"rerank": {}})
    assert (made.best_of, made.ranked, passed_on(made)) == (1, True, True)


def test_plain_n_is_vllms_own_business() -> None:
    made = plan({"n": 4}, n=4)
    assert (made.best_of, made.ranked, passed_on(made)) == (4, False, True)


def test_n_with_an_explicit_best_of_is_sorted() -> None:
    made = plan({"n": 4, "best_of": 4}, n=4)
    assert (made.ranked, passed_on(made)) == (True, False)


def test_temperature_0_samples_no_more_than_it_returns() -> None:
    made = plan({"best_of": 8}, temperature=0.0)
    assert (made.best_of, made.ranked, passed_on(made)) == (1, False, True)
    assert (made.asked_best_of, made.fewer_because) == (8, "greedy")


@pytest.mark.parametrize("temperature", [0, 0.0])
def test_greedy_decoding_is_admitted_as_what_it_samples(temperature: float) -> None:
    ask = make_ask({"best_of": 64, "n": 2, "temperature": temperature})
    assert (ask.best_of, ask.candidates, ask.asked_best_of, ask.fewer_because) == (2, 2, 64, "greedy")


def test_n_that_is_what_was_asked_for_needs_no_reason() -> None:
    for made in (plan({"best_of": 8}), plan({}), plan({}, temperature=0.0), plan({"n": 4}, n=4, temperature=0.0)):
        assert (made.asked_best_of, made.fewer_because) == (None, None)


def test_n_that_the_latency_target_lowered_has_its_reason() -> None:
    lowered = replace(make_ask({"best_of": 8}), best_of=3, fewer_because="slo")
    made = make_plan(lowered, n=1, temperature=1.0, checkpoint_tokens=None)
    assert (made.best_of, made.asked_best_of, made.fewer_because) == (3, 8, "slo")
    assert make_plan(lowered, n=1, temperature=0.0, checkpoint_tokens=None).fewer_because == "greedy"


def test_n_from_vllm_raises_best_of() -> None:
    assert plan({"best_of": 2}, n=3).best_of == 3


def test_a_deadline_wraps_the_strategy_and_is_in_seconds() -> None:
    made = plan({"best_of": 2, "rerank": {"deadline_ms": 1500}})
    assert made.strategy == Limited(BestOfN(2), 1.5)


def test_a_single_candidate_with_a_deadline_is_not_passed_on_live() -> None:
    assert not passed_on(plan({"rerank": {"deadline_ms": 5}}))


def test_checkpoints_reach_the_strategy() -> None:
    assert plan({"best_of": 2}, checkpoint_tokens=32).strategy.checkpoint_tokens == 32


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 8),
    st.none() | st.integers(8, 64),
    st.none() | st.fixed_dictionaries({}, optional={"deadline_ms": st.integers(1, 10**6)}),
    st.sampled_from([0.0, 0.7, 1.0]),
)
def test_a_plan_samples_enough_within_what_was_admitted_and_never_waits_for_nothing(
    n: int, best_of: int | None, rerank: dict[str, int] | None, temperature: float
) -> None:
    ask = make_ask({"n": n, "best_of": best_of, "rerank": rerank})
    made = make_plan(ask, n=n, temperature=temperature, checkpoint_tokens=None)
    assert n == made.n <= made.best_of <= ask.best_of
    assert passed_on(made) or made.ranked


def test_the_steps_of_a_beam_search_are_not_reranked() -> None:
    made = plan({"n": 4, "use_beam_search": True}, n=1)
    assert (made.best_of, made.ranked) == (1, False)


def test_a_deadline_beyond_a_day_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="deadline_ms"):
        plan({"best_of": 2, "rerank": {"deadline_ms": 10**400}})


@pytest.mark.parametrize(("elsewhere", "endpoint"), [("use_beam_search", "chat"), ("background", "responses")])
def test_what_is_generated_elsewhere_cannot_be_reranked(elsewhere: str, endpoint: str) -> None:
    with pytest.raises(InvalidRequest, match=elsewhere):
        make_ask({"n": 4, elsewhere: True, "rerank": {}}, endpoint=endpoint)


def test_how_to_select_reaches_the_plan() -> None:
    limits = replace(LIMITS, reward=RewardConfig(("a", "b"), 0.5, 2.0))
    rerank = {"selection": {"pick": "soft", "temperature": 2}, "reward_weights": {"a": 1}, "min_reward": -1}
    ask = make_ask({"best_of": 2, "rerank": rerank}, limits=limits)
    made = make_plan(ask, n=1, temperature=1.0, checkpoint_tokens=None, seed=7)
    assert (made.selection, made.seed, made.min_reward) == (Selection(pick=Soft(temperature=2)), 7, -1)
    assert (made.reward, made.reward_weights) == (limits.reward, {"a": 1})
    assert made.reward_of(Score(9.0, {"a": 4.5, "b": 0.0}, 3, 0)) == 2.0


def test_a_single_candidate_that_may_be_refused_is_not_passed_on_live() -> None:
    made = plan({"rerank": {"min_reward": 0}})
    assert (made.best_of, made.ranked, passed_on(made)) == (1, True, False)


# -- strategies

PROFILE = StrategyProfile.of({"checkpoint_tokens": 4, "keep": [0.25, 0.5], "wave": 3, "price": 0.3})


def planned(rerank: dict[str, Any], n: int = 1, **body: Any) -> Any:
    ask = make_ask({"best_of": 8, "n": n, "rerank": rerank, **body})
    return make_plan(ask, n=n, temperature=1.0, checkpoint_tokens=32, profile=PROFILE)


def test_the_profile_speaks_where_the_request_does_not() -> None:
    assert planned({"strategy": "prune"}).strategy == Prune(8, 4, (0.25, 0.5))
    assert planned({"strategy": "adaptive"}).strategy == Adaptive(8, 3, 0.3, NORMAL_KINDS)
    asked = {"strategy": "prune", "keep": 0.75, "checkpoint_tokens": 2}
    assert planned(asked).strategy == Prune(8, 2, (0.75,))
    assert planned({"strategy": "adaptive", "wave": 1, "price": 2.0}).strategy == Adaptive(8, 1, 2.0, NORMAL_KINDS)
    assert planned({"checkpoint_tokens": 2}).strategy == BestOfN(8, 2)


def test_the_first_wave_holds_what_is_returned() -> None:
    assert planned({"strategy": "adaptive", "wave": 2}, n=4).strategy == Adaptive(8, 4, 0.3, NORMAL_KINDS, 4)


@pytest.mark.parametrize(("rerank", "n"), [({"deadline_ms": 9}, 1), ({"min_reward": 0}, 1), ({}, 2)])
def test_nothing_is_committed_to_that_may_not_be_the_answer(rerank: dict[str, Any], n: int) -> None:
    strategy = planned({"strategy": "prune", **rerank}, n=n).strategy
    inner = strategy.inner if isinstance(strategy, Limited) else strategy
    assert inner == Prune(8, 4, (0.25, 0.5), n, live=False)


def test_limits_wrap_any_strategy() -> None:
    made = planned({"strategy": "adaptive", "stop_after": 3, "target_reward": 0.0, "deadline_ms": 500}, n=2)
    assert made.strategy == Limited(Adaptive(8, 3, 0.3, NORMAL_KINDS, 2), 0.5, 3, 0.0, 2)
    assert planned({"target_reward": 0.0}).strategy == Limited(BestOfN(8, 32), None, None, 0.0)


@pytest.mark.parametrize("strategy", ["prune", "adaptive"])
def test_a_single_candidate_is_passed_on_whatever_the_strategy(strategy: str) -> None:
    ask = make_ask({"best_of": 8, "rerank": {"strategy": strategy}})
    made = make_plan(ask, n=1, temperature=0.0, checkpoint_tokens=None)
    assert (made.best_of, passed_on(made)) == (1, True)


@pytest.mark.parametrize("asked", ["allow", "last", "never"])
def test_answers_that_were_cut_off_come_last_where_they_are_worth_nothing(asked: str) -> None:
    ask = make_ask({"best_of": 4, "rerank": {"incomplete": asked}})
    assert make_plan(ask, n=1, temperature=1.0, checkpoint_tokens=None).incomplete == asked
    whole = make_plan(ask, n=1, temperature=1.0, checkpoint_tokens=None, whole=True)
    assert whole.incomplete == ("last" if asked == "allow" else asked)


def test_what_may_not_be_returned_is_not_passed_on_while_it_grows() -> None:
    assert not passed_on(plan({"rerank": {"incomplete": "never"}}))
    pruned = plan({"best_of": 4, "rerank": {"strategy": "prune", "incomplete": "never"}}).strategy
    assert isinstance(pruned, Prune)
    assert not pruned.live


def test_without_rewards_what_finished_is_returned_by_index_whole_ones_first() -> None:
    finished = [Candidate(index, "finished", finish_rank=3 - index, reward=float(index)) for index in range(3)]
    cut_off = [replace(finished[0], cut_off=True), *finished[1:]]
    last = plan({"best_of": 3, "rerank": {"incomplete": "last"}})
    assert plan({"best_of": 3}).choose(finished, unranked=True).selected == (0,)
    assert last.choose(cut_off, unranked=True).selected == (1,)
    assert replace(last, n=3).choose(cut_off, unranked=True).selected == (1, 2, 0)
    assert replace(last, n=3, incomplete="never").choose(cut_off, unranked=True).selected == (1, 2)
    assert replace(last, min_reward=2.0).choose(finished, unranked=True).selected == (2,)


def test_a_beam_search_asks_for_one_token_of_each_beam_whatever_its_temperature() -> None:
    made = make_plan(
        make_ask({"n": 4, "use_beam_search": True, "temperature": 0}), n=1, temperature=0.0, checkpoint_tokens=None
    )
    assert (made.best_of, made.ranked, made.passes_on) == (1, False, True)


# -- free picks


FREE_LIMITS = replace(LIMITS, has_reward_model=False, selection=FREE)


def free_plan(body: dict[str, Any], n: int = 1) -> Plan:
    return make_plan(make_ask(body, limits=FREE_LIMITS), n=n, temperature=1.0, checkpoint_tokens=8)


def test_a_free_pick_leaves_the_reward_model_alone_unless_something_else_reads_rewards() -> None:
    made = plan({"best_of": 4, "rerank": {"selection": "likelihood"}}, checkpoint_tokens=8)
    assert (made.ranked, made.scored, made.strategy) == (True, False, BestOfN(4, scored=False))
    for other in ({"min_reward": 0.0}, {"target_reward": 1.0}, {"trace": True}, {"strategy": "prune"}):
        assert plan({"best_of": 4, "rerank": {"selection": "likelihood", **other}}).scored


def test_without_a_reward_model_nothing_is_scored() -> None:
    for body in ({"best_of": 4}, {"best_of": 4, "rerank": {"trace": True}}, {"best_of": 4, "n": 4}):
        made = free_plan(body, n=body.get("n", 1))  # type: ignore[arg-type]
        assert (made.ranked, made.scored, made.strategy) == (True, False, BestOfN(4, scored=False))
    assert free_plan({"rerank": {}}).strategy == PassOn(1, "best_of_n", scored=False)
    limited = free_plan({"best_of": 4, "rerank": {"stop_after": 2}}).strategy
    assert limited == Limited(BestOfN(4, scored=False), stop_after=2, scored=False)


def test_the_engine_reports_what_the_choice_reads_and_a_trace_has_all() -> None:
    assert plan({"best_of": 4}).quantities == set()
    assert free_plan({"best_of": 4}).quantities == {"logprob"}
    assert free_plan({"best_of": 1, "rerank": {}}).quantities == set()
    assert free_plan({"n": 4}, n=4).quantities == set()
    for pick, read in {
        "self_certainty": {"self_certainty"},
        "shortest": set(),
        "majority": set(),
        "likelihood": {"logprob"},
    }.items():
        assert plan({"best_of": 4, "rerank": {"selection": pick}}).quantities == read
    assert free_plan({"best_of": 4, "rerank": {"selection": "majority"}}).quantities == {"logprob"}
    assert plan({"best_of": 4, "rerank": {"selection": {"likelihood_weight": 0.5}}}).quantities == {"logprob"}
    assert plan({"best_of": 4, "rerank": {"trace": True}}).quantities == {"logprob", "self_certainty"}


def test_the_greedy_answer_is_one_of_n_while_something_is_chosen() -> None:
    body = {"best_of": 4, "rerank": {"include_greedy": True}}
    made = plan(body)
    assert (made.best_of, made.include_greedy, made.waits_for_all) == (4, True, False)
    assert not plan(body, temperature=0.0).include_greedy  # all that is left is greedy already
    assert not make_plan(
        replace(make_ask(body), best_of=1, fewer_because="slo"), n=1, temperature=1.0, checkpoint_tokens=None
    ).include_greedy


@pytest.mark.parametrize("body", [{"best_of": 1}, {"best_of": 4, "n": 4}])
def test_the_greedy_answer_takes_no_place_where_all_are_returned(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"rerank\.include_greedy: best_of is"):
        plan({**body, "rerank": {"include_greedy": True}}, n=body.get("n", 1))
