"""OpenAI's chat completions and completions."""

import pytest

from service.http.dialects.chat import ChatDialect
from service.http.rerank_object import Json

CHAT = ChatDialect()


@pytest.mark.parametrize(
    ("event", "carries"),
    [
        ({"choices": []}, True),
        ({"choices": [{"finish_reason": "stop"}]}, True),
        ({"choices": [{"finish_reason": None}, {"finish_reason": "length"}]}, True),
        ({"choices": [{"finish_reason": None}]}, False),
        ({"choices": None}, False),
        ({"error": {}}, False),
    ],
)
def test_a_chunk_that_could_be_the_last_carries_rerank(event: Json, carries: bool) -> None:
    assert CHAT.carrier(event) is (event if carries else None)


def test_an_error_is_a_chunk_of_its_own_and_done_comes_behind_it() -> None:
    error = {"message": "m", "type": "t", "param": None, "code": "c"}
    (event,) = CHAT.error_events(error, 504, [])
    assert CHAT.is_error(event.payload)
    assert event.encode() + CHAT.done == (
        b'data: {"error":{"message":"m","type":"t","param":null,"code":"c"}}\n\ndata: [DONE]\n\n'
    )
    assert CHAT.error_body(error, 504) == event.payload
