"""The page over a scripted engine: what is hard to provoke with a real one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from service.records.candidate_log import CandidateLog
from tests.page.browser import page_over, visiting
from tests.service.fakes import FakeSampler, FakeScorer, FakeVllm, Script, answers, says, sse

HOSTILE = '<img src=x onerror="document.title=`owned`"><script>document.title="owned"</script>'


def vllm(*scripts: Script, rewards: dict[str, Any] | None = None) -> FakeVllm:
    return FakeVllm(lambda: FakeSampler(*scripts), FakeScorer(rewards))


async def set_best_of(page: Any, power: int) -> None:
    await page.fill("#best-of", str(power))


async def test_what_a_model_writes_is_shown_as_text(browser: Browser) -> None:
    engine = vllm(says("tame"), says(HOSTILE), rewards={HOSTILE: 1.0})
    with page_over(engine) as url:
        async with visiting(browser, url) as visit:
            page = await visit.opened()
            await set_best_of(page, 1)
            await visit.ask(HOSTILE)
            await expect(page.locator("#winner .text")).to_have_text(HOSTILE)
            await expect(page.locator("#winner .facts")).to_contain_text("returned")
            assert await page.title() == "bestofn"
            assert await page.locator("main img, main script").count() == 0


async def test_candidates_grow_while_the_request_runs_until_it_is_stopped(browser: Browser) -> None:
    engine = vllm(says("done"), Script(pieces=("beg", "un"), held=True), rewards={"done": 0.5})
    with page_over(engine) as url:
        async with visiting(browser, url) as visit:
            page = await visit.opened()
            await set_best_of(page, 1)
            await visit.ask("q")
            await expect(page.locator("#others .card").nth(1)).to_contain_text("beg")
            await expect(page.locator("#others .card").nth(0)).to_contain_text("0.50")
            await expect(page.locator("#ask-status")).to_have_text("1 of 2 candidates finished")
            await page.keyboard.press("Escape")
            await expect(page.locator("#others .card").nth(1)).to_contain_text("aborted")
            await expect(page.locator("#stop-button")).to_be_disabled()


async def test_failures_are_shown_with_their_fate(browser: Browser) -> None:
    engine = vllm(says("fine"), Script(reason="error"), rewards={"fine": float("nan")})
    with page_over(engine) as url:
        async with visiting(browser, url) as visit:
            page = await visit.opened()
            await set_best_of(page, 1)
            await visit.ask("q")
            await expect(page.locator("#winner .facts")).to_have_text("4 tokens · returned, unscored")
            await expect(page.locator("#others .facts")).to_contain_text("failed")


async def test_a_refusal_is_shown_as_it_is_with_a_countdown(browser: Browser) -> None:
    refused = answers(429, {"error": {"message": "too many candidates", "param": "n"}}, **{"retry-after": "2"})
    with page_over(vllm(says("a")), others={"/v1/chat/completions": refused}) as url:
        async with visiting(browser, url) as visit:
            visit.refusals = {429}
            page = await visit.opened()
            await visit.ask("q")
            await expect(page.locator("#ask-error .error")).to_contain_text("429: too many candidates")
            await expect(page.locator("#ask-error code")).to_have_text("n")
            await expect(page.locator(".countdown")).to_have_text("Ask again in 2 seconds.")
            await expect(page.locator(".countdown")).to_have_text("You can ask again now.")


async def test_an_error_in_the_stream_is_shown(browser: Browser) -> None:
    engine = vllm(Script(reason="error"), Script(reason="error"))
    engine.early = sse({"choices": [{"delta": {"role": "assistant"}}]})  # a stream that has begun keeps its status
    with page_over(engine) as url:
        async with visiting(browser, url) as visit:
            page = await visit.opened()
            await set_best_of(page, 1)
            await visit.ask("q")
            await expect(page.locator("#ask-error")).to_contain_text("all 2 candidates failed")


async def test_everything_works_below_a_root_path(browser: Browser, tmp_path: Path) -> None:
    log = CandidateLog(tmp_path, 10**6, lambda *_: None)
    engine = vllm(*(says(text) for text in "abcd"))
    with log, page_over(engine, root_path="/some/where", candidate_log=log) as url:
        async with visiting(browser, url) as visit:
            page = await visit.opened()
            await set_best_of(page, 2)
            await visit.ask("q")
            await expect(page.locator("#winner .card")).to_have_count(1)
            await page.click("#tab-costs")
            await expect(page.locator("#charts svg").first).to_be_visible()
            await page.click("#tab-choose")
            await expect(page.locator("#choose-form")).to_be_visible()


async def test_without_a_candidate_log_nobody_is_asked_to_work(browser: Browser) -> None:
    with page_over(vllm(says("a"))) as url:
        async with visiting(browser, url) as visit:
            visit.refusals = {409}
            page = await visit.opened("choose")
            await expect(page.locator("#choose-notice")).to_contain_text("keeps no candidate log")
            await expect(page.locator("#choose-notice code").first).to_have_text("bestofn serve --candidate-log DIR")
            await expect(page.locator("#choose-notice")).not_to_contain_text("409")
            await expect(page.locator("#choose .error")).to_have_count(0)
            await expect(page.locator("#choose-form")).to_be_hidden()
            await page.click("#choose-notice a")
            await expect(page.locator("#question")).to_be_visible()


async def test_a_server_that_cannot_say_whether_it_keeps_choices_is_an_error(browser: Browser) -> None:
    async def broken(route: Route) -> None:
        await route.fulfill(status=500, json={"error": {"message": "no such luck"}})

    with page_over(vllm(says("a"))) as url:
        async with visiting(browser, url) as visit:
            visit.refusals = {500}
            await visit.page.route("**/v1/preferences", broken)
            page = await visit.opened("choose")
            await expect(page.locator("#choose-notice .error")).to_contain_text("500: no such luck")


@pytest.mark.parametrize("view", ["ask", "costs", "choose"])
async def test_the_top_stays_in_sight_on_a_telephone(browser: Browser, view: str) -> None:
    with page_over(vllm(says("a"))) as url:
        async with visiting(browser, url, width=375) as visit:
            visit.refusals = {409}
            page = await visit.opened(view)
            await page.reload()
            await page.locator(f"#{view}").wait_for()
            await page.wait_for_load_state("networkidle")
            assert await page.evaluate("scrollY") == 0
            await expect(page.locator("h1")).to_be_in_viewport(ratio=1)


async def test_a_point_with_few_requests_is_hollow_until_there_are_enough(browser: Browser) -> None:
    registry = CollectorRegistry()
    durations = Histogram("bestofn_request_duration_seconds", "h", ["best_of"], registry=registry)
    for n, requests in ((1, 1), (2, 29), (4, 30), (8, 185)):
        for _ in range(requests):
            durations.labels(str(n)).observe(0.3)
    exposed = answers(200, generate_latest(registry), "text/plain")
    with page_over(vllm(says("a")), others={"/metrics": exposed}) as url:
        async with visiting(browser, url) as visit:
            page = await visit.opened("costs")
            await expect(page.locator("svg .a circle")).to_have_count(4)
            await expect(page.locator("svg .a .few circle")).to_have_count(2)
            await expect(page.locator("svg .a .way")).to_have_count(3)
            await expect(page.locator("svg .a .way.few")).to_have_count(2)
            await expect(page.locator("#costs-status")).to_contain_text("A hollow point stands on fewer than 30")


async def test_a_choice_that_was_not_stored_is_never_called_stored(browser: Browser, tmp_path: Path) -> None:
    log = CandidateLog(tmp_path / "none", 10**6, lambda *_: None, retry_s=0.0)  # the folder does not exist
    with log, page_over(vllm(*(says(text) for text in "abcd")), candidate_log=log) as url:
        async with visiting(browser, url) as visit:
            visit.refusals = {507}
            page = await visit.opened("choose")
            await page.fill("#choose-question", "q")
            await page.click("#pair-button")
            await page.locator("#pair article").first.wait_for()
            await page.keyboard.press("1")
            await expect(page.locator("#choose-error")).to_contain_text("the choice was not stored")
            await expect(page.locator("#agreement")).to_be_empty()
            await expect(page.locator("#pair article button").first).to_be_enabled()
            (tmp_path / "none").mkdir()
            await page.keyboard.press("0")
            await expect(page.locator("#agreement")).to_have_text("1 choice stored.")


@pytest.mark.parametrize("is_stored", [True, False])
async def test_what_becomes_of_an_earlier_choice_leaves_the_pair_on_the_screen_alone(
    browser: Browser, tmp_path: Path, is_stored: bool
) -> None:
    folder, released = tmp_path / "log", asyncio.Event()
    if is_stored:
        folder.mkdir()
    log = CandidateLog(folder, 10**6, lambda *_: None, retry_s=0.0)

    async def slow(route: Route) -> None:
        if route.request.method == "POST":
            await released.wait()
        await route.continue_()

    with log, page_over(vllm(*(says(text) for text in "abcd")), candidate_log=log) as url:
        async with visiting(browser, url) as visit:
            visit.refusals = {507}
            page = await visit.opened("choose")
            await page.route("**/v1/preferences", slow)
            await page.fill("#choose-question", "q")
            await page.click("#pair-button")
            await page.locator("#pair article").first.wait_for()
            await page.keyboard.press("1")
            await page.click("#pair-button")
            await page.locator("#pair button:enabled").first.wait_for()
            released.set()
            outcome = ("#agreement", "1 choice stored.") if is_stored else ("#choose-error", "was not stored")
            await expect(page.locator(outcome[0])).to_contain_text(outcome[1])
            await expect(page.locator("#choose-status")).to_contain_text("Which one is better?")
            await expect(page.locator("#choose-verdict, #pair .chosen")).to_be_empty()
            folder.mkdir(exist_ok=True)
            shown = await page.locator("#pair .text").all_inner_texts()
            await page.keyboard.press("2")
            await expect(page.locator("#pair .chosen")).to_contain_text(shown[1])
            await expect(page.locator("#choose-error")).to_be_empty()
    rows = [json.loads(line) for path in folder.iterdir() for line in path.read_bytes().splitlines()]
    chosen = [row for row in rows if "ranks" in row]
    assert [row["ranks"] for row in chosen] == [[0, 1], [1, 0]][-len(chosen) :]
    assert (len(chosen), chosen[-1]["responses"]) == (1 + is_stored, shown)


async def test_answers_that_are_all_the_same_are_not_offered(browser: Browser, tmp_path: Path) -> None:
    log = CandidateLog(tmp_path, 10**6, lambda *_: None)
    with log, page_over(vllm(*[says("a")] * 4), candidate_log=log) as url:
        async with visiting(browser, url) as visit:
            page = await visit.opened("choose")
            await page.fill("#choose-question", "q")
            await page.keyboard.press("Control+Enter")
            await expect(page.locator("#choose-status")).to_contain_text("All answers are the same")


async def test_tabs_follow_the_arrow_keys(browser: Browser) -> None:
    with page_over(vllm(says("a")), others={"/v1/preferences": answers(200, {})}) as url:
        async with visiting(browser, url) as visit:
            visit.refusals = {409}
            page = await visit.opened()
            await page.focus("#tab-ask")
            for key, shown in (
                ("ArrowRight", "costs"),
                ("End", "choose"),
                ("ArrowRight", "ask"),
                ("ArrowLeft", "choose"),
            ):
                await page.keyboard.press(key)
                await expect(page.locator(f"#tab-{shown}")).to_be_focused()
                await expect(page.locator("[role=tabpanel]:visible")).to_have_attribute("id", shown)


@pytest.mark.parametrize("width", [360, 1280])
async def test_a_long_word_does_not_make_the_page_wider(browser: Browser, width: int) -> None:
    engine = vllm(says("w" * 500), says("v" * 400))
    with page_over(engine) as url:
        async with visiting(browser, url, width) as visit:
            page = await visit.opened()
            await set_best_of(page, 1)
            await visit.ask("x" * 300)
            await page.locator("#winner .card").wait_for()
            assert await visit.fits()


async def test_a_page_without_requests_says_so(browser: Browser) -> None:
    with page_over(vllm(says("a"))) as url:
        async with visiting(browser, url) as visit:
            page = await visit.opened("costs")
            await expect(page.locator("#costs-status")).to_have_text("No requests yet: ask something first.")


async def test_without_prices_nothing_is_plotted_of_them(browser: Browser) -> None:
    with page_over(vllm(says("a"), says("b"))) as url:
        async with visiting(browser, url) as visit:
            page = await visit.opened()
            await set_best_of(page, 1)
            await visit.ask("1+1?")
            await page.locator("#winner .card").wait_for()
            await page.click("#tab-costs")
            await expect(page.locator("figure")).to_have_count(4)
            rows = [await row.locator("th, td").all_inner_texts() for row in await page.locator("tbody tr").all()]
            assert [row[:2] for row in rows] == [
                ["1", "no requests with N = 1 yet"],
                ["2", "1"],
                ["4", "no requests with N = 4 yet"],
                ["8", "no requests with N = 8 yet"],
            ]
