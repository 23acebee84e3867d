import subprocess
import sys

import pytest

from measuring import answers


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, {"id": "1"}, ""),
        (200, {"id": "1", "error": None}, ""),
        (200, {"error": answers.UNFINISHED}, "HTTP 200: the stream ended without [DONE]"),
        (400, {"error": {"message": "best_of:\n must be"}}, "HTTP 400: best_of: must be"),
        (502, None, "HTTP 502: the body is not a JSON object"),
        (200, {}, "HTTP 200: the body is not a JSON object"),
    ],
)
def test_what_is_wrong_is_one_line(status: int, body: dict[str, object] | None, said: str) -> None:
    assert answers.what_is_wrong(status, body) == said


@pytest.mark.parametrize(("data", "value"), [(b'{"a": 1}', {"a": 1}), (b"[1]", None), (b"<html>", None)])
def test_only_an_object_is_an_answer(data: bytes, value: dict[str, int] | None) -> None:
    assert answers.parsed(data) == value


def test_tokens_that_are_returned_are_all_but_where_a_reranker_says_otherwise() -> None:
    usage = {"usage": {"completion_tokens": 80}}
    reranked = usage | {"rerank": {"tokens": {"returned": 10}}}
    assert (answers.generated_tokens(reranked), answers.returned_tokens(reranked)) == (80, 10)
    assert (answers.generated_tokens(usage), answers.returned_tokens(usage)) == (80, 80)
    assert (answers.generated_tokens(None), answers.returned_tokens(None)) == (0, 0)


@pytest.mark.parametrize(("header", "seconds"), [("3", 3), ("-1", 1), (None, 1), ("Mon, 1 Jan", 1), ("3600", 60)])
def test_who_is_refused_stays_away_as_long_as_was_asked_within_reason(header: str | None, seconds: float) -> None:
    assert answers.stay_away_s(answers.retry_after_s(header)) == seconds


def test_it_needs_the_standard_library_only() -> None:
    program = "import sys, measuring.answers; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"httpx2", "pydantic", "numpy", "gevent", "training", "service"} & set(done.stdout.split())
