"""What is counted of a request."""

from dataclasses import dataclass, replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.observe.metrics import CostCounter, Metrics, best_of_label
from service.rerank.context import RequestContext
from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.plan import make_plan
from service.rerank.prices import HourlyPrice
from service.rerank.request import ENDPOINTS
from service.rerank.selection import Choice
from service.rerank.strategies.base import Candidate, State
from tests.service.fakes import make_ask, make_context, plan_for


class Counted:
    """Metrics in a registry of their own."""

    def __init__(self, costs: CostCounter | None = None, target_s: float | None = None) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, "0", costs, target_s)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"bestofn_{name}", labels)


def cost_counter(idle_dollars: float) -> CostCounter:
    return CostCounter(HourlyPrice(1.0).cost([]), lambda: idle_dollars)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def ledger() -> Ledger:
    """Five candidates, one of each fate and one unscored."""
    views = [
        Candidate(0, "finished", tokens=5, finish_rank=0, reward=1.0),
        Candidate(1, "finished", tokens=7, finish_rank=1, reward=3.0),
        Candidate(2, "finished", tokens=3, finish_rank=2, unscored=True),
        Candidate(3, "aborted", tokens=2),
        Candidate(4, "failed", tokens=1),
    ]
    records = [CandidateRecord(view) for view in views]
    for record, finished_s in zip(records, (11.0, 12.0, 14.0), strict=False):
        record.finished_s = finished_s
    return Ledger(
        plan_for(5),
        records=records,
        choice=Choice((1,)),
        scored_tokens=40,
        scored_cached_tokens=30,
        started_s=10.5,
        ended_s=15.0,
        select_s=0.25,
        busy_s={"generate": 3.0, "score": 1.0},
    )


@pytest.mark.parametrize(
    ("best_of", "label"), [(1, "1"), (2, "2"), (3, "4"), (4, "4"), (5, "8"), (64, "64"), (65, "128")]
)
def test_best_of_is_rounded_up_to_a_power_of_two(best_of: int, label: str) -> None:
    assert best_of_label(best_of) == label


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4096))
def test_the_label_is_the_least_power_of_two_that_is_no_less(best_of: int) -> None:
    label = int(best_of_label(best_of))
    assert label & (label - 1) == 0
    assert best_of <= label < 2 * best_of


def test_a_request_is_counted_with_every_candidate_and_token(counted: Counted) -> None:
    context = make_context(ledger(), ask=make_ask({"best_of": 5}))
    context.started_s = 10.0
    counted.metrics.record(context, "ok")
    assert counted("requests_total", endpoint="chat", strategy="best_of_n", outcome="ok") == 1
    outcomes = {"returned": 1, "rejected": 2, "aborted": 1, "failed": 1, "unscored": 1}
    assert {outcome: counted("candidates_total", outcome=outcome) for outcome in outcomes} == outcomes
    tokens = {"returned": 7, "rejected": 8, "aborted": 2, "failed": 1}
    assert {fate: counted("generated_tokens_total", fate=fate) for fate in tokens} == tokens
    assert counted("tokens_per_request_sum", best_of="8") == 18
    assert (counted("scored_tokens_total", cached="true"), counted("scored_tokens_total", cached="false")) == (30, 10)


def below(counted: Counted, which: str, bound: str) -> float | None:
    """How many rewards were observed at or below `bound`."""
    return counted("reward_bucket", which=which, best_of="8", le=bound)


def test_rewards_and_their_gain_are_observed(counted: Counted) -> None:
    counted.metrics.record(make_context(ledger(), ask=make_ask({"best_of": 5})), "ok")
    assert (below(counted, "selected", "2.0"), below(counted, "selected", "3.0")) == (0, 1)
    assert (below(counted, "mean", "1.0"), below(counted, "mean", "2.0")) == (0, 1)
    assert counted("reward_gain_sum", best_of="8") == 1.0
    assert counted("reward_sum", which="half", best_of="8") == 2.0


def test_stages_and_stragglers_are_in_seconds(counted: Counted) -> None:
    context = make_context(ledger())
    context.started_s = 10.0
    counted.metrics.record(context, "ok")
    stages = {"admit": 0.5, "generate": 3.5, "score": 1.0, "select": 0.25}
    assert {stage: counted("stage_duration_seconds_sum", stage=stage) for stage in stages} == stages
    assert counted("straggler_seconds_sum") == 2.0


def test_each_prompt_of_a_request_counts_its_candidates_but_the_request_counts_once(counted: Counted) -> None:
    counted.metrics.record(make_context(ledger(), ledger()), "ok")
    assert counted("requests_total", endpoint="chat", strategy="best_of_n", outcome="ok") == 1
    assert counted("candidates_total", outcome="returned") == 2
    assert counted("tokens_per_request_sum", best_of="8") == 36


def test_no_reward_is_observed_where_there_was_none(counted: Counted) -> None:
    unscored = Ledger(
        plan_for(1), records=[CandidateRecord(Candidate(0, "finished"))], choice=Choice((0,)), ended_s=0.0
    )
    counted.metrics.record(make_context(unscored), "ok")
    assert counted("reward_bucket", which="selected", best_of="2", le="+Inf") is None
    assert counted("reward_gain_count", best_of="2") is None


def test_greedy_requests_do_not_make_a_large_n_look_cheap(counted: Counted) -> None:
    """best_of 64 at temperature 0 samples one candidate, and is counted as what it was."""
    greedy = make_plan(make_ask({"best_of": 64, "temperature": 0}), n=1, temperature=0.0, checkpoint_tokens=None)
    own = make_plan(make_ask({"best_of": 64}), n=1, temperature=0.0, checkpoint_tokens=None)
    for plan in (greedy, own):
        one = Ledger(
            plan, records=[CandidateRecord(Candidate(0, "finished", tokens=31))], choice=Choice((0,)), ended_s=0.0
        )
        counted.metrics.record(make_context(one, ask=make_ask({"best_of": 64})), "ok")
    assert counted("tokens_per_request_sum", best_of="1") == 62
    assert counted("tokens_per_request_sum", best_of="64") is None


def test_a_request_without_any_generation_is_still_counted(counted: Counted) -> None:
    counted.metrics.record(make_context(), "error")
    assert counted("requests_total", endpoint="chat", strategy="best_of_n", outcome="error") == 1


def test_a_refusal_is_counted_without_a_strategy(counted: Counted) -> None:
    counted.metrics.turned_away("messages", "overloaded")
    assert counted("requests_total", endpoint="messages", strategy="none", outcome="overloaded") == 1


def test_gauges_read_the_live_state(counted: Counted) -> None:
    live = {"candidates": 3.0, "limit": 8.0, "queued": 4.0, "scores": 2.0, "up": 1.0, "log": 1.0}
    counted.metrics.observe(
        candidates_in_flight=lambda: live["candidates"],
        candidates_limit=lambda: live["limit"],
        requests_queued=lambda: live["queued"],
        scores_in_flight=lambda: live["scores"],
        reward_model_up=lambda: live["up"],
        candidate_log_up=lambda: live["log"],
    )
    assert (counted("candidates_in_flight"), counted("candidates_limit")) == (3, 8)
    assert counted("requests_queued") == 4
    assert (counted("scores_in_flight"), counted("reward_model_up")) == (2, 1)
    live["up"] = live["log"] = 0.0
    assert (counted("reward_model_up"), counted("candidate_log_up")) == (0, 0)


def test_without_a_reward_model_there_is_no_gauge_of_one(counted: Counted) -> None:
    counted.metrics.observe(
        candidates_in_flight=lambda: 0,
        candidates_limit=lambda: 0,
        requests_queued=lambda: 0,
        scores_in_flight=lambda: 0,
        reward_model_up=None,
        candidate_log_up=lambda: 1,
    )
    assert counted.registry.get_sample_value("bestofn_reward_model_up") is None
    assert counted("candidate_log_up") == 1


@dataclass
class Load:
    waiting: int
    kv_cache_usage: float


def test_the_load_of_each_engine_is_read_live(counted: Counted) -> None:
    loads = {"generator": Load(3, 0.5), "reward": Load(0, 0.25)}
    for name, load in loads.items():
        counted.metrics.observe_engine(name, load)
    loads["reward"].waiting = 7
    assert [counted("queue_depth", engine=name) for name in loads] == [3, 7]
    assert [counted("kv_cache_usage_ratio", engine=name) for name in loads] == [0.5, 0.25]


def test_dollars_are_counted_by_part_and_idle_time_costs_too() -> None:
    counted = Counted(cost_counter(20.0))
    context = make_context(ledger(), ledger(), ask=make_ask({"best_of": 5}), prices=HourlyPrice(3600))
    counted.metrics.record(context, "ok")
    counted.metrics.record(context, "ok")
    dollars = {"generate": 12.0, "score": 4.0, "idle": 20.0}
    assert {part: counted("cost_dollars_total", part=part) for part in dollars} == dollars
    assert (counted("cost_per_request_dollars_sum", best_of="8"), counted("tokens_per_request_count", best_of="8")) == (
        16.0,
        2,
    )


def test_every_part_begins_at_nothing_so_that_its_rate_misses_none() -> None:
    counted = Counted(cost_counter(0.0))
    assert [counted("cost_dollars_total", part=part) for part in ("generate", "score", "idle")] == [0, 0, 0]


def test_half_of_two_candidates_is_the_first_of_them(counted: Counted) -> None:
    records = [CandidateRecord(Candidate(index, "finished"), finished_s=1.0 + 8 * index) for index in range(2)]
    counted.metrics.record(make_context(Ledger(plan_for(2), records=records, started_s=0.0, ended_s=10.0)), "ok")
    assert counted("straggler_seconds_sum") == 8.0


@pytest.mark.parametrize(("target_s", "met", "missed"), [(1000.0, 1, 0), (1e-9, 0, 1)])
def test_answers_are_counted_against_the_target(target_s: float, met: int, missed: int) -> None:
    """A failed request is neither. Both counters begin together, so that their sum is never without one of them."""
    counted = Counted(target_s=target_s)
    ask = replace(make_ask({"best_of": 16}), best_of=4)
    planned = replace(ledger(), plan=plan_for(4))
    counted.metrics.record(make_context(planned, ask=ask), "ok")
    counted.metrics.record(make_context(planned, ask=ask), "generation_failed")
    assert (counted("slo_met_total", best_of="4"), counted("slo_missed_total", best_of="4")) == (met, missed)
    assert (counted("best_of_share_sum", asked="16"), counted("best_of_share_count", asked="16")) == (0.25, 1)
    assert counted("slo_seconds") == target_s


def test_without_a_target_nothing_is_counted_against_it(counted: Counted) -> None:
    counted.metrics.record(make_context(ledger()), "ok")
    assert not any("slo" in metric.name or "share" in metric.name for metric in counted.registry.collect())


def test_without_prices_there_is_no_cost(counted: Counted) -> None:
    counted.metrics.record(make_context(ledger()), "ok")
    assert not any("dollars" in metric.name for metric in counted.registry.collect())


def test_records_of_the_candidate_log_are_counted_by_outcome(counted: Counted) -> None:
    for outcome, records in (("written", 0), ("written", 3), ("failed", 2), ("written", 1)):
        counted.metrics.logged(outcome, records)
    outcomes = {"written": 4, "failed": 2}
    assert {outcome: counted("candidate_log_records_total", outcome=outcome) for outcome in outcomes} == outcomes


def test_every_name_has_the_prefix(counted: Counted) -> None:
    assert all(metric.name.startswith("bestofn_") for metric in counted.registry.collect())


# -- what once went wrong


def test_the_mean_reward_can_be_plotted(counted: Counted) -> None:
    counted.metrics.record(make_context(ledger(), ask=make_ask({"best_of": 5})), "ok")
    assert counted("reward_sum", which="selected", best_of="8") == 3.0


# -- whatever happens, the counters reconcile


@st.composite
def candidates(draw: st.DrawFn, index: int) -> Candidate:
    state = draw(st.sampled_from(get_args(State)))
    finished = state == "finished"
    unscored = finished and draw(st.booleans())
    reward = draw(st.floats(-5, 5)) if finished and not unscored else None
    return Candidate(index, state, tokens=draw(st.integers(0, 99)), reward=reward, unscored=unscored)


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    views = [draw(candidates(index)) for index in range(draw(st.integers(0, 6)))]
    finished = [view.index for view in views if view.state == "finished"]
    cached = draw(st.integers(0, 99))
    return Ledger(
        plan_for(max(len(views), 1)),
        records=[
            CandidateRecord(view, finished_s=2.0 + view.index if view.index in finished else None) for view in views
        ],
        choice=Choice(tuple(finished[: draw(st.integers(0, 2))])),
        scored_tokens=cached + draw(st.integers(0, 99)),
        scored_cached_tokens=cached,
        started_s=1.0,
        ended_s=20.0,
        busy_s={"generate": draw(st.floats(0, 9)), "score": draw(st.floats(0, 9))},
    )


@st.composite
def requests(draw: st.DrawFn) -> tuple[RequestContext, str]:
    ask = make_ask({"best_of": draw(st.integers(1, 64))}, endpoint=draw(st.sampled_from(list(ENDPOINTS.values()))))
    prompts = draw(st.lists(ledgers(), max_size=3))
    return make_context(*prompts, ask=ask, prices=HourlyPrice(1.0)), draw(st.sampled_from(["ok", "cancelled", "error"]))


def total(registry: CollectorRegistry, name: str) -> float:
    """Sum of a sample over all its labels."""
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name == f"bestofn_{name}")


@settings(max_examples=60, deadline=None)
@given(st.lists(requests(), max_size=8))
def test_every_counter_reconciles_with_what_was_done(answered: list[tuple[RequestContext, str]]) -> None:
    counted = Counted(cost_counter(0.0))
    for context, outcome in answered:
        counted.metrics.record(context, outcome)
    registry = counted.registry
    contexts = [context for context, _ in answered]
    prompts = [prompt for context in contexts for prompt in context.ledgers]
    views = [view for prompt in prompts for view in prompt.candidates]
    unscored = counted("candidates_total", outcome="unscored") or 0
    assert total(registry, "requests_total") == len(contexts) == total(registry, "request_duration_seconds_count")
    assert total(registry, "candidates_total") - unscored == len(views)
    assert unscored == sum(view.unscored for view in views)
    generated = sum(view.tokens for view in views)
    assert total(registry, "generated_tokens_total") == generated == total(registry, "tokens_per_request_sum")
    assert total(registry, "scored_tokens_total") == sum(prompt.scored_tokens for prompt in prompts)
    assert total(registry, "stage_duration_seconds_count") == 4 * len(prompts)
    assert total(registry, "reward_gain_count") == sum(prompt.reward is not None for prompt in prompts)
    dollars = sum(sum(prompt.busy_s.values()) for prompt in prompts) / 3600
    assert total(registry, "cost_dollars_total") == pytest.approx(dollars)
    assert total(registry, "cost_per_request_dollars_sum") == pytest.approx(dollars)


@settings(max_examples=20, deadline=None)
@given(st.lists(requests(), max_size=8))
def test_labels_are_bounded(answered: list[tuple[RequestContext, str]]) -> None:
    counted = Counted(cost_counter(0.0))
    for context, outcome in answered:
        counted.metrics.record(context, outcome)
    labels = [sample.labels for metric in counted.registry.collect() for sample in metric.samples]
    assert {name for label in labels for name in label} <= {
        *("endpoint", "strategy", "outcome", "best_of", "stage", "fate", "cached", "which", "part", "le"),
        *("version", "vllm"),
    }
    assert {label["best_of"] for label in labels if "best_of" in label} <= {str(2**power) for power in range(7)}
