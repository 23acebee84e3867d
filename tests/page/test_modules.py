"""The page's pure modules, called in Chromium and compared with Prometheus' own client and known values."""

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.page.browser import page_over, visiting
from tests.service.fakes import FakeSampler, FakeVllm, says


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    with page_over(FakeVllm(lambda: FakeSampler(says("a")))) as url:
        async with visiting(browser, url) as visit:
            yield await visit.opened()


async def called(page: Page, module: str, function: str, *arguments: Any) -> Any:
    """What a function of a module returns for these arguments."""
    script = "([module, name, args]) => import(`./page/${module}`).then((found) => found[name](...args))"
    return await page.evaluate(script, [module, function, list(arguments)])


def exposition() -> str:
    registry = CollectorRegistry()
    odd = Gauge("odd", 'Help with \\ and\nlines, {braces="x"} 1', ["text", "other"], registry=registry)
    for number, text in enumerate(['quote " in', "back\\slash", "new\nline", "comma, } {", "", "ünï"]):
        odd.labels(text, "x=1,y=2").set(number / 3)
    Gauge("infinite", "h", registry=registry).set(-math.inf)
    Gauge("not_a_number", "h", registry=registry).set(math.nan)
    Counter("large", "h", registry=registry).inc(1.5e18)
    histogram = Histogram("seconds", "h", ["best_of"], buckets=(0.1, 1, 10), registry=registry)
    for value in (0.05, 0.5, 0.6, 5, 50):
        histogram.labels("8").observe(value)
    return generate_latest(registry).decode() + "stamped 1 1700000000000\n"


async def test_metrics_are_read_as_prometheus_client_reads_them(page: Page) -> None:
    text = exposition()
    script = "(text) => import('./page/metrics.js').then(({ parseMetrics }) => [...parseMetrics(text)])"
    read = await page.evaluate(script, text)
    ours = sorted(
        (name, sorted(sample["labels"].items()), str(float(sample["value"])))
        for name, found in read
        for sample in found
    )
    families = text_string_to_metric_families(text)
    theirs = [(s.name, sorted(s.labels.items()), str(float(s.value))) for family in families for s in family.samples]
    assert ours == sorted(theirs)


@pytest.mark.parametrize("line", ["no sample at all !", 'x{a="b} 1', "x{a=b} 1"])
async def test_what_is_no_metric_is_an_error(page: Page, line: str) -> None:
    script = "(text) => import('./page/metrics.js').then((m) => m.parseMetrics(text)).catch((error) => error.message)"
    assert "line 2 of the metrics" in await page.evaluate(script, f"fine 1\n{line}\n")


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        (0.5, [[1, 0], [2, 10], [math.inf, 10]], 1.5),
        (0.5, [[1, 10], [2, 10], [math.inf, 10]], 0.5),
        (0.95, [[1, 0], [2, 10], [math.inf, 100]], 2),
        (0.25, [[-1, 4], [0, 4], [math.inf, 4]], -1),
        (1, [[1, 5], [2, 10], [math.inf, 10]], 2),
        (0.5, [[1, 0], [math.inf, 0]], math.nan),
        (0.5, [], math.nan),
    ],
)
async def test_quantiles_are_those_of_prometheus(page: Page, q: float, buckets: Any, expected: float) -> None:
    """As promql/quantile.go computes them."""
    found = await called(page, "statistics.js", "quantile", q, buckets)
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [
        (0, 0, (0, 1)),
        (5, 10, (0.2366, 0.7634)),
        (10, 10, (0.7225, 1)),
        (0, 10, (0, 0.2775)),
        (81, 263, (0.2553, 0.3662)),
    ],
)
async def test_wilson_s_interval_has_its_published_values(
    page: Page, successes: int, trials: int, expected: tuple[float, float]
) -> None:
    """The last one is from Newcombe 1998, table I."""
    assert await called(page, "statistics.js", "wilson", successes, trials) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("values", [[0, 0.93], [3, 3], [0, 0], [-0.39, -0.02], [1e-7, 3e-6], [-5, 12_345]])
async def test_ticks_are_few_and_reach_around_all_values(page: Page, values: list[float]) -> None:
    ticks = await called(page, "chart.js", "niceTicks", values)
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= min(values) <= max(values) <= ticks[-1] + 1e-12
    assert 2 <= len(ticks) <= 7


@pytest.mark.parametrize(
    ("asked", "joined"),
    [([1, 2, 4, 8], [[1, 2], [2, 4], [4, 8]]), ([1, 2, 8], [[1, 2]]), ([1, 4], []), ([2], [])],
)
async def test_no_line_leads_over_an_n_without_requests(page: Page, asked: list[int], joined: list[list[int]]) -> None:
    pairs = await called(page, "chart.js", "neighbours", [{"x": n} for n in asked], [1, 2, 4, 8])
    assert [[point["x"] for point in pair] for pair in pairs] == joined


async def test_dollars_are_shown_where_there_are_prices(page: Page) -> None:
    registry = CollectorRegistry()
    for name, value in (("request_duration_seconds", 0.3), ("cost_per_request_dollars", 2e-5)):
        Histogram(f"bestofn_{name}", "h", ["best_of"], registry=registry).labels("4").observe(value)
    script = "(text) => Promise.all(['metrics', 'by_n'].map((name) => import(`./page/${name}.js`)))"
    script += ".then(([{ parseMetrics }, { byN }]) => byN(parseMetrics(text)))"
    (row,) = await page.evaluate(script, generate_latest(registry).decode())
    assert (row["n"], row["requests"], row["dollars"], row["gain"]) == (4, 1, pytest.approx(2e-5), None)


RERANK = {
    "selected": [1],
    "tokens": {"prompt": 20, "generated": 100, "returned": 60, "scored": 140, "scored_cached": 20},
    "timing": {"queue_ms": 1, "generate_ms": 90.2, "score_ms": 12, "select_ms": 0.1, "total_ms": 103.3},
    "cost": {"prompt": 0.001, "generate": 0.01, "score": 0.004, "total": 0.015},
}


@pytest.mark.parametrize(("seeded", "whose"), [(True, "the request's own seed"), (False, "the first sample")])
async def test_the_bill_tells_what_n_1_would_have_said_and_cost(page: Page, seeded: bool, whose: str) -> None:
    candidates = [
        {"index": index, "reward": reward, "tokens": tokens, "text": text, "state": "finished"}
        for index, (reward, tokens, text) in enumerate([(-1.0, 40, "first"), (0.5, 60, "second")])
    ]
    script = "(args) => import('./page/bill.js').then(({ verdict }) => verdict(...args).textContent)"
    text = await page.evaluate(script, [RERANK, candidates, seeded])
    assert f"N = 1 would have saidfirstCandidate #0, {whose}" in text.replace("which has ", "")
    assert "reward −1.00: best of N gained 1.50" in text
    assert "It would have cost 40 tokens and about $0.005; " in text
    assert "the 2 candidates cost 100 tokens and $0.015, 2.5× as many tokens." in text
    assert "queue 1 ms" in text
    assert "score $0.004" in text


async def test_aliases_tell_the_largest_n_and_are_no_models(page: Page) -> None:
    listed = ["m", "m:best-of-1", "m:best-of-2", "m:best-of-16", "other:best-of-3"]
    found = await called(page, "models.js", "readCatalogue", {"data": [{"id": name} for name in listed]})
    assert found == {"models": ["m", "other:best-of-3"], "maxBestOf": 16}


@pytest.mark.parametrize(
    ("rewards", "choice", "said"),
    [
        ([1, 0], 0, "agrees"),
        ([1, 0], 1, "disagrees"),
        ([1, 0], "tie", "tie"),
        ([1, 1], 0, "undecided"),
        ([None, 1], 1, "unscored"),
    ],
)
async def test_the_reward_model_s_opinion_of_a_choice(page: Page, rewards: Any, choice: Any, said: str) -> None:
    assert await called(page, "pair.js", "opinion", rewards, choice) == said


async def test_a_pair_differs_and_is_finished(page: Page) -> None:
    texts = [("a", "finished"), ("a", "finished"), ("b", "aborted"), ("c", "finished")]
    candidates = [{"text": text, "state": state} for text, state in texts]
    pairs = [await called(page, "pair.js", "drawPair", candidates) for _ in range(20)]
    assert {tuple(candidate["text"] for candidate in pair) for pair in pairs} == {("a", "c"), ("c", "a")}
    assert await called(page, "pair.js", "drawPair", candidates[:3]) is None
