"""Best-of-N beside trained policies: the arithmetic of break-even, and the whole of `bestofn compare` in short."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bestofn_server.cli import app
from training.experiments.compare import figures
from training.experiments.compare.break_even import Bill, break_even, compare, equal_n, price_at, sentence
from training.experiments.compare.config import CompareConfig
from training.experiments.compare.load import cells
from training.experiments.compare.quality import Pool
from training.run.config import ConfigError

SIZES = (1, 2, 4, 8)
RISING = np.array([0.5, 0.7, 0.8, 0.9])
PRICES = (1.0, 2.0, 3.0, 5.0)

# -- break-even


@pytest.mark.parametrize(
    ("gold", "n"), [(0.4, 1.0), (0.5, 1.0), (0.6, math.sqrt(2)), (0.7, 2.0), (0.85, 4 * math.sqrt(2)), (0.9, 8.0)]
)
def test_equal_quality_is_found_between_the_sizes(gold: float, n: float) -> None:
    assert equal_n(gold, RISING, SIZES) == pytest.approx(n)


def test_no_n_reaches_what_is_better_than_all() -> None:
    assert equal_n(0.91, RISING, SIZES) == math.inf
    assert price_at(math.inf, SIZES, PRICES) == math.inf


def test_the_price_of_a_fraction_of_a_candidate_lies_between() -> None:
    assert [price_at(n, SIZES, PRICES) for n in (1.0, 3.0, 6.0)] == [1.0, 2.5, 4.0]


DOLLARS = st.floats(0, 1e4)


@given(DOLLARS, DOLLARS, st.floats(1e-3, 10), st.floats(1e-3, 10), st.floats(0.1, 36))
def test_the_verdict_says_who_is_cheaper_on_either_side(
    ours: float, theirs: float, our_request: float, their_request: float, months: float
) -> None:
    policy, best_of_n = Bill(ours, our_request), Bill(theirs, their_request)
    verdict, even = compare(policy, best_of_n, months)
    few, many = (even / 2, 2 * even) if verdict in ("from", "up_to") else (1.0, 1e6)
    lead = [
        float(best_of_n.monthly(np.array([n]), months)[0] - policy.monthly(np.array([n]), months)[0])
        for n in (few, many)
    ]
    scale = 1e-9 * (ours + theirs + 1e7)
    assert {
        "from": lead[0] <= scale and lead[1] >= -scale,
        "up_to": lead[0] >= -scale and lead[1] <= scale,
        "always": min(lead) >= -scale,
        "never": max(lead) <= scale,
    }[verdict]


@pytest.mark.parametrize(
    ("policy", "best_of_n", "expected"),
    [
        (Bill(3, 1), Bill(1, 2), ("from", 2.0)),
        (Bill(1, 2), Bill(3, 1), ("up_to", 2.0)),
        (Bill(1, 1), Bill(2, 2), ("always", 0.0)),
        (Bill(3, 2), Bill(2, 2), ("never", math.inf)),
        (Bill(2, 2), Bill(2, 2), ("never", math.inf)),
        (Bill(3, 2), Bill(2, math.inf), ("always", 0.0)),
    ],
)
def test_verdicts(policy: Bill, best_of_n: Bill, expected: Any) -> None:
    assert compare(policy, best_of_n, 1.0) == expected


def found(gold: float, training: float = 30.0, request: float = 1.0) -> Any:
    prompts = np.random.default_rng(0)
    spread = prompts.normal(0, 0.01, (200, 1))
    return break_even(
        "DPO",
        gold=gold + spread[:, 0],
        curve=RISING + spread,
        sizes=SIZES,
        training=(training, 10.0),
        dollars=np.array([request]),
        curve_dollars=[np.array([price]) for price in PRICES],
        months=2.0,
    )


def test_prices_that_vary_widen_the_interval() -> None:
    prompts = np.full(50, 0.8)
    one = break_even(
        "DPO",
        gold=prompts,
        curve=np.tile(RISING, (50, 1)),
        sizes=SIZES,
        training=(30.0, 10.0),
        dollars=np.array([0.5, 1.5]),
        curve_dollars=[np.array([price - 0.2, price + 0.2]) for price in PRICES],
        months=1.0,
    )
    assert one.requests.value == pytest.approx(10.0)
    assert one.requests.low < one.requests.value < one.requests.high


def test_break_even_over_prompts_has_an_interval_around_it() -> None:
    one = found(0.8)
    assert one.n.value == pytest.approx(4.0)
    assert one.requests.value == pytest.approx(20 / 2 / 2)
    assert one.n.low <= one.n.value <= one.n.high
    assert one.requests.low <= one.requests.value <= one.requests.high


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (found(0.8), "From 5 [5, 5] requests a month on, DPO is cheaper than best-of-4.0 [4, 4] of SFT"),
        (found(0.99), "which best-of-N of SFT does not reach up to N = 8"),
        (found(0.8, training=5.0), "from the first request on"),
        (found(0.8, request=9.0), "DPO is never cheaper"),
        (found(0.8, training=5.0, request=4.0), "Up to 2.5 [2.5, 2.5] requests a month, DPO is cheaper"),
        (found(0.4), "its training has bought nothing"),
    ],
)
def test_the_sentence_says_what_was_found(one: Any, words: str) -> None:
    assert words in sentence(one, "SFT")


# -- settings


GIVEN: dict[str, Any] = {"lab": "arithmetic", "reward_model": "r", "policies": {"SFT": {"model": "m"}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policies": {}}, "policies: required"),
        ({"policies": {"SFT": {}}}, "policies.SFT.model: required"),
        ({"policies": {"SFT": {"model": "m", "minutes": 3}}}, "policies.SFT.minutes: unknown"),
        ({"policies": {"SFT": {"model": "m", "trained": "m"}}}, "policies.SFT.trained: expected a list"),
        ({"best_of": "2,4"}, "best_of: must hold 1"),
        ({"best_of": "1,two"}, "best_of: expected positive numbers"),
        ({"clients": "0"}, "clients: expected positive numbers"),
        ({"requests": 20}, "requests: must be a multiple of the most clients, 8"),
        ({"lab": ""}, "lab: required"),
        ({"n": 3}, "unknown setting 'n'"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        CompareConfig.of({**GIVEN, **change})


# -- what was measured


def test_quality_at_every_n_comes_from_one_pool() -> None:
    values = {
        "texts": [["a b", "c d"], ["e f", "c d"]],
        "proxy": [[0.0, 1.0], [2.0, 1.0]],
        "gold": [[0.0, 1.0], [0.0, 1.0]],
        "tokens": [[2, 4], [6, 8]],
        "log_ratio": [[0.1, 0.2], [0.3, 0.4]],
    }
    one, two = Pool.of("PPO", values).rows([1, 2])
    assert (one.gold.value, two.gold.value) == (0.5, 0.5)
    assert (one.proxy.value, two.proxy.value) == pytest.approx((1.0, 1.5))
    assert (one.tokens.value, two.tokens.value) == pytest.approx((5.0, 5.0))
    assert one.kl.value == pytest.approx(0.25)
    assert two.kl.value == pytest.approx(0.25 + math.log(2) - 0.5)
    assert (one.distinct, two.distinct) == (1.0, 1.0)


def test_the_repeats_of_a_cell_belong_together() -> None:
    visit = {"best_of": 2, "clients": 1, "tokens": [10, 20], "straggler_share": 0.1}
    visits = [
        visit | {"latencies_s": [1.0, 3.0], "per_second": 1.0, "dollars": [0.1, 0.3]},
        visit | {"latencies_s": [2.0, 2.0], "per_second": 3.0, "dollars": [0.2, 0.2]},
        visit | {"best_of": 1, "latencies_s": [1.0], "per_second": 1.0, "dollars": [0.1]},
    ]
    one, two = cells("SFT", {"visits": visits})
    assert (one.best_of, two.best_of) == (1, 2)
    assert (two.per_second.value, two.tokens, two.dollars.value) == pytest.approx((2.0, 15.0, 0.2))
    assert two.latency_s[0.5].value == 2.0


def test_only_what_nothing_beats_is_on_the_front() -> None:
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (2.0, 0.8), (4.0, 0.9)]
    assert figures.front(points) == [(1.0, 0.5), (2.0, 0.8), (3.0, 0.9)]


# -- all of it


SHORT = {"prompts": 4, "requests": 2, "repeats": 1, "best_of": "1,2", "clients": "1,2"}


@pytest.mark.engine
def test_two_policies_are_compared_on_real_servers_and_nothing_is_done_twice(tmp_path: Path) -> None:
    recipe = tmp_path / "short.yaml"
    text = (Path(figures.__file__).parents[2] / "recipes/compare_arithmetic.yaml").read_text(encoding="utf-8")
    recipe.write_text(re.sub(r"  PPO: .*\n", "", text), encoding="utf-8")
    sets = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    command = ["compare", "--recipe", str(recipe), "--output", str(tmp_path / "out"), *sets]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output[-3000:]
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 5
    assert not re.search(r'(src|href)="https?:', page)
    numbers = json.loads((tmp_path / "out/comparison.json").read_text(encoding="utf-8"))
    assert [(row["policy"], row["best_of"]) for row in numbers["quality"]] == [
        (policy, n) for policy in ("SFT", "DPO") for n in (1, 2)
    ]
    assert all(cost["dollars"]["value"] > 0 for cost in numbers["cost"])
    assert (tmp_path / "out/quality_latency.png").stat().st_size > 10_000

    (tmp_path / "out/index.html").unlink()
    again = CliRunner().invoke(app, command)
    assert (again.exit_code, "serving" in again.output) == (0, False)
    assert (tmp_path / "out/index.html").is_file()
    other = CliRunner().invoke(app, [*command, "--set", "seed=1"])
    assert (other.exit_code, "holds a run with other settings" in other.output) == (2, True)
