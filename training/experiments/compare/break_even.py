"""From how many requests a month a trained policy is cheaper than best-of-N at equal quality. Pure numpy.

Best-of-N pays for every request, training pays once. With T the dollars of training, spread over some months, and c the
dollars of a request, both cost the same at R = (T_policy - T_best_of_n) / months / (c_best_of_n - c_policy) requests a
month.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from measuring.estimators import Floats, Interval, bootstrap_draws, percentiles


@dataclass(frozen=True)
class Bill:
    """What a way of answering costs."""

    training: float  # dollars, once
    request: float  # dollars each

    def monthly(self, requests: Floats, months: float) -> Floats:
        """Dollars a month for these numbers of requests a month."""
        dollars: Floats = self.training / months + self.request * requests
        return dollars


Verdict = Literal["from", "up_to", "always", "never", "out_of_reach", "no_better"]


@dataclass(frozen=True)
class BreakEven:
    """A policy at N = 1 against best-of-N of the first policy at the same gold."""

    policy: str
    gold: Interval
    # The N that equals it, between the measured ones where it must be; infinite where none up to the largest does.
    n: Interval
    # The policy is cheaper from (or up to) so many requests a month, always or never; or best-of-N is out of reach, or
    # the policy no better than one answer of the first.
    verdict: Verdict
    # A month, at which both cost the same; its interval counts "always" as 0 and "never" as infinite.
    requests: Interval
    policy_bill: Bill
    best_of_n_bill: Bill
    largest: int


def break_even(
    policy: str,
    *,
    gold: Floats,
    curve: Floats,
    sizes: Sequence[int],
    training: tuple[float, float],
    dollars: Floats,
    curve_dollars: Sequence[Floats],
    months: float,
) -> BreakEven:
    """Find the best-of-n that equals a policy, and the number of requests at which both cost the same.

    gold: of the policy, [prompts]. curve: of best-of-n of the first policy, [prompts, sizes]. training: dollars that
    the policy takes, and best-of-n for its reward model. dollars: of measured requests to the policy, [requests], and
    to best-of-n with each of `sizes`. Intervals are over prompts, the same ones for both, and over those requests.
    """
    draw = np.random.default_rng(0)

    def bills(rows: Floats, of: Callable[[Floats], float]) -> tuple[float, Bill, Bill]:
        means = rows.mean(axis=0)
        n = equal_n(float(means[0]), means[1:], sizes)
        best_of_n = Bill(training[1] if n > 1 else 0.0, price_at(n, sizes, [of(each) for each in curve_dollars]))
        return n, Bill(training[0], of(dollars)), best_of_n

    def resampled(rows: Floats) -> Floats:
        n, ours, theirs = bills(rows, lambda each: float(draw.choice(each, len(each)).mean()))
        verdict, at = compare(ours, theirs, months)
        return np.array([n, {"always": 0.0, "never": math.inf}.get(verdict, at), rows[:, 0].mean()])

    values = np.column_stack([gold, curve])
    n, ours, theirs = bills(values, lambda each: float(each.mean()))
    verdict, at = compare(ours, theirs, months)
    draws = bootstrap_draws(values, resampled)
    return BreakEven(
        policy=policy,
        gold=Interval(float(gold.mean()), *percentiles(draws[:, 2])),
        n=Interval(n, *_ends(draws[:, 0])),
        verdict="no_better" if n <= 1 else "out_of_reach" if math.isinf(n) else verdict,
        requests=Interval(at, *_ends(draws[:, 1])),
        policy_bill=ours,
        best_of_n_bill=theirs,
        largest=sizes[-1],
    )


def equal_n(gold: float, curve: Floats, sizes: Sequence[int]) -> float:
    """The least n whose best-of-n has this gold, linear in log n between the sizes; infinite where none has."""
    if curve[0] >= gold:
        return float(sizes[0])
    for index in range(1, len(sizes)):
        if curve[index] >= gold:
            below, above = curve[index - 1], curve[index]
            start, end = math.log(sizes[index - 1]), math.log(sizes[index])
            return math.exp(start + (end - start) * float((gold - below) / (above - below)))
    return math.inf


def price_at(n: float, sizes: Sequence[int], requests: Sequence[float]) -> float:
    """Dollars of a request with n candidates, linear in n between the sizes; infinite where n is."""
    return math.inf if math.isinf(n) else float(np.interp(n, sizes, requests))


def compare(policy: Bill, best_of_n: Bill, months: float) -> tuple[Verdict, float]:
    """When the policy is cheaper, and the requests a month at which both cost the same; see the module's first lines.

    These are 0 where it always is, infinite where it never is.
    """
    if math.isinf(best_of_n.request):
        return "always", 0.0
    more_training = (policy.training - best_of_n.training) / months
    saved = best_of_n.request - policy.request
    if more_training >= 0 and saved <= 0:
        return "never", math.inf
    if more_training <= 0 and saved >= 0:
        return "always", 0.0
    return "from" if saved > 0 else "up_to", more_training / saved


def sentence(found: BreakEven, base: str) -> str:
    """For people. base: the name of the policy that best-of-N samples."""
    name, gold = found.policy, f"gold {found.gold}"
    same = f"best-of-{found.n.value:.1f} [{rounded(found.n.low)}, {rounded(found.n.high)}] of {base}"
    match found.verdict:
        case "no_better":
            return f"{name} at N = 1 has {gold}, no more than one answer of {base}: its training has bought nothing."
        case "out_of_reach":
            return f"{name} at N = 1 has {gold}, which best-of-N of {base} does not reach up to N = {found.largest}."
        case "always":
            return f"{name} is cheaper than {same} from the first request on, at the same {gold}."
        case "never":
            return f"{name} is never cheaper than {same}, at the same {gold}."
    requests = f"{rounded(found.requests.value)} [{rounded(found.requests.low)}, {rounded(found.requests.high)}]"
    bound = f"From {requests} requests a month on" if found.verdict == "from" else f"Up to {requests} requests a month"
    return f"{bound}, {name} is cheaper than {same}, at the same {gold}."


def rounded(value: float) -> str:
    """Two digits that count; small ones as they are."""
    if math.isinf(value) or math.isnan(value):
        return "∞"
    if value < 100:
        return f"{value:.2g}"
    return f"{float(f'{value:.2g}'):,.0f}"


def _ends(draws: Floats) -> tuple[float, float]:
    """As `percentiles`, of draws of which some may be infinite."""
    low, high = np.quantile(draws, [0.025, 0.975], method="nearest")
    return float(low), float(high)
