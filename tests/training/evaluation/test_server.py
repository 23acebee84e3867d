"""A server measured: a small HTTP server that answers as ours does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from training.evaluation.server import Evaluation, run
from training.labs import arithmetic


class Handler(BaseHTTPRequestHandler):
    """Wrong at best_of=1 and right above it, except for one question in four, which no candidate gets right."""

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": "arithmetic", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert body["rerank"] == {"return_candidates": True}
        question = arithmetic.parse(body["messages"][0]["content"])
        best_of, kind = body["best_of"], sum(question.numbers) % 4
        if kind == 1 and best_of == 4:
            self._send(400, {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}})
            return
        right = arithmetic.solution(question)
        chosen = right if best_of > 1 and kind else "Answer: 0"
        candidates = [{"index": i, "reward": float(i), "text": chosen, "completion_tokens": 10} for i in range(best_of)]
        self._send(
            200,
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": chosen}}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 10 * best_of, "total_tokens": 5 + 10 * best_of},
                "rerank": {"best_of": best_of, "selected": [0], "candidates": candidates, "reward": best_of - 1.0},
            },
        )

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


async def test_rows_gain_and_failures() -> None:
    with serving() as url:
        report = await run(Evaluation(lab="arithmetic", best_of=(1, 2, 4), prompts=40, base_url=url))
    kinds = [sum(q.numbers) % 4 for q in arithmetic.questions(40, "held_out", seed=0)]
    single, two, four = report.rows
    assert report.model == "arithmetic"
    assert single.gold is not None
    assert single.gold.value == 0
    assert two.gold is not None
    assert two.gold.value == pytest.approx(1 - kinds.count(0) / 40)
    assert (single.failed, two.failed, four.failed) == (0, 0, kinds.count(1))
    assert report.failed == kinds.count(1)
    assert four.requests == 40
    assert (two.tokens_per_request, four.tokens_per_request) == (20, 40)
    assert two.reward is not None
    assert two.reward.value == 1.0
    assert report.closed is not None
    assert report.closed.value == 1.0
    assert report.best_of_largest is not None
    assert report.best_of_largest.value == pytest.approx(1 - kinds.count(0) / (40 - kinds.count(1)))


async def test_the_report_is_shown_and_is_strict_json() -> None:
    with serving() as url:
        report = await run(Evaluation(lab="arithmetic", best_of=(1, 4), prompts=8, base_url=url, model="m"))
    text = StringIO()
    report.show(Console(file=text, width=140))
    assert "best-of-4 closes 100.0 %" in text.getvalue()
    assert "failed: HTTP 400: no" in text.getvalue()
    assert json.loads(report.to_json())["rows"][1]["best_of"] == 4


async def test_no_server_is_one_clear_error() -> None:
    with pytest.raises(ConnectionError, match="no server answers at"):
        await run(Evaluation(lab="arithmetic", best_of=(1,), prompts=2, base_url="http://127.0.0.1:9/v1"))
