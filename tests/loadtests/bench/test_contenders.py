import sys
import urllib.request

from loadtests.bench import contenders

PROGRAM = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/health", "/environment") else 404)
        self.end_headers()
        self.wfile.write(f"{os.environ['VLLM_LOGGING_LEVEL']} {os.environ['MORE']}".encode())

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_contender_starts_quietly_and_is_waited_for() -> None:
    def command(port: int) -> list[str]:
        return [sys.executable, "-c", PROGRAM, str(port)]

    with (
        contenders.started(command, {"MORE": "more"}) as server,
        urllib.request.urlopen(f"{server.url}/environment", timeout=10) as answer,
    ):
        assert answer.read() == b"ERROR more"


def test_both_serve_the_bundled_policy_and_log_no_requests() -> None:
    plain, ours = contenders.plain(81), contenders.ours(["--best-of", "4"])(81)
    assert plain[plain.index("--model") + 1].endswith("arithmetic-sft")
    assert not any(word.startswith("--model") for word in ours), "it is the default"
    for command in (plain, ours):
        assert "--disable-uvicorn-access-log" in command
        assert command[command.index("--port") + 1] == "81"
