"""The bill adds up to the token: ours, the engine's own counter, and what clients were told."""

import asyncio
import random
from typing import Any

import httpx
import pytest

from tests.server import Server

pytestmark = pytest.mark.engine
REQUESTS = 200


def mixed_request(number: int) -> tuple[str, dict[str, Any]]:
    """A path and a body: every endpoint, N, n, stop, seed, length and temperature in turn."""
    draw = random.Random(number)
    question = f"What is {draw.randrange(100)}+{draw.randrange(100)}+{draw.randrange(100)}?"
    n = draw.choice([1, 1, 1, 2])
    best_of = draw.choice([None, 1, 2, 4, 8])
    body: dict[str, Any] = {"model": "arithmetic", "temperature": draw.choice([0.0, 0.7, 1.0, 1.3])}
    if best_of is not None:
        body["best_of"] = max(best_of, n)
    if draw.random() < 0.2:
        body["rerank"] = {}
    kind = draw.choice(["chat", "chat", "completions", "responses", "messages"])
    if kind == "completions":
        prompt = [question, "What is 1+2?"] if draw.random() < 0.5 else question
        body |= {"prompt": prompt, "max_tokens": draw.randrange(1, 60), "stop": draw.choice([None, ["="]])}
    elif kind == "responses":
        body |= {"input": question, "max_output_tokens": draw.randrange(16, 60)}
    else:
        body |= {"messages": [{"role": "user", "content": question}], "max_tokens": draw.randrange(1, 60)}
    if kind in ("chat", "completions") and body["temperature"] > 0:
        body |= {"n": n, "seed": draw.choice([None, number])}
    paths = {"chat": "chat/completions", "completions": "completions"}
    return f"/v1/{paths.get(kind, kind)}", body


def billed_tokens(answer: dict[str, Any]) -> int:
    usage = answer["usage"]
    tokens: int = usage.get("completion_tokens", usage.get("output_tokens"))
    return tokens


async def billed_for_all(server: Server) -> int:
    limits = asyncio.Semaphore(16)

    async def ask(client: httpx.AsyncClient, number: int) -> int:
        path, body = mixed_request(number)
        async with limits:
            answer = await client.post(path, json=body)
        assert answer.status_code == 200, (body, answer.text)
        return billed_tokens(answer.json())

    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=120) as client:
        return sum(await asyncio.gather(*(ask(client, number) for number in range(REQUESTS))))


async def test_clients_metrics_and_engine_count_the_same_tokens(server: Server) -> None:
    server.wait_idle()
    counters = ("vllm:generation_tokens_total", "bestofn_generated_tokens_total")
    before = [server.metric(name) for name in counters]
    billed = await billed_for_all(server)
    server.wait_idle()
    after = [server.metric(name) for name in counters]
    assert [end - start for start, end in zip(before, after, strict=True)] == [billed, billed]


async def test_tokens_of_aborted_candidates_are_counted_too(server: Server) -> None:
    server.wait_idle()
    counters = ("vllm:generation_tokens_total", "bestofn_generated_tokens_total")
    before = [server.metric(name) for name in counters]
    aborted_before = server.metric("bestofn_generated_tokens_total", fate="aborted")
    bodies = [
        {
            "model": "arithmetic",
            "messages": [{"role": "user", "content": "What is 35+21+81?"}],
            "best_of": 8,
            "min_tokens": 200,
            "max_tokens": 400,
            "rerank": {"deadline_ms": 100 + 20 * number},
        }
        for number in range(8)
    ]
    answers = await asyncio.gather(*(asyncio.to_thread(server.post, "/v1/chat/completions", body) for body in bodies))
    assert {status for status, _ in answers} <= {200, 504}
    server.wait_idle()
    ours, theirs = (server.metric(name) - start for name, start in zip(counters, before, strict=True))
    assert ours == theirs > 0
    assert server.metric("bestofn_generated_tokens_total", fate="aborted") > aborted_before
