"""From an ask to a plan."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.plan import Plan, make_plan
from service.profile import Profile
from service.strategies import BestOfN, Limited
from tests.service.fakes import make_ask


def plan(body: dict[str, Any], *, n: int = 1, temperature: float = 1.0, checkpoint_tokens: int | None = None) -> Plan:
    return make_plan(
        make_ask(body), n=n, temperature=temperature, checkpoint_tokens=checkpoint_tokens, profile=Profile()
    )


def test_best_of_above_n_is_ranked() -> None:
    assert plan({"best_of": 8}) == Plan(best_of=8, n=1, ranked=True, strategy=BestOfN(8))


def test_one_candidate_is_neither_ranked_nor_delayed() -> None:
    made = plan({})
    assert (made.best_of, made.ranked, made.live) == (1, False, True)


def test_one_candidate_whose_reward_is_asked_for_is_scored_but_not_delayed() -> None:
    made = plan({"rerank": {}})
    assert (made.best_of, made.ranked, made.live) == (1, True, True)


def test_plain_n_is_vllms_own_business() -> None:
    made = plan({"n": 4}, n=4)
    assert (made.best_of, made.ranked, made.live) == (4, False, True)


def test_n_with_an_explicit_best_of_is_sorted() -> None:
    made = plan({"n": 4, "best_of": 4}, n=4)
    assert (made.ranked, made.live) == (True, False)


def test_temperature_0_samples_no_more_than_it_returns() -> None:
    made = plan({"best_of": 8}, temperature=0.0)
    assert (made.best_of, made.ranked, made.live) == (1, False, True)


def test_n_from_vllm_raises_best_of() -> None:
    assert plan({"best_of": 2}, n=3).best_of == 3


def test_a_deadline_wraps_the_strategy_and_is_in_seconds() -> None:
    made = plan({"best_of": 2, "rerank": {"deadline_ms": 1500}})
    assert made.strategy == Limited(BestOfN(2), 1.5)


def test_a_single_candidate_with_a_deadline_is_not_passed_on_live() -> None:
    assert not plan({"rerank": {"deadline_ms": 5}}).live


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
    made = make_plan(ask, n=n, temperature=temperature, checkpoint_tokens=None, profile=Profile())
    assert n == made.n <= made.best_of <= ask.best_of
    assert made.live or made.ranked


def test_the_steps_of_a_beam_search_are_not_reranked() -> None:
    made = plan({"n": 4, "use_beam_search": True}, n=1)
    assert (made.best_of, made.ranked) == (1, False)


def test_a_deadline_beyond_a_day_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="deadline_ms"):
        plan({"best_of": 2, "rerank": {"deadline_ms": 10**400}})


@pytest.mark.parametrize("elsewhere", ["use_beam_search", "background"])
def test_what_is_generated_elsewhere_cannot_be_reranked(elsewhere: str) -> None:
    with pytest.raises(InvalidRequest, match=elsewhere):
        plan({"n": 4, elsewhere: True, "rerank": {}}, n=1)
