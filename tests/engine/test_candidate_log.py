"""What `bestofn serve --candidate-log` has counted outlives the server."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.server import Server, running

pytestmark = pytest.mark.engine
QUESTION: Any = [{"role": "user", "content": "What is 35+21+81?"}]
PATH = "/v1/chat/completions"
PROMPTS = ["What is 1+2+3?", "What is 4+5+6?"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "candidates"


@pytest.fixture
def logging_server(tmp_path: Path, directory: Path) -> Iterator[Server]:
    with running(tmp_path / "log", ["--candidate-log", str(directory)]) as started:
        yield started


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `near_sighted` keeps."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def near_sighted(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[Server]:
    """A server whose reward model reads 64 tokens, about the question and no answer to it."""
    options = ["--candidate-log", str(kept), "--reward-engine-args", '{"max_model_len": 64}']
    with running(tmp_path_factory.mktemp("near_sighted") / "log", options) as started:
        yield started


def read(directory: Path) -> dict[str, list[Any]]:
    """Records by request."""
    lines = [line for path in sorted(directory.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    by_request: dict[str, list[Any]] = {}
    for row in map(json.loads, lines):
        by_request.setdefault(row["request_id"], []).append(row)
    return by_request


def ask(server: Server, path: str, name: str, **body: Any) -> Any:
    body = {"model": "arithmetic", "rerank": {"return_candidates": True}, **body}
    status, answer = server.post(path, body, {"x-request-id": name})
    assert status == 200, answer
    return answer.get("rerank")


async def leave(server: Server, name: str) -> None:
    body = {"model": "arithmetic", "messages": QUESTION, "best_of": 4, "min_tokens": 1000, "max_tokens": 1500}
    headers = server.headers | {"x-request-id": name}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await client.post(PATH, json=body)


def wait_written(server: Server, records: int) -> None:
    ends_s = time.monotonic() + 10
    while server.metric("bestofn_candidate_log_records_total", outcome="written") < records:
        assert time.monotonic() < ends_s, server.get("/metrics")[1]
        time.sleep(0.05)


def kill_9(server: Server) -> None:
    engines = psutil.Process(server.process.pid).children(recursive=True)
    server.process.kill()
    server.process.wait()
    for engine in engines:
        with suppress(psutil.NoSuchProcess):
            engine.kill()


def matches(row: Any, reranked: Any) -> bool:
    """A record holds what its client was told."""
    candidates = reranked["candidates"]
    return (row["scores"]["reward"], row["responses"], row["selected"], row["tokens"]) == (
        [candidate["reward"] for candidate in candidates],
        [candidate["text"] for candidate in candidates],
        reranked["selected"],
        [candidate["completion_tokens"] for candidate in candidates],
    )


def test_what_was_counted_outlives_kill_9(logging_server: Server, directory: Path) -> None:
    chat = ask(logging_server, PATH, "chat", messages=QUESTION, best_of=4)
    bare = ask(logging_server, "/v1/completions", "bare", prompt=PROMPTS, best_of=2, max_tokens=20)
    passed_on = ask(logging_server, PATH, "one", messages=QUESTION)
    ask(logging_server, PATH, "plain", messages=QUESTION, rerank=None)
    asyncio.run(leave(logging_server, "gone"))
    wait_written(logging_server, 5)
    kill_9(logging_server)

    records = read(directory)
    assert set(records) == {"chat", "bare", "one", "gone"}
    assert matches(records["chat"][0], chat)
    assert records["chat"][0]["prompt"] == QUESTION
    assert len(chat["candidates"]) == 4
    for row, prompt, reranked in zip(records["bare"], PROMPTS, bare["prompts"], strict=True):
        assert matches(row, reranked)
        assert row["prompt"] == prompt
    assert matches(records["one"][0], passed_on)
    (gone,) = records["gone"]
    assert (gone["outcome"], gone["selected"], gone["states"]) == ("cancelled", [], ["aborted"] * 4)
    assert all(gone["responses"])
    assert {row["model"] for rows in records.values() for row in rows} == {"arithmetic"}


def test_a_conversation_too_long_for_the_reward_model_is_returned_and_kept_unscored(
    near_sighted: Server, kept: Path
) -> None:
    reranked = ask(near_sighted, PATH, "long", messages=QUESTION, best_of=2, min_tokens=60, max_tokens=60)
    assert [candidate["reward"] for candidate in reranked["candidates"]] == [None, None]
    assert "more than the reward model reads" in reranked["candidates"][0]["error"]
    wait_written(near_sighted, 1)
    assert matches(read(kept)["long"][0], reranked)


def test_a_server_that_is_told_to_stop_writes_what_it_has(near_sighted: Server, kept: Path) -> None:
    ask(near_sighted, PATH, "last", messages=QUESTION, best_of=2)
    near_sighted.stop()
    assert len(read(kept)["last"]) == 1


def test_a_directory_that_cannot_be_written_ends_the_start_with_the_option_s_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "bestofn_server", "serve", "--candidate-log", str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "--candidate-log: " in done.stderr.splitlines()[-1]
