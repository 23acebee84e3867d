"""What a stream reports of the candidates while they grow."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from starlette.types import Message

import service.http.answer_sender
from service.http.progress_comments import CandidateProgress
from tests.service.fakes import FakeSampler, Script, cancelled, says, until
from tests.service.http.ledgers import context_of, ledger_of_two
from tests.service.http.served import served, stream_with_comments


def told(messages: list[Message]) -> list[Any]:
    """The candidates of every comment of progress, and nothing of other comments."""
    bodies = [message.get("body", b"") for message in messages]
    return [json.loads(body[2:].decode("ascii"))["candidates"] for body in bodies if body.startswith(b": {")]


def last_told(messages: list[Message]) -> dict[int, Any]:
    """By index of the candidate: what was told of it last, with all of its text."""
    last: dict[int, Any] = {}
    for change in chain.from_iterable(told(messages)):
        before = last[change["index"]]["delta"] if change["index"] in last else ""
        last[change["index"]] = change | {"delta": before + change["delta"]}
    return last


async def test_progress_tells_what_changed_since_it_was_last_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.http.answer_sender, "_PROGRESS_S", 0.002)
    sampler = FakeSampler(says("a"), Script(pieces=("b", "b\u2028\ndata: x"), held=True))
    gateway, _ = served(lambda: sampler)
    messages: list[Message] = []
    body = {"best_of": 2, "stream": True, "rerank": {"progress": True, "return_candidates": True}}
    task = asyncio.create_task(gateway.call(body, messages=messages))
    first = {
        0: {"index": 0, "state": "finished", "tokens": 1, "reward": 1.0, "delta": "a"},
        1: {"index": 1, "state": "running", "tokens": 1, "reward": None, "delta": "b"},
    }
    await until(lambda: last_told(messages) == first)
    comments = len(told(messages))
    await asyncio.sleep(0.02)
    assert len(told(messages)) == comments
    sampler.release(1)
    reply = await task
    assert all(change["index"] == 1 for changes in told(messages)[comments:] for change in changes)
    assert all(chunk.count(b"\n") == 1 and chunk.endswith(b"\n") for chunk in reply.chunks if chunk.startswith(b": "))
    assert reply.events[-2]["rerank"]["finished"] == 2


async def test_progress_is_silent_about_texts_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.http.answer_sender, "_PROGRESS_S", 0.002)
    sampler = FakeSampler(says("a"), says("bb", held=True))
    gateway, _ = served(lambda: sampler)
    messages: list[Message] = []
    body = {"best_of": 2, "stream": True, "rerank": {"progress": True}}
    task = asyncio.create_task(gateway.call(body, messages=messages))
    finished = {"index": 0, "state": "finished", "tokens": 1, "reward": 1.0}
    await until(lambda: finished in chain.from_iterable(told(messages)))
    await cancelled(task)
    assert not any("delta" in change for change in chain.from_iterable(told(messages)))


async def test_without_the_option_there_is_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.http.answer_sender, "_PROGRESS_S", 0.0)
    sampler = FakeSampler(says("a", held=True))
    gateway, _ = served(lambda: sampler, stream_comments_s=0.005)
    messages: list[Message] = []
    body = {"best_of": 1, "stream": True, "rerank": {"return_candidates": True}}
    task = asyncio.create_task(gateway.call(body, messages=messages))
    await until(lambda: len(messages) > 3)
    await cancelled(task)
    assert told(messages) == []


def test_a_change_is_reported_once_and_of_several_prompts_with_its_own() -> None:
    first, second = ledger_of_two(), ledger_of_two()
    progress = CandidateProgress(context_of(first, second, endpoint="completions", return_candidates=True))
    assert [(one["prompt"], one["index"]) for one in progress.changes()] == [(p, i) for p in (0, 1) for i in range(4)]
    assert progress.changes() == []
    record = second.records[2]
    record.view = replace(record.view, tokens=3)
    record.pieces.append(" more")
    change = {"index": 2, "state": "aborted", "tokens": 3, "reward": None, "delta": " more", "prompt": 1}
    assert progress.changes() == [change]


def _by_openai(stream: bytes) -> list[str]:
    return [event.data for event in openai._streaming.SSEDecoder().iter_bytes(iter([stream]))]


def _by_anthropic(stream: bytes) -> list[str]:
    return [event.data for event in anthropic._streaming.SSEDecoder().iter_bytes(iter([stream]))]


def _by_httpx(stream: bytes) -> list[str]:
    request, headers = httpx2.Request("POST", "http://server"), {"content-type": "text/event-stream"}
    response = httpx2.Response(200, headers=headers, content=stream, request=request)
    return [event.data for event in httpx2.EventSource(response)]


def _by_old_go(stream: bytes) -> list[str]:
    """As older openai-go reads: an empty line ends an event, whether it had data or not."""
    events, data = [], ""
    for line in stream.decode().split("\n")[:-1]:
        if not line:
            events.append(data)
            data = ""
        elif line.startswith("data: "):
            data += line.removeprefix("data: ")
    return events


@pytest.mark.parametrize("reader", [_by_openai, _by_anthropic, _by_httpx, _by_old_go])
async def test_every_reader_passes_over_comments(reader: Callable[[bytes], list[str]]) -> None:
    stream = (await stream_with_comments(4)).body
    assert stream.startswith(b": ")
    *chunks, last, done = reader(stream)
    texts = [json.loads(chunk)["choices"][0]["delta"]["content"] for chunk in [*chunks, last]]
    assert ("".join(texts), done) == ("bb", "[DONE]")
