"""Prometheus instruments, and the one place that fills them: `Metrics.record`, once per request, from its ledgers."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from reward.expected_best import best_of_n
from service.rerank.context import RequestContext
from service.rerank.ledger import Ledger, count_tokens
from service.rerank.request import Endpoint

# Close enough for a quantile: no bound is much more than half as much again as the one before.
_SECONDS = (
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300),
)
_TOKENS = tuple(2.0**power for power in range(3, 21))
_DOLLARS = tuple(10.0**power * step for power in range(-8, 0) for step in (1, 2.5, 5))
_REWARDS = (-10, -5, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 5, 10)
_SHARES = tuple(sixteenths / 16 for sixteenths in (1, 2, 3, 4, 6, 8, 10, 12, 14, 16))
_GAINS = (0, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10)


def best_of_label(best_of: int) -> str:
    """N rounded up to a power of two, so that the label stays bounded."""
    return str(1 << max(best_of - 1, 0).bit_length())


class SignedHistogram(Histogram):
    """A histogram of values that may be negative, with the sum that the client library leaves out of such a one."""

    def _child_samples(self) -> Iterable[Sample]:
        return [*super()._child_samples(), Sample("_sum", {}, self._sum.get(), None, None)]


class CostCounter(Collector):
    """Dollars by part. What idle time costs is read when it is asked for: no request is there to count it.

    dollars: where each part begins. idle_dollars: what time has cost in which nothing was at work.
    """

    def __init__(self, dollars: Mapping[str, float], idle_dollars: Callable[[], float]) -> None:
        self._dollars = dict(dollars)
        self._idle_dollars = idle_dollars

    def add(self, cost: Mapping[str, float]) -> None:
        """Dollars of one request, by part."""
        for part, dollars in cost.items():
            self._dollars[part] += dollars

    def collect(self) -> Iterator[Metric]:
        text = "What the server costs: for requests that have been answered, and while nothing was at work."
        family = CounterMetricFamily("bestofn_cost_dollars", text, labels=["part"])
        for part, dollars in {**self._dollars, "idle": self._idle_dollars()}.items():
            family.add_metric([part], dollars)
        yield family


class SloMetrics:
    """How a target for the latency is kept, and what N that takes.

    target_s: within which 99 of 100 answers are wanted.
    """

    def __init__(self, registry: CollectorRegistry, target_s: float) -> None:
        self._target_s = target_s
        Gauge("bestofn_slo_seconds", "Target for the p99 of latency.", registry=registry).set(target_s)
        self._met = Counter("bestofn_slo_met_total", "Answers within the target.", ["best_of"], registry=registry)
        self._missed = Counter("bestofn_slo_missed_total", "Answers past the target.", ["best_of"], registry=registry)
        self._share = Histogram(
            "bestofn_best_of_share",
            "N that was used over N that was asked for.",
            ["asked"],
            buckets=_SHARES,
            registry=registry,
        )

    def answered(self, best_of: int, asked_best_of: int, seconds: float) -> None:
        """A complete answer, from arrival to last byte, with the N that was planned and the one that was asked for."""
        label = best_of_label(best_of)
        self._met.labels(label).inc(seconds <= self._target_s)
        self._missed.labels(label).inc(seconds > self._target_s)
        self._share.labels(best_of_label(asked_best_of)).observe(best_of / asked_best_of)


class EngineState(Protocol):
    """How busy an engine is now."""

    @property
    def waiting(self) -> int:
        """Sequences that wait for a place in its batch."""

    @property
    def kv_cache_usage(self) -> float:
        """Share of its KV cache in use, 0 to 1."""


class Metrics:
    """Instruments with the prefix `bestofn_`, in base units (seconds, tokens, dollars).

    costs: counts what requests cost; None where no prices are known. target_s: for the p99 of latency; None without.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        engine_version: str,
        costs: CostCounter | None = None,
        target_s: float | None = None,
    ) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"bestofn_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"bestofn_{name}", text, labels, buckets=buckets, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"bestofn_{name}", text, labels, registry=registry)

        self._registry = registry
        self._requests = counter("requests_total", "Requests answered.", "endpoint", "strategy", "outcome")
        self._duration = histogram(
            "request_duration_seconds", "From the request's arrival to its last byte.", _SECONDS, "best_of"
        )
        self._stages = histogram("stage_duration_seconds", "Time spent in a stage of a request.", _SECONDS, "stage")
        self._candidates = counter("candidates_total", "Candidates by what became of them.", "outcome")
        self._generated = counter("generated_tokens_total", "Generated tokens by their candidate's fate.", "fate")
        self._scored = counter("scored_tokens_total", "Tokens given to the reward model.", "cached")
        self._tokens = histogram("tokens_per_request", "Tokens generated for one request.", _TOKENS, "best_of")
        self._reward = SignedHistogram(
            "bestofn_reward",
            "Reward of the selected candidate, the mean, and the best that half as many would have had, expected.",
            ("which", "best_of"),
            buckets=_REWARDS,
            registry=registry,
        )
        self._gain = histogram("reward_gain", "Selected reward minus mean of its candidates.", _GAINS, "best_of")
        self._straggler = histogram(
            "straggler_seconds", "Last minus median finish of a request's candidates.", _SECONDS
        )
        self._in_flight = gauge("candidates_in_flight", "Candidates that an engine works on.")
        self._limit = gauge("candidates_limit", "Candidates in flight past which requests wait.")
        self._queued = gauge("requests_queued", "Requests that wait for the place of their first candidate.")
        self._waiting = gauge("queue_depth", "Sequences that wait for a place in an engine's batch.", "engine")
        self._kv_cache = gauge("kv_cache_usage_ratio", "Share of an engine's KV cache in use.", "engine")
        self._scores = gauge("scores_in_flight", "Sequences that the reward model is working on.")
        self._reward_up = gauge("reward_model_up", "1 while the reward model answers.")
        self._logged = counter("candidate_log_records_total", "Records for --candidate-log by outcome.", "outcome")
        self._candidate_log_up = gauge("candidate_log_up", "1 unless records for --candidate-log are being lost.")
        self._slo = None if target_s is None else SloMetrics(registry, target_s)
        self._costs = costs
        if costs is not None:
            self._cost_per_request = histogram("cost_per_request_dollars", "Cost of one request.", _DOLLARS, "best_of")
            registry.register(costs)
        build = gauge("build_info", "Versions.", "version", "vllm")
        build.labels(version("bestofn-server"), engine_version).set(1)

    def observe(
        self,
        *,
        candidates_in_flight: Callable[[], float],
        candidates_limit: Callable[[], float],
        requests_queued: Callable[[], float],
        scores_in_flight: Callable[[], float],
        reward_model_up: Callable[[], float] | None,
        candidate_log_up: Callable[[], float],
    ) -> None:
        """Let the gauges read the live state of the server. Without a reward model there is no gauge of one."""
        self._in_flight.set_function(candidates_in_flight)
        self._limit.set_function(candidates_limit)
        self._queued.set_function(requests_queued)
        self._scores.set_function(scores_in_flight)
        if reward_model_up is None:
            self._registry.unregister(self._reward_up)
        else:
            self._reward_up.set_function(reward_model_up)
        self._candidate_log_up.set_function(candidate_log_up)

    def observe_engine(self, name: str, load: EngineState) -> None:
        """Let the gauges of an engine ("generator" or "reward") read its state."""
        self._waiting.labels(name).set_function(lambda: load.waiting)
        self._kv_cache.labels(name).set_function(lambda: load.kv_cache_usage)

    def logged(self, outcome: str, records: int) -> None:
        """Records of the candidate log: written (and safe), dropped or failed. From any thread."""
        self._logged.labels(outcome).inc(records)

    def turned_away(self, endpoint: Endpoint, outcome: str) -> None:
        """A request that was refused, or whose client left, before anything was generated for it."""
        self._requests.labels(endpoint, "none", outcome).inc()

    def record(self, context: RequestContext, outcome: str) -> None:
        """A request that reached vLLM's application, after everything it started has ended."""
        label = best_of_label(context.best_of)
        self._requests.labels(context.ask.endpoint, context.ask.options.strategy.name, outcome).inc()
        seconds = time.monotonic() - context.started_s
        awaited = context.ask.endpoint != "realtime" and not context.ask.background  # by somebody, for its answer
        if awaited:
            self._duration.labels(label).observe(seconds)
        if self._slo is not None and awaited and outcome == "ok":
            self._slo.answered(context.best_of, max(context.ask.asked_best_of, context.best_of), seconds)
        self._tokens.labels(label).observe(count_tokens(context.ledgers).generated)
        cost = context.cost(context.ledgers)
        if cost is not None and self._costs is not None:
            self._costs.add(cost)
            self._cost_per_request.labels(label).observe(sum(cost.values()))
        for ledger in context.ledgers:
            self._record_ledger(ledger, label, context.started_s)

    def _record_ledger(self, ledger: Ledger, label: str, arrived_s: float) -> None:
        self._stages.labels("admit").observe(max(ledger.started_s - arrived_s, 0.0))
        self._stages.labels("generate").observe(ledger.last_finish_s - ledger.started_s)
        self._stages.labels("score").observe(max(ledger.end_s - ledger.last_finish_s, 0.0))
        self._stages.labels("select").observe(ledger.select_s)
        for candidate in ledger.candidates:
            fate = ledger.fate(candidate)
            self._candidates.labels(fate).inc()
            self._generated.labels(fate).inc(candidate.tokens)
            if candidate.unscored:
                self._candidates.labels("unscored").inc()
        self._scored.labels("true").inc(ledger.scored_cached_tokens)
        self._scored.labels("false").inc(ledger.scored_tokens - ledger.scored_cached_tokens)
        self._record_rewards(ledger, label)
        finishes = sorted(record.finished_s for record in ledger.records if record.finished_s is not None)
        if len(finishes) > 1:
            self._straggler.observe(finishes[-1] - finishes[(len(finishes) - 1) // 2])

    def _record_rewards(self, ledger: Ledger, label: str) -> None:
        selected = ledger.reward
        if selected is None:
            return
        rewards = ledger.rewards
        mean = sum(rewards) / len(rewards)
        self._reward.labels("selected", label).observe(selected)
        self._reward.labels("mean", label).observe(mean)
        if len(rewards) > 1 and ledger.plan.waits_for_all:
            self._reward.labels("half", label).observe(best_of_n(rewards, rewards, len(rewards) // 2))
        self._gain.labels(label).observe(max(selected - mean, 0.0))
