"""From how many requests a month a trained policy is cheaper than best-of-N at equal quality. Pure numpy.

Best-of-N pays for every request, training pays once. With T the dollars of training, spread over some months, and c the
dollars of a request, both cost the same at R = (T_policy - T_best_of_n) / months / (c_best_of_n - c_policy) requests a
month.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.estimators import Floats, Interval, bootstrap_draws, percentiles


@dataclass(frozen=True)
class Bill:
    """What a way of answering costs. training: dollars, once. request: dollars each."""

    training: float
    request: float

    def monthly(self, requests: Floats, months: float) -> Floats:
        """Dollars a month for these numbers of requests a month."""
        dollars: Floats = self.training / months + self.request * requests
        return dollars


@dataclass(frozen=True)
class BreakEven:
    """A policy at N = 1 against best-of-N of the first policy at the same gold.

    n: the N that equals it, between the measured ones where it must be; infinite where none up to the largest does.
    requests: a month, from which on the policy is cheaper; infinite where it never is, 0 where it always is.
    """

    policy: str
    gold: Interval
    n: Interval
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
    policy_bill: Bill,
    training: float,
    requests: Sequence[float],
    months: float,
) -> BreakEven:
    """gold: of the policy, [prompts]. curve: of best-of-n of the first policy, [prompts, sizes]. training: what
    best-of-n takes of it, dollars. requests: dollars of one with each n. Intervals are over prompts, the same for both.
    """
    values = np.column_stack([gold, curve])

    def both(rows: Floats) -> Floats:
        means = rows.mean(axis=0)
        n = equal_n(float(means[0]), means[1:], sizes)
        bill = Bill(training, price_at(n, sizes, requests))
        return np.array([n, even_requests(policy_bill, bill, months)])

    n, at = both(values)
    draws = bootstrap_draws(values, both)
    means = bootstrap_draws(values[:, :1], lambda rows: rows.mean(axis=0))
    return BreakEven(
        policy=policy,
        gold=Interval(float(gold.mean()), *percentiles(means[:, 0])),
        n=Interval(float(n), *_ends(draws[:, 0])),
        requests=Interval(float(at), *_ends(draws[:, 1])),
        policy_bill=policy_bill,
        best_of_n_bill=Bill(training, price_at(float(n), sizes, requests)),
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


def even_requests(policy: Bill, best_of_n: Bill, months: float) -> float:
    """Requests a month at which both cost the same; see the module's first lines."""
    if math.isinf(best_of_n.request):
        return 0.0
    more_training = (policy.training - best_of_n.training) / months
    if more_training <= 0 and policy.request <= best_of_n.request:
        return 0.0
    if policy.request >= best_of_n.request:
        return math.inf
    return max(more_training, 0.0) / (best_of_n.request - policy.request)


def sentence(found: BreakEven, base: str) -> str:
    """For people. base: the name of the policy that best-of-N samples."""
    quality = f"{found.policy} at N = 1 has gold {found.gold}"
    if math.isinf(found.n.value):
        return (
            f"{quality}, which best-of-N of {base} does not reach up to N = {found.largest}: at that quality there is "
            f"nothing to choose."
        )
    same = f"best-of-{found.n.value:.1f} [{_number(found.n.low)}, {_number(found.n.high)}] of {base}"
    if math.isinf(found.requests.value):
        return f"{quality}, as {same} has, and never becomes cheaper: its requests cost no less."
    if found.requests.value == 0:
        return f"{quality}, as {same} has, and is cheaper from the first request: it takes no more training."
    return (
        f"From {_number(found.requests.value)} requests a month "
        f"[{_number(found.requests.low)}, {_number(found.requests.high)}] on, {found.policy} is cheaper than {same} "
        f"at the same gold, {found.gold}."
    )


def _number(value: float) -> str:
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
