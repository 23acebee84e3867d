"""How many users there are as a load test goes on: `locust ... --shape ramp|step|spike|diurnal`.

`-u` is the peak and `-t` the whole time, during which the shape is gone through once. Without `--shape` locust's own
`-u` and `-r` work. The curves are pure; `Shaped` shows one to locust.
"""

import math
from collections.abc import Callable, Mapping

from locust import LoadTestShape

_STEPS = 5
_BASE = 0.2
_SPIKE = (0.4, 0.6)
_DEFAULT_RUN_S = 300.0

Curve = Callable[[float], float]  # share of the run that has passed, 0 to 1, to share of the peak, 0 to 1


def ramp(passed: float) -> float:
    """Ever more, at one speed: where does latency begin to rise?"""
    return passed


def step(passed: float) -> float:
    """Five equal steps, each long enough to settle: latency and throughput at each."""
    return min(math.floor(passed * _STEPS) + 1, _STEPS) / _STEPS


def spike(passed: float) -> float:
    """A fifth of the peak, all of it for the fifth of the time in the middle, and a fifth again: does it recover?"""
    return 1.0 if _SPIKE[0] <= passed < _SPIKE[1] else _BASE


def diurnal(passed: float) -> float:
    """One day from night to night, between a fifth of the peak and all of it."""
    return _BASE + (1 - _BASE) * (1 - math.cos(2 * math.pi * passed)) / 2


CURVES: Mapping[str, Curve] = {"ramp": ramp, "step": step, "spike": spike, "diurnal": diurnal}


def users_at(curve: Curve, elapsed_s: float, *, peak: int, run_s: float) -> int | None:
    """Users after `elapsed_s`, at least one; None when the run is over."""
    if elapsed_s >= run_s:
        return None
    return max(1, round(peak * curve(elapsed_s / run_s)))


class Shaped(LoadTestShape):
    """Shows a curve to locust. Peak and time are read as the test runs: the web page may change them."""

    use_common_options = True

    def __init__(self, curve: Curve) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of locust's
        self._curve = curve

    def tick(self) -> tuple[int, float] | None:
        """Users, and how many may come in a second: as many as the curve wants at once."""
        options = self.runner.environment.parsed_options if self.runner else None
        peak = getattr(options, "num_users", None) or 1
        run_s = float(getattr(options, "run_time", None) or _DEFAULT_RUN_S)
        elapsed_s: float = self.get_run_time()  # type: ignore[no-untyped-call]  # of locust's
        users = users_at(self._curve, elapsed_s, peak=peak, run_s=run_s)
        return None if users is None else (users, float(peak))
