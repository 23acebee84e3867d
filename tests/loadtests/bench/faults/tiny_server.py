"""A server of a few lines as a process of its own: answers in four shapes, metrics, and a candidate log.

    python tiny_server.py PORT FOLDER

It keeps its log open and counts each record as written, wherever the file may be by then, as a naive log would.
"""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"choices": [{"finish_reason": "stop"}], "usage": {"completion_tokens": 8}},
    "/v1/completions": {"choices": [{"finish_reason": "length"}], "usage": {"completion_tokens": 8}},
    "/v1/messages": {"type": "message", "stop_reason": "end_turn", "usage": {"output_tokens": 8}},
    "/v1/responses": {"object": "response", "status": "completed", "usage": {"output_tokens": 8}},
}


class Handler(BaseHTTPRequestHandler):
    lock = Lock()
    counts: ClassVar = {"tokens": 0, "written": 0, "failed": 0}

    def do_GET(self) -> None:
        tokens = self.counts["tokens"]
        text = f"vllm:generation_tokens_total {tokens}\nbestofn_generated_tokens_total {tokens}\n"
        for outcome in ("written", "failed"):
            text += f'bestofn_candidate_log_records_total{{outcome="{outcome}"}} {self.counts[outcome]}\n'
        self._send(200, "text/plain", text.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        with self.lock:
            self.counts["tokens"] += 8
            self._keep(json.dumps({"request_id": self.headers["x-request-id"]}))
        body = BODIES.get(self.path)
        if body is None:
            error = {"message": "there is no such path", "type": "not_found", "param": None, "code": "404"}
            self._send(404, "application/json", json.dumps({"error": error}).encode())
        else:
            self._send(200, "application/json", json.dumps({**body, "rerank": {"reward": 1.0}}).encode())

    def _keep(self, line: str) -> None:
        try:
            log.write(line + "\n")
            log.flush()
            self.counts["written"] += 1
        except OSError:
            self.counts["failed"] += 1

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log = (Path(sys.argv[2]) / "candidates.jsonl").open("a", encoding="utf-8")
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
