"""In a process of its own: locust patches the sockets of the one that imports it."""

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import io, json, sys
from types import SimpleNamespace
from locust.env import Environment
from loadtests.locust.users import BestOfUser, answered

class Stream(io.BytesIO):
    def readline(self, separator): return super().readline()
    def release(self): pass

environment = Environment()
environment.parsed_options = SimpleNamespace(workload="mixed", best_of_field="n", model="m", api_key="key")
BestOfUser.host = "http://there"
seen, fired = [], []
answered.add_listener(lambda environment, query, answer: seen.append(answer))
environment.events.request.add_listener(lambda **of: fired.append([of["response_length"], str(of["exception"] or "")]))

def ask(status, headers, body):
    def post(path, json, headers, **_):
        sent.update(path=path, model=json["model"], key=headers["Authorization"])
        return response

    content, sent = body.encode(), {}
    response = SimpleNamespace(status_code=status, headers=headers, content=content, stream=Stream(content))
    response.error = "gone"
    user = BestOfUser(environment)
    user.client = SimpleNamespace(post=post)
    fired.clear()
    user.chat()
    answer = seen[-1]
    return {
        "status": answer.status, "ok": answer.ok, "error": answer.error, "fired": list(fired),
        "tokens": [answer.generated_tokens, answer.returned_tokens], "first byte": answer.first_byte_s is not None,
        "waits": user.wait_time(), **sent,
    }

print(json.dumps({name: ask(*reply) for name, reply in json.loads(sys.argv[1]).items()}))
"""

USAGE = '{"choices": [], "usage": {"completion_tokens": 80}, "rerank": {"tokens": {"returned": 10}}}'
STREAM = f': working\n\ndata: {{"choices": [{{"delta": {{}}}}]}}\n\ndata: {USAGE}\n\ndata: [DONE]\n\n'
CUT_OFF = STREAM.replace("data: [DONE]", ": bye")
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
REPLIES: dict[str, list[Any]] = {
    "an answer": [200, {}, USAGE],
    "a stream": [200, EVENTS, STREAM],
    "a stream that was cut off": [200, EVENTS, CUT_OFF],
    "a refusal": [429, {"retry-after": "7"}, '{"error": {"message": "full"}}'],
    "a failure": [503, {}, '{"error": {"message": "no"}}'],
    "no connection": [0, None, ""],
}
UNFINISHED = "HTTP 200: the stream ended without [DONE]"


@pytest.fixture(scope="module")
def asked() -> dict[str, dict[str, Any]]:
    """What one user made of each reply."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(REPLIES)], capture_output=True, text=True, check=True
    )
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("an answer", {"ok": True, "tokens": [80, 10], "first byte": False, "fired": [[len(USAGE), ""]]}),
        ("a stream", {"ok": True, "tokens": [80, 10], "first byte": True, "fired": [[len(STREAM), ""]]}),
        ("a stream that was cut off", {"ok": False, "error": UNFINISHED, "fired": [[len(CUT_OFF), UNFINISHED]]}),
        ("a refusal", {"ok": False, "fired": [], "waits": 7.0}),
        ("a failure", {"ok": False, "fired": [[28, "HTTP 503: no"]]}),
        ("no connection", {"ok": False, "fired": [[0, "gone"]]}),
    ],
)
def test_a_user_reads_an_answer_as_every_client_does(
    asked: dict[str, dict[str, Any]], reply: str, expected: dict[str, Any]
) -> None:
    assert {name: asked[reply][name] for name in expected} == expected
    assert asked[reply]["status"] == REPLIES[reply][0]


def test_a_user_sends_what_the_options_name(asked: dict[str, dict[str, Any]]) -> None:
    sent = {(one["path"], one["model"], one["key"]) for one in asked.values()}
    assert sent == {("/v1/chat/completions", "m", "Bearer key")}
