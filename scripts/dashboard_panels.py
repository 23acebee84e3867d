"""The panels of the dashboard "Cost versus N": what is asked of Prometheus, and how to read the answer.

`$job`, `$instance`, `$window` and `$__rate_interval` are the dashboard's variables. Quantiles over requests are taken
`by (le, best_of)`: N is the dimension that everything here is about, and the only one with many values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

_S = 'job=~"$job", instance=~"$instance"'


@dataclass(frozen=True)
class PromQuery:
    """PromQL, and the name of each series it returns."""

    expression: str
    legend: str
    dashed: bool = False  # how its lines are drawn


@dataclass(frozen=True)
class Panel:
    """One panel. Sizes are in cells of a grid that is 24 wide."""

    title: str
    text: str  # how to read it, and what to do about it
    unit: str  # Grafana's name
    queries: Sequence[PromQuery]
    width: int = 12
    height: int = 8
    kind: Literal["timeseries", "stat"] = "timeseries"
    stacked: bool = False
    minimum: float | None = 0
    maximum: float | None = None
    thresholds: Sequence[tuple[float, str]] = ()  # from which value which colour
    words: Sequence[str] = ()  # what the values 0, 1, ... are called


def _stat(
    title: str,
    text: str,
    unit: str,
    expression: str,
    thresholds: Sequence[tuple[float, str]] = (),
    words: Sequence[str] = (),
) -> Panel:
    query = PromQuery(expression, title)
    return Panel(title, text, unit, [query], width=4, height=4, kind="stat", thresholds=thresholds, words=words)


def _mean_by_n(histogram: str) -> str:
    total = f"sum by (best_of) (rate(bestofn_{histogram}_sum{{{_S}}}[$window]))"
    return f"{total} / (sum by (best_of) (rate(bestofn_{histogram}_count{{{_S}}}[$window])) > 0)"


def _latency(quantile: float) -> Panel:
    percent = round(quantile * 100)
    text = {
        50: "Half of the requests for N candidates take longer. It grows with N, whose candidates share the batch.",
        95: "One request in 20 takes longer. If it grows away from p50, look at stragglers and queues.",
        99: "One request in 100 takes longer. It is the first to show that --max-candidates lets too much in.",
    }[percent]
    buckets = f"sum by (le, best_of) (rate(bestofn_request_duration_seconds_bucket{{{_S}}}[$__rate_interval]))"
    query = PromQuery(f"histogram_quantile({quantile}, {buckets})", "N = {{best_of}}")
    return Panel(f"Latency p{percent} by N", text, "s", [query], width=8)


def _reward(which: str) -> str:
    """Rewards are signed, so `rate` would take a falling sum for a restart; see recording.yml."""
    s = f'{_S}, which="{which}"'
    restarted = f"unless resets(bestofn_reward_count{{{s}}}[$window]) > 0"
    total = f"sum by (best_of) (delta(bestofn_reward_sum{{{s}}}[$window]) {restarted})"
    return f"{total} / (sum by (best_of) (delta(bestofn_reward_count{{{s}}}[$window]) {restarted}) > 0)"


def _rate_by(label: str, counter: str) -> PromQuery:
    return PromQuery(f"sum by ({label}) (rate(bestofn_{counter}_total{{{_S}}}[$__rate_interval]))", f"{{{{{label}}}}}")


def _alert_at(threshold: str) -> PromQuery:
    """The bound of an alert, where alerts.yml has it."""
    return PromQuery(f'max(bestofn:threshold{{name="{threshold}"}})', "alert", dashed=True)


_NOW = [
    _stat(
        "Requests",
        "Requests answered a second, refused ones included.",
        "reqps",
        f"sum(rate(bestofn_requests_total{{{_S}}}[$__rate_interval]))",
    ),
    _stat(
        "Candidates per request",
        "Candidates sampled for a request, on average: the factor by which generation costs more than at N = 1.",
        "none",
        f'sum(rate(bestofn_candidates_total{{{_S}, outcome!="unscored"}}[$window]))'
        f" / (sum(rate(bestofn_request_duration_seconds_count{{{_S}}}[$window])) > 0)",
    ),
    _stat(
        "Latency p95",
        "Over all N together. The objective of recording.yml is 95 of 100 requests within 10 s.",
        "s",
        f"histogram_quantile(0.95, sum by (le) (rate(bestofn_request_duration_seconds_bucket{{{_S}}}[$window])))",
    ),
    _stat(
        "Error budget burn",
        "How many times faster than allowed requests ended with the server's fault (5xx and 429) in the past hour. "
        "At 1 a month's budget lasts a month; at 14.4 a page goes out.",
        "none",
        'max(job_slo:bestofn_bad_requests:ratio_rate1h{job=~"$job", slo="errors"}'
        " / on (slo) group_left () bestofn:error_budget)",
        [(1, "yellow"), (14.4, "red")],
    ),
    _stat(
        "Dollars per hour",
        "What the machines cost now, idle time included where prices are per hour. Empty without prices.",
        "currencyUSD",
        f"sum(rate(bestofn_cost_dollars_total{{{_S}}}[$window])) * 3600",
    ),
    _stat(
        "Reward model",
        "Down: requests for several candidates get 503, or unranked answers with --on-reward-failure unranked.",
        "none",
        f"min(bestofn_reward_model_up{{{_S}}})",
        words=["down", "up"],
    ),
]

_COST = [
    Panel(
        "Requests by N",
        "How many requests were served at each N. One request at N = 16 weighs as much as sixteen at N = 1, so read it "
        "with the panels below.",
        "reqps",
        [
            PromQuery(
                f"sum by (best_of) (rate(bestofn_request_duration_seconds_count{{{_S}}}[$__rate_interval]))",
                "N = {{best_of}}",
            )
        ],
        stacked=True,
    ),
    Panel(
        "Cost by part",
        "Dollars an hour for reading prompts, generating, scoring, and nothing (idle, where prices are per hour). Much "
        "idle: a smaller machine, or a larger N for free. Much score: a smaller reward model.",
        "currencyUSD",
        [PromQuery(f"sum by (part) (rate(bestofn_cost_dollars_total{{{_S}}}[$window])) * 3600", "{{part}}")],
        stacked=True,
    ),
    _latency(0.5),
    _latency(0.95),
    _latency(0.99),
    Panel(
        "Tokens per request by N",
        "Generated by all candidates together; it doubles with N unless candidates are stopped early. If it rises at "
        "one N, answers have become longer.",
        "short",
        [PromQuery(_mean_by_n("tokens_per_request"), "N = {{best_of}}")],
    ),
    Panel(
        "Dollars per request by N",
        "Mean cost of a request. It grows more slowly than N while candidates share a prompt and a batch that is not "
        "full; once it doubles with N, the machine is full.",
        "currencyUSD",
        [PromQuery(_mean_by_n("cost_per_request_dollars"), "N = {{best_of}}")],
    ),
]

_GAIN = [
    Panel(
        "Reward by N, selected (solid) and mean (dashed)",
        "Solid: the reward of the answer. Dashed: the mean of its candidates, which is what N = 1 would have got. "
        "Their distance is what selecting buys; no distance means that the candidates are alike or the rewards do "
        "not order them. Dashed lines apart from each other: different N get different prompts.",
        "none",
        [
            PromQuery(_reward("selected"), "N = {{best_of}}"),
            PromQuery(_reward("mean"), "N = {{best_of}} mean", dashed=True),
        ],
        width=24,
        minimum=None,
    ),
    Panel(
        "Reward bought by the last doubling of N",
        "Selected reward minus what the best of half as many of the same candidates would have got, over the past "
        "hour. Take the largest N whose last doubling still buys something you would pay twice for; near zero, halve "
        "N.",
        "none",
        [
            PromQuery(
                'avg by (best_of) (job_best_of:bestofn_reward_of_last_doubling:mean1h{job=~"$job"})',
                "N = {{best_of}}",
            )
        ],
        minimum=None,
    ),
    Panel(
        "Dollars per unit of reward gained",
        "All dollars of the requests at N over all they gained (selected minus mean). It is lowest where a dollar buys "
        "most; a rise without a change of N means that selection gains less, so look at the rewards.",
        "currencyUSD",
        [
            PromQuery(
                f"sum by (best_of) (rate(bestofn_cost_per_request_dollars_sum{{{_S}}}[$window]))"
                f" / (sum by (best_of) (rate(bestofn_reward_gain_sum{{{_S}}}[$window])) > 0)",
                "N = {{best_of}}",
            )
        ],
    ),
]

_TIME = [
    Panel(
        "Time by stage",
        "Mean seconds in each stage: admit is everything before the first candidate starts, score what remains of "
        "scoring once the last candidate is done. admit grows with queues, generate with N and length; score grows "
        "when the reward model is the bottleneck.",
        "s",
        [
            PromQuery(
                f"sum by (stage) (rate(bestofn_stage_duration_seconds_sum{{{_S}}}[$window]))"
                f" / (sum by (stage) (rate(bestofn_stage_duration_seconds_count{{{_S}}}[$window])) > 0)",
                "{{stage}}",
            )
        ],
        stacked=True,
    ),
    Panel(
        "Stragglers",
        "How long requests wait for their last candidate after half of them are done (p50 and p95). If it rises, cap "
        "it: rerank.deadline_ms or max_tokens.",
        "s",
        [
            PromQuery(
                f"histogram_quantile({quantile / 100}, "
                f"sum by (le) (rate(bestofn_straggler_seconds_bucket{{{_S}}}[$window])))",
                f"p{quantile}",
            )
            for quantile in (50, 95)
        ],
        width=6,
    ),
    Panel(
        "Straggler share",
        "That wait, as a share of the time of requests for several candidates, over the past hour. Above the dashed "
        "line an alert asks for a look at the long candidates.",
        "percentunit",
        [PromQuery('job:bestofn_straggler_time:ratio_rate1h{job=~"$job"}', "{{job}}"), _alert_at("straggler_time")],
        width=6,
        maximum=1,
    ),
]

_CANDIDATES = [
    Panel(
        "Candidates by fate",
        "Candidates a second: returned to clients, rejected by the reward model, aborted (deadline, early stop, client "
        "gone) or failed. unscored ones have one of these fates too: their text was too long or their reward was no "
        "number.",
        "cps",
        [_rate_by("outcome", "candidates")],
    ),
    Panel(
        "Generated tokens by fate",
        "Where the generator's work goes. aborted is work that was stopped half way; failed should be zero.",
        "short",
        [_rate_by("fate", "generated_tokens")],
        stacked=True,
    ),
    Panel(
        "Share of tokens not returned",
        "(N - 1) / N where nothing is stopped early, over the past hour. The dashed line is N = 10: above it, check "
        "that the last doubling is worth its price.",
        "percentunit",
        [PromQuery('job:bestofn_rejected_tokens:ratio_rate1h{job=~"$job"}', "{{job}}"), _alert_at("rejected_tokens")],
        maximum=1,
    ),
    Panel(
        "Scored tokens",
        "Tokens given to the reward model a second; cached=true were in its prefix cache already. A small cached part "
        "with long prompts: give it more memory (--reward-gpu-memory-utilization).",
        "short",
        [
            PromQuery(
                f"sum by (cached) (rate(bestofn_scored_tokens_total{{{_S}}}[$__rate_interval]))",
                "cached={{cached}}",
            )
        ],
        stacked=True,
    ),
]

_LOAD = [
    Panel(
        "Candidates in flight",
        "Against --max-candidates (dashed), past which they wait, and requests in a queue of their own. At the line "
        "with short queues of the engines: raise it. At the line with long ones: more machines or a smaller N.",
        "short",
        [
            PromQuery(f"sum(bestofn_candidates_in_flight{{{_S}}})", "candidates"),
            PromQuery(f"sum(bestofn_candidates_limit{{{_S}}})", "limit", dashed=True),
            PromQuery(f"sum(bestofn_requests_queued{{{_S}}})", "requests in the queue"),
            PromQuery(f"sum(bestofn_scores_in_flight{{{_S}}})", "scores"),
        ],
    ),
    Panel(
        "Queue of each engine",
        "Sequences that wait for a place in the batch. A long queue before the reward engine alone: scoring is the "
        "bottleneck.",
        "short",
        [PromQuery(f"sum by (engine) (bestofn_queue_depth{{{_S}}})", "{{engine}}")],
        width=6,
    ),
    Panel(
        "KV cache of each engine",
        "Share in use, of the fullest instance. Near 1 the engine preempts, and tokens are computed twice: shift "
        "memory between the engines (--reward-gpu-memory-utilization) or lower --max-candidates.",
        "percentunit",
        [PromQuery(f"max by (engine) (bestofn_kv_cache_usage_ratio{{{_S}}})", "{{engine}}")],
        width=6,
        maximum=1,
        thresholds=[(0.95, "red")],
    ),
]

_OBJECTIVES = [
    Panel(
        "Error budgets burning",
        "How many times faster than allowed the budgets burn, over the past hour: at 1 a month's budget lasts a month. "
        "Above the line (14.4) a page goes out.",
        "none",
        [
            PromQuery(
                'job_slo:bestofn_bad_requests:ratio_rate1h{job=~"$job"} / on (slo) group_left () bestofn:error_budget',
                "{{job}} {{slo}}",
            )
        ],
        thresholds=[(14.4, "red")],
    ),
    Panel(
        "Requests by outcome",
        "What the errors are: overloaded is 429, reward_unavailable and engine_unavailable 503, deadline_exceeded 504; "
        "invalid_value and client_error are the clients' own and burn no budget, nor do clients that left.",
        "reqps",
        [_rate_by("outcome", "requests")],
    ),
    Panel(
        "Answers past the target of --slo-p99-ms",
        "Share of the answers that took longer, by the N that was used; empty without a target. The dashed line is "
        "where an alert warns that lowering N is not enough.",
        "percentunit",
        [
            PromQuery(
                f"sum by (best_of) (rate(bestofn_slo_missed_total{{{_S}}}[$window]))"
                f" / (sum by (best_of) (rate(bestofn_slo_missed_total{{{_S}}}[$window])"
                f" + rate(bestofn_slo_met_total{{{_S}}}[$window])) > 0)",
                "N = {{best_of}}",
            ),
            _alert_at("slo_missed"),
        ],
    ),
    Panel(
        "N used over N asked for",
        "What --slo-p99-ms leaves of each N, on average; empty without a target. At 1 nobody gives anything up. Low "
        "for hours: more machines, or a smaller --best-of for everybody.",
        "percentunit",
        [
            PromQuery(
                f"sum by (asked) (rate(bestofn_best_of_share_sum{{{_S}}}[$window]))"
                f" / (sum by (asked) (rate(bestofn_best_of_share_count{{{_S}}}[$window])) > 0)",
                "asked for {{asked}}",
            )
        ],
        maximum=1,
    ),
    Panel(
        "Selected reward against its past week",
        "Solid: the past hour. Dashed: the mean of the past 7 days. Apart for long: other prompts, another policy or "
        "reward model, or a reward model that is being fooled.",
        "none",
        [
            PromQuery(
                'avg by (best_of) (job_which_best_of:bestofn_reward:mean1h{job=~"$job", which="selected"})',
                "N = {{best_of}}",
            ),
            PromQuery(
                "avg by (best_of) "
                '(avg_over_time(job_which_best_of:bestofn_reward:mean1h{job=~"$job", which="selected"}[7d]))',
                "N = {{best_of}} past week",
                dashed=True,
            ),
        ],
        width=24,
        minimum=None,
    ),
]

_VLLM = [
    Panel(
        "vLLM: KV cache in use",
        "vLLM's own figure for the generator, to lay beside ours.",
        "percentunit",
        [PromQuery(f"max by (model_name) (vllm:kv_cache_usage_perc{{{_S}}})", "{{model_name}}")],
        width=6,
        maximum=1,
    ),
    Panel(
        "vLLM: requests waiting and running",
        "Each candidate is one request of vLLM's. Running stops at --max-num-seqs; what waits is our queue.",
        "short",
        [
            PromQuery(f"sum(vllm:num_requests_waiting{{{_S}}})", "waiting"),
            PromQuery(f"sum(vllm:num_requests_running{{{_S}}})", "running"),
        ],
        width=6,
    ),
    Panel(
        "vLLM: tokens a second",
        "The generator's throughput, prompts and answers; flat while queues grow means that it is full.",
        "short",
        [
            PromQuery(f"sum(rate(vllm:prompt_tokens_total{{{_S}}}[$__rate_interval]))", "prompt"),
            PromQuery(f"sum(rate(vllm:generation_tokens_total{{{_S}}}[$__rate_interval]))", "generated"),
        ],
        width=6,
    ),
    Panel(
        "vLLM: preemptions a second",
        "Sequences thrown out of a full KV cache and computed again. Should be zero.",
        "cps",
        [PromQuery(f"sum(rate(vllm:num_preemptions_total{{{_S}}}[$__rate_interval]))", "preemptions")],
        width=6,
    ),
]

ROWS: Mapping[str, Sequence[Panel]] = {
    "Now": _NOW,
    "What N costs": _COST,
    "What N buys": _GAIN,
    "Where the time goes": _TIME,
    "What becomes of candidates and tokens": _CANDIDATES,
    "Load": _LOAD,
    "Objectives": _OBJECTIVES,
    "vLLM": _VLLM,
}
