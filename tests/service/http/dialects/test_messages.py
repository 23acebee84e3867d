"""Anthropic's messages."""

import pytest

from service.http.dialects.messages import MessagesDialect

MESSAGES = MessagesDialect()


def test_the_delta_of_the_message_carries_rerank_and_its_stop_ends_the_stream() -> None:
    delta = {"type": "message_delta", "usage": {"output_tokens": 3}}
    assert MESSAGES.carrier(delta) is delta
    assert MESSAGES.carrier({"type": "message_start"}) is None
    assert [MESSAGES.is_end({"type": kind}) for kind in ("message_delta", "message_stop")] == [False, True]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (424, "t"), (429, "rate_limit_error"), (503, "api_error"), (504, "timeout_error")],
)
def test_an_error_has_anthropics_type_where_there_is_one(status: int, kind: str) -> None:
    error = {"message": "m", "type": "t", "param": "p", "code": "c"}
    shaped = {"type": "error", "error": {**error, "type": kind}}
    assert MESSAGES.error_body(error, status) == shaped
    (event,) = MESSAGES.error_events(error, status, [])
    assert (event.name, event.payload, MESSAGES.is_error(event.payload)) == ("error", shaped, True)
