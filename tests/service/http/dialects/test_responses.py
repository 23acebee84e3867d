"""OpenAI's responses."""

import pytest

from service.http.dialects.responses import ResponsesDialect
from service.http.rerank_object import Json

RESPONSES = ResponsesDialect()
ERROR = {"message": "m", "type": "t", "param": "p", "code": "c"}


@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_the_last_event_carries_the_response(end: str) -> None:
    event: Json = {"type": f"response.{end}", "response": {"usage": {"output_tokens": 3}}}
    response: Json = event["response"]
    assert RESPONSES.carrier(event) is response
    assert RESPONSES.usage(event) == RESPONSES.usage(response) == {"output_tokens": 3}


def test_no_other_event_does() -> None:
    event: Json = {"type": "response.created", "response": {"usage": {"output_tokens": 3}}}
    assert (RESPONSES.carrier(event), RESPONSES.usage(event)) == (None, None)


def test_a_failed_stream_ends_with_the_error_and_the_response_that_failed() -> None:
    opened: Json = {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "status": "in_progress"}}
    last: Json = {"type": "response.output_text.delta", "sequence_number": 4}
    told, failed = RESPONSES.error_events(ERROR, 424, [opened, last])
    assert (told.name, failed.name) == ("error", "response.failed")
    flat = {"code": "c", "message": "m", "param": "p"}
    assert told.payload == {"type": "error", "sequence_number": 5, **flat, "error": ERROR}
    response = {"id": "r", "status": "failed", "error": {"code": "c", "message": "m"}}
    assert failed.payload == {"type": "response.failed", "sequence_number": 6, "response": response}
    assert opened["response"]["status"] == "in_progress"


def test_without_a_response_there_is_the_error_alone() -> None:
    (told,) = RESPONSES.error_events(ERROR, 424, [])
    assert told.payload["sequence_number"] == 0
    assert RESPONSES.is_error(told.payload)
