"""Strategies on the real engines: decisions as replayed, tokens to the last, the last candidate passed on live."""

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from service.rerank.strategies.profile import StrategyProfile
from tests.server import API_KEY, Server
from training.data.formats.checks import conversation
from training.experiments.replay.replay import plan
from training.experiments.replay.simulate import Timing, simulate
from training.labs import checkpoint, lab
from training.samples.collect import Collection, run, seed_of
from training.samples.trace import TracedPrompt, read

pytestmark = pytest.mark.engine
N, STEP = 16, 8
ASKED = Collection(prompts=2, samples=N, checkpoint_tokens=STEP, concurrency=1, lab="arithmetic", base_url="later")
TOKENS = "vllm:generation_tokens_total"


@pytest.fixture(scope="module")
def traced(server: Server, tmp_path_factory: pytest.TempPathFactory) -> list[TracedPrompt]:
    """Two prompts with 16 candidates each."""
    path = tmp_path_factory.mktemp("trace") / "trace.parquet"
    collected = run(replace(ASKED, base_url=f"{server.url}/v1", api_key=API_KEY, model="arithmetic"), path)
    assert collected.failed == 0
    return read(path)


def asked(prompt: TracedPrompt, rerank: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "model": "arithmetic",
        "messages": list(conversation(json.loads(prompt.prompt), "prompt")),
        "best_of": N,
        "temperature": 1.0,
        "max_tokens": lab("arithmetic").answer_tokens,
        "seed": seed_of(ASKED, prompt.prompt),
        "rerank": {"return_candidates": True, "fixed_best_of": True, **rerank},
        **more,
    }


def answer(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    status, found = server.post("/v1/chat/completions", body)
    assert status == 200, found
    return found  # type: ignore[no-any-return]


def test_a_trace_holds_what_the_server_told(traced: list[TracedPrompt]) -> None:
    assert [len(prompt.candidates) for prompt in traced] == [N, N]
    for candidate in (candidate for prompt in traced for candidate in prompt.candidates):
        assert candidate.growth[-1][0] == candidate.tokens
        assert [at for _, at in candidate.growth] == sorted(at for _, at in candidate.growth)
        assert {tokens for tokens, _ in candidate.prefix_rewards} <= {tokens for tokens, _ in candidate.growth}
        assert candidate.gold in (0.0, 1.0)


def test_adaptive_decides_as_replayed(server: Server, traced: list[TracedPrompt]) -> None:
    """Rewards of equal texts do not depend on time, so the waves and the winner are the same."""
    rerank = {"strategy": "adaptive", "wave": 2, "price": 0.05}
    profile = StrategyProfile.read(str(checkpoint("arithmetic-reward") / "strategy_profile.json"))
    for prompt in traced:
        found = answer(server, asked(prompt, rerank))["rerank"]
        replayed = simulate(prompt.candidates, plan(rerank, N, profile).strategy, Timing.of(traced))
        assert len(found["candidates"]) == len(replayed.candidates)
        assert found["stop_reason"] == replayed.stop_reason
        best = max(replayed.candidates, key=lambda one: one.reward or 0.0)
        texts = [candidate["text"] for candidate in found["candidates"]]
        assert texts == [prompt.candidates[index].text for index in range(len(texts))]
        assert found["candidates"][found["selected"][0]]["reward"] == pytest.approx(best.reward, abs=0.02)


def test_prune_aborts_and_every_token_is_counted(server: Server, traced: list[TracedPrompt]) -> None:
    """Which are aborted may differ by when scores arrive; whoever finishes says what it said in the trace."""
    rerank = {"strategy": "prune", "keep": 0.5, "checkpoint_tokens": STEP}
    server.wait_idle()
    before = server.metric(TOKENS)
    found = answer(server, asked(traced[0], rerank))
    server.wait_idle()
    candidates = found["rerank"]["candidates"]
    assert found["usage"]["completion_tokens"] == sum(one["completion_tokens"] for one in candidates)
    assert server.metric(TOKENS) - before == found["usage"]["completion_tokens"]
    aborted = [one for one in candidates if one["finish_reason"] == "abort"]
    assert aborted
    for one in candidates:
        recorded = traced[0].candidates[one["index"]]
        same = one["text"] == recorded.text if one not in aborted else recorded.text.startswith(one["text"])
        assert same
    assert sum(one["completion_tokens"] for one in candidates) < sum(c.tokens for c in traced[0].candidates)


def test_the_last_one_left_is_passed_on_while_it_grows(server: Server, traced: list[TracedPrompt]) -> None:
    rerank = {"strategy": "prune", "keep": 0.01, "checkpoint_tokens": 1}
    events = list(streamed(server, asked(traced[0], rerank, stream=True)))
    final = next(event["rerank"] for _, event in events if event.get("rerank"))
    text = "".join(choice["delta"].get("content") or "" for _, event in events for choice in event.get("choices", ()))
    assert text == final["candidates"][final["selected"][0]]["text"]
    states = [one["finish_reason"] for one in final["candidates"]]
    assert states.count("abort") == N - 1
    pieces = [at for at, event in events if any(c["delta"].get("content") for c in event.get("choices", ()))]
    assert len(set(pieces)) > 2, "all pieces came at once"


def streamed(server: Server, body: dict[str, Any]) -> Iterator[tuple[float, dict[str, Any]]]:
    """(seconds, event), as they come."""
    request = urllib.request.Request(server.url + "/v1/chat/completions", json.dumps(body).encode(), server.headers)
    with urllib.request.urlopen(request, timeout=60) as lines:
        for line in lines:
            if line.startswith(b"data: ") and b"[DONE]" not in line:
                yield round(time.monotonic(), 3), json.loads(line[6:])
