"""The page against real vLLM: ask, stop, plot, choose, on wide and narrow screens."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.page.browser import Visit, visiting
from tests.server import API_KEY, Server
from training.data.read import read_comparisons

pytestmark = pytest.mark.engine
QUESTION = "What is 35+21+81?"
LONG = "What is 11+22+33+44+55+66+77+88+99?"


async def opened(visit: Visit, view: str = "ask") -> Page:
    """The page with its key."""
    visit.refusals = {401}
    page = await visit.opened(view)
    await page.fill("#key", API_KEY)
    await page.keyboard.press("Enter")
    await expect(page.locator("#model option")).to_have_text(["arithmetic"])
    return page


async def test_the_key_is_asked_for_until_it_is_right_and_kept_in_the_tab(browser: Browser, server: Server) -> None:
    async with visiting(browser, server.url) as visit:
        visit.refusals = {401}
        page = await visit.opened()
        await page.fill("#key", "wrong")
        await page.click("dialog .primary")
        await expect(page.locator("#key-reason")).to_contain_text("refused this key")
        await page.fill("#key", API_KEY)
        await page.click("dialog .primary")
        await expect(page.locator("#best-of")).to_have_attribute("max", "6")
        await page.reload()
        await expect(page.locator("#model option")).to_have_text(["arithmetic"])
        assert await page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]


async def test_eight_candidates_arrive_and_the_best_one_is_on_top(browser: Browser, server: Server) -> None:
    async with visiting(browser, server.url) as visit:
        page = await opened(visit)
        await visit.ask(QUESTION)
        await expect(page.locator("#others .card")).to_have_count(7)
        rewards = [float(text.replace("−", "-")) for text in await page.locator(".card .reward").all_inner_texts()]
        assert (len(rewards), rewards) == (8, sorted(rewards, reverse=True))
        await expect(page.locator("#winner .tag.best")).to_have_count(1)
        await expect(page.locator(".tag.first")).to_have_count(1)
        await expect(page.locator("#others .facts").first).to_contain_text("rejected")
        await expect(page.locator("#verdict")).to_contain_text("It would have cost")
        await expect(page.locator("#verdict .legend")).to_contain_text("generate")


async def test_stop_cancels_the_work_on_the_server(browser: Browser, server: Server) -> None:
    counters = [("bestofn_requests_total", "cancelled"), ("bestofn_candidates_total", "aborted")]
    before = [server.metric(name, outcome=outcome) for name, outcome in counters]
    async with visiting(browser, server.url) as visit:
        page = await opened(visit)
        await page.fill("#best-of", "6")
        await page.click("summary")
        await page.fill("[name=temperature]", "2")  # at which the model hardly ever ends its answer
        await page.fill("#question", LONG)
        async with page.expect_response("**/v1/chat/completions"):
            await page.keyboard.press("Control+Enter")
        await page.keyboard.press("Escape")
        await expect(page.locator("#ask-status")).to_contain_text("Stopped")
        await expect(page.locator('[data-state="aborted"]').first).to_be_visible()
    server.wait_idle()
    after = [server.metric(name, outcome=outcome) for name, outcome in counters]
    requests, candidates = (end - start for start, end in zip(before, after, strict=True))
    assert requests == 1
    assert candidates > 0


async def test_what_n_costs_is_plotted_for_every_n_that_was_asked(browser: Browser, server: Server) -> None:
    async with visiting(browser, server.url) as visit:
        page = await opened(visit)
        await page.fill("#best-of", "1")
        await visit.ask(QUESTION)
        await page.locator("#winner .card").wait_for()
        await page.click("#tab-costs")
        await expect(page.locator("figure")).to_have_count(5)
        rows = [await row.locator("th, td").all_inner_texts() for row in await page.locator("tbody tr").all()]
        shown = {int(n): text for n, text, *_ in rows}
        counted = {2**power: int(_requests(server, 2**power)) for power in range(7)}
        assert shown == {n: f"{count:,}" if count else f"no requests with N = {n} yet" for n, count in counted.items()}
        first = page.locator("figure").first
        asked = [n for n, count in counted.items() if count]
        await expect(first.locator("circle")).to_have_count(len(asked))
        await expect(first.locator("title").first).to_contain_text(f"N = {asked[0]}")


def _requests(server: Server, n: int) -> float:
    return server.metric("bestofn_request_duration_seconds_count", best_of=str(n))


async def test_a_choice_is_kept_where_the_trainers_read_it(
    browser: Browser, server: Server, candidate_log: Path
) -> None:
    async with visiting(browser, server.url) as visit:
        page = await opened(visit, "choose")
        await page.fill("#choose-question", LONG)
        answers: list[str] = []
        while len(answers) < 2:  # now and then all four answers are the same
            await page.click("#pair-button")
            await expect(page.locator("#choose-status")).not_to_have_text("Sampling …")
            answers = await page.locator("#pair .text").all_inner_texts()
        await expect(page.locator("#pair .reward")).to_have_count(0)
        await page.keyboard.press("2")
        await expect(page.locator("#choose-verdict")).to_contain_text("The reward model")
        await expect(page.locator("#agreement")).to_contain_text("1 choice stored.")
    comparisons, _ = read_comparisons(str(candidate_log))
    (chosen,) = [comparison for comparison in comparisons if comparison.ranks]
    assert (chosen.ranks, list(chosen.responses), dict(chosen.scores)) == ((1, 0), answers, {})
    assert chosen.messages == ({"role": "user", "content": LONG},)


async def test_nothing_is_wider_than_a_narrow_screen(browser: Browser, server: Server) -> None:
    async with visiting(browser, server.url, width=360) as visit:
        page = await opened(visit)
        await visit.ask(QUESTION)
        await page.locator("#winner .card").wait_for()
        assert await visit.fits()
        for view in ("costs", "choose"):
            await page.click(f"#tab-{view}")
            await page.locator("figure svg:visible, #choose-form:visible").first.wait_for()
            assert await visit.fits(), view
