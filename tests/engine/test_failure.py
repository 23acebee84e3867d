"""What clients see when an engine dies, time is short, or there is too much to do."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.server import Server, running

pytestmark = pytest.mark.engine
QUESTION: Any = [{"role": "user", "content": "What is 35+21+81?"}]
FIXED: Any = {"rerank": {"fixed_best_of": True}}  # the shared server has a latency target
COUNTERS = ("vllm:generation_tokens_total", "bestofn_generated_tokens_total")
LONG: Any = {"model": "arithmetic", "messages": QUESTION, "min_tokens": 1000, "max_tokens": 1500, "best_of": 16}


@pytest.fixture
def fragile(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of its own, for tests that break it."""
    options = getattr(request, "param", ())
    with running(tmp_path / "log", options) as started:
        yield started


async def ask(server: Server, **body: Any) -> tuple[int, Any]:
    return await asyncio.to_thread(server.post, "/v1/chat/completions", {**LONG, **body})


async def until_generating(server: Server) -> None:
    async with asyncio.timeout(30):
        while await asyncio.to_thread(server.metric, "vllm:num_requests_running") == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def answers_after_killing(server: Server, engine: int) -> list[tuple[int, Any]]:
    """Kill engine 0 (generator) or 1 (reward model) while a plain, a reranked and a streamed request run."""
    asking = [asyncio.create_task(ask(server, best_of=best_of)) for best_of in (16, 1)]
    await until_generating(server)
    os.kill(server.engine_pids()[engine], signal.SIGKILL)
    async with asyncio.timeout(60):
        return await asyncio.gather(*asking)


@pytest.mark.kills
async def test_a_dead_generator_fails_its_requests_at_once_and_ends_the_process(server: Server) -> None:
    answers = await answers_after_killing(server, engine=0)
    assert [status for status, _ in answers] == [503, 503], answers
    assert {answer["error"]["code"] for _, answer in answers} == {"engine_unavailable"}
    assert await asyncio.to_thread(server.process.wait, 60) != 0


async def test_a_dead_reward_model_is_503_and_never_a_made_up_score(fragile: Server) -> None:
    answers = await answers_after_killing(fragile, engine=1)
    assert answers[0][0] == 503
    assert answers[0][1]["error"]["code"] == "reward_unavailable"
    assert await asyncio.to_thread(fragile.process.wait, 60) != 0


@pytest.mark.parametrize("fragile", [["--on-reward-failure", "unranked"]], indirect=True)
async def test_a_dead_reward_model_can_be_done_without(fragile: Server) -> None:
    answers = await answers_after_killing(fragile, engine=1)
    assert [status for status, _ in answers] == [200, 200], answers
    rerank = answers[0][1]["rerank"]
    assert rerank["stop_reason"] == "reward_unavailable"
    assert (rerank["reward"], rerank["selected"], rerank["finished"]) == (None, [0], 1)
    assert all(candidate["reward"] is None for candidate in rerank["candidates"])
    status, later = await ask(fragile, best_of=4, min_tokens=1, max_tokens=50)
    assert status == 200
    assert (later["rerank"]["stop_reason"], later["rerank"]["sampled"]) == ("reward_unavailable", 1)
    status, voted = await ask(fragile, best_of=4, min_tokens=1, max_tokens=50, rerank={"selection": "majority"})
    assert (status, voted["rerank"]["sampled"], voted["rerank"]["finished"]) == (200, 4, 4)
    assert fragile.metric("bestofn_reward_model_up") == 0
    assert [fragile.get(path)[0] for path in ("/health", "/ready")] == [200, 200]


@pytest.mark.parametrize("fragile", [["--reward-hang-s", "2"]], indirect=True)
async def test_a_reward_model_that_hangs_is_down_until_it_answers_again(fragile: Server) -> None:
    core = psutil.Process(fragile.engine_pids()[1])
    stopped = [core, *core.children(recursive=True)]
    for process in stopped:
        process.suspend()
    waiting = asyncio.create_task(ask(fragile, best_of=4, min_tokens=1, max_tokens=50))
    status, answer = await waiting
    assert (status, answer["error"]["code"]) == (503, "reward_unavailable")
    assert fragile.metric("bestofn_reward_model_up") == 0
    assert [fragile.get(path)[0] for path in ("/health", "/ready")] == [200, 503]
    for process in stopped:
        process.resume()
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(fragile.metric, "bestofn_reward_model_up"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    status, answer = await ask(fragile, best_of=4, min_tokens=1, max_tokens=50)
    assert (status, answer["rerank"]["stop_reason"]) == (200, "complete")


async def test_a_deadline_without_any_answer_is_504(server: Server) -> None:
    status, answer = await ask(server, rerank={"deadline_ms": 50})
    assert status == 504
    assert answer["error"]["param"] == "rerank.deadline_ms"


async def test_a_deadline_with_answers_gives_the_best_of_them(server: Server) -> None:
    status, answer = await ask(server, best_of=2, n=1, min_tokens=0, max_tokens=8, rerank={"deadline_ms": 20_000})
    assert status == 200
    assert answer["rerank"]["stop_reason"] == "complete"


async def test_too_much_in_flight_is_429_with_a_time_to_come_back(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as client:

        def ask_for_64() -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(client.post("/v1/chat/completions", json={**LONG, "best_of": 64, **FIXED}))

        limit = await asyncio.to_thread(server.metric, "bestofn_candidates_limit")
        asking = [ask_for_64() for _ in range(round(limit / 64))]
        async with asyncio.timeout(30):
            while await asyncio.to_thread(server.metric, "bestofn_candidates_in_flight") < limit:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        asking += [ask_for_64() for _ in range(9)]
        done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        refused = done.pop().result()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "overloaded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert 0.1 <= int(refused.headers["retry-after-ms"]) / 1000 <= 60
    assert refused.headers["x-should-retry"] == "true"
    await asyncio.to_thread(server.wait_idle)


async def test_an_error_inside_a_stream_has_openais_shape(server: Server) -> None:
    body = {**LONG, "stream": True, "rerank": {"deadline_ms": 600, "progress": True}}  # a comment begins the stream
    text = await asyncio.to_thread(stream_text, server, body)
    assert '"code":"deadline_exceeded"' in text
    assert text.rstrip().endswith("data: [DONE]")


def stream_text(server: Server, body: Any) -> str:
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=server.headers, timeout=60).text


async def test_requests_that_share_an_id_do_not_abort_each_other(server: Server) -> None:
    headers = server.headers | {"x-request-id": "shared"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
        body = {**LONG, "best_of": 4, "min_tokens": 100, "max_tokens": 120}
        hurried = {**body, "min_tokens": 1000, "max_tokens": 1001, "rerank": {"deadline_ms": 100}}
        requests = [client.post("/v1/chat/completions", json=each) for each in (body, {**body, "best_of": 1}, hurried)]
        ranked, plain, cut = await asyncio.gather(*requests)
    assert cut.status_code == 504
    assert ranked.json()["rerank"]["finished"] == 4
    assert plain.json()["choices"][0]["finish_reason"] in {"stop", "length"}


async def test_many_seeded_candidates_at_once_do_not_kill_the_engine(server: Server) -> None:
    asking = [ask(server, best_of=16, seed=2**63 - 2, min_tokens=1, max_tokens=4) for _ in range(14)]
    assert {status for status, _ in await asyncio.gather(*asking)} == {200}


async def test_who_finds_no_place_waits_and_nobody_fails(server: Server) -> None:
    """As many candidates as there are places twice over, and a request as large as all of them beside small ones."""
    large = [ask(server, best_of=64, min_tokens=1, max_tokens=30, **FIXED) for _ in range(8)]
    small = [ask(server, best_of=8, min_tokens=1, max_tokens=30, **FIXED) for _ in range(8)]
    answers = await asyncio.gather(*large, *small)
    assert {status for status, _ in answers} == {200}
    assert [answer["rerank"]["sampled"] for _, answer in answers] == [64] * 8 + [8] * 8
    await asyncio.to_thread(server.wait_idle)
    assert await asyncio.to_thread(server.metric, "bestofn_requests_queued") == 0


async def test_whatever_generates_is_counted(server: Server) -> None:
    """Batches, beam search, background responses, tokens: all that vLLM's counter knows is in ours."""

    def count(name: str) -> float:
        return server.metric(name)

    before = [await asyncio.to_thread(count, name) for name in COUNTERS]
    chat = {"model": "arithmetic", "max_tokens": 20, "temperature": 1.0}
    bodies: dict[str, Any] = {
        "/v1/chat/completions/batch": {**chat, "messages": [QUESTION] * 20},
        "/v1/chat/completions": {**chat, "messages": QUESTION, "n": 3, "use_beam_search": True},
        "/v1/responses": {"model": "arithmetic", "input": "What is 1+2?", "background": True, "max_output_tokens": 20},
        "/invocations": {**chat, "messages": QUESTION, "best_of": 4},
    }
    for path, body in bodies.items():
        status, answer = await asyncio.to_thread(server.post, path, body)
        assert status == 200, (path, answer)
    await asyncio.to_thread(server.wait_idle)
    async with asyncio.timeout(20):
        while True:
            after = [await asyncio.to_thread(count, name) for name in COUNTERS]
            if after[0] - before[0] == after[1] - before[1] > 100:
                break
            await asyncio.sleep(0.2)
    assert await asyncio.to_thread(server.metric, "bestofn_requests_total", endpoint="batch", outcome="ok") >= 1
    assert await asyncio.to_thread(server.metric, "bestofn_requests_total", endpoint="responses", outcome="ok") >= 1
