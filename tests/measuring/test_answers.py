import subprocess
import sys

import pytest

from measuring.answers import UNFINISHED, Answer, Events, Json, parsed, retry_after_s, what_is_wrong


def answer(status: int = 200, body: Json | None = None, *, error: str = "", asked_s: float | None = None) -> Answer:
    return Answer(0, status, 0.0, 0.25, body=body, retry_after_s=asked_s, error=error)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, {"id": "1"}, ""),
        (200, {"id": "1", "error": None}, ""),
        (200, {"error": UNFINISHED}, "HTTP 200: the stream ended without [DONE]"),
        (400, {"error": {"message": "best_of:\n must be"}}, "HTTP 400: best_of: must be"),
        (502, None, "HTTP 502: the body is not a JSON object"),
        (200, {}, "HTTP 200: the body is not a JSON object"),
    ],
)
def test_what_is_wrong_is_one_line(status: int, body: dict[str, object] | None, message: str) -> None:
    assert what_is_wrong(status, body) == message


@pytest.mark.parametrize(("data", "value"), [(b'{"a": 1}', {"a": 1}), (b"[1]", None), (b"<html>", None)])
def test_only_an_object_is_an_answer(data: bytes, value: dict[str, int] | None) -> None:
    assert parsed(data) == value


def test_tokens_that_are_returned_are_all_but_where_a_reranker_says_otherwise() -> None:
    usage = {"usage": {"completion_tokens": 80}}
    reranked, plain = answer(body=usage | {"rerank": {"tokens": {"returned": 10}}}), answer(body=usage)
    assert (reranked.generated_tokens, reranked.returned_tokens) == (80, 10)
    assert (plain.generated_tokens, plain.returned_tokens) == (80, 80)
    assert (answer().generated_tokens, answer().returned_tokens) == (0, 0)


@pytest.mark.parametrize(("header", "seconds"), [("3", 3), ("-1", 1), (None, 1), ("Mon, 1 Jan", 1), ("3600", 60)])
def test_who_is_refused_stays_away_as_long_as_was_asked_within_reason(header: str | None, seconds: float) -> None:
    assert answer(429, error="HTTP 429", asked_s=retry_after_s(header)).stay_away_s == seconds


def test_the_text_is_of_the_first_choice() -> None:
    assert answer(body={"choices": [{"message": {"content": "one"}}, {"message": {"content": "two"}}]}).text == "one"
    assert answer(body={"choices": [{"message": {"content": None}}]}).text == ""
    with pytest.raises(LookupError):
        _ = answer(500, error="HTTP 500").text


@pytest.mark.parametrize(
    ("status", "error", "transient"),
    [(200, "", False), (200, "cut off", False), (400, "x", False), (429, "x", True), (503, "x", True), (0, "x", True)],
)
def test_some_failures_may_pass(status: int, error: str, transient: bool) -> None:
    assert answer(status, error=error).transient == transient


@pytest.mark.parametrize("end", ["[DONE]", b" [DONE]\n"])
def test_a_stream_is_read_as_the_last_of_each_of_its_fields(end: bytes | str) -> None:
    events = Events()
    for data in ('{"id": "1", "usage": null, "choices": [{}]}', b'{"usage": {"completion_tokens": 3}}', "[1]"):
        events.add(data)
    fields = {"id": "1", "usage": {"completion_tokens": 3}}
    assert events.body() == {"error": UNFINISHED} | fields
    events.add(end)
    assert events.body() == fields


def test_an_error_in_a_stream_is_kept_where_it_ends_early() -> None:
    events = Events()
    events.add('{"error": {"message": "out of memory"}}')
    assert events.body() == {"error": {"message": "out of memory"}}


def test_it_needs_the_standard_library_only() -> None:
    program = "import sys, measuring.answers; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"httpx2", "pydantic", "numpy", "gevent", "training", "service"} & set(done.stdout.split())
