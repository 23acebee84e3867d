"""An event as bytes."""

import json

from service.http.dialects import DIALECTS, Event, dialect_of
from service.rerank.request import ENDPOINTS


def test_an_event_is_its_name_its_data_and_an_empty_line() -> None:
    assert Event({"a": "é"}).encode() == 'data: {"a":"é"}\n\n'.encode()
    assert Event({}, "error").encode() == b"event: error\ndata: {}\n\n"


def test_half_of_a_surrogate_pair_can_be_sent() -> None:
    data = Event({"a": "\ud800\n"}).encode()
    assert json.loads(data.removeprefix(b"data: ")) == {"a": "\ud800\n"}


def test_each_endpoint_speaks_its_own() -> None:
    assert set(DIALECTS) == set(ENDPOINTS.values())
    assert dialect_of("/v1/messages/count_tokens") is DIALECTS["messages"]
    error = {"message": "m"}
    bodies = [dialect_of(path).error_body(error, 400).get("type") for path in (*ENDPOINTS, "/tokenize", "")]
    assert bodies == [None, None, None, "error", None, None]
