"""What clients ask, and that they stop."""

from pathlib import Path
from typing import Any

import pytest

from loadtests.bench.faults.judge import judge
from loadtests.bench.faults.traffic import SHAPES, Traffic, asking, in_flight_at
from loadtests.bench.faults.wire import Manners
from tests.loadtests.bench.faults.lives import reply, tiny_life


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "q"}], "max_tokens": 5}),
        ("/v1/completions", {"prompt": "q", "max_tokens": 5}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "q"}], "max_tokens": 5}),
        ("/v1/responses", {"input": "q", "max_output_tokens": 5}),
    ],
)
def test_each_endpoint_has_its_fields(path: str, fields: dict[str, Any]) -> None:
    common = {"model": "arithmetic", "best_of": 2, "temperature": 1.0, "rerank": {"trace": True}}
    asked = asking(path, question="q", best_of=2, tokens=5, rerank={"trace": True})
    assert asked.body == common | fields
    assert asking(path, True).streamed


async def test_clients_of_all_shapes_ask_until_they_are_stopped(tmp_path: Path) -> None:
    async with tiny_life(tmp_path) as life:
        traffic = Traffic(life.url)
        single = await traffic.add(asking("/v1/completions"), Manners(patience_s=5))
        replies = await traffic.finish()
        assert single in replies
        assert {(one.asked.path, one.asked.streamed) for one in replies} == set(SHAPES)
        assert {judge(one).kind for one in replies} == {"answer"}
        assert await traffic.finish() == replies


def test_what_is_in_flight_at_a_moment() -> None:
    times = [(0, 1), (0, 2), (1, 3), (2, 3)]
    replies = [reply(sent_s=sent_s, ended_s=ended_s) for sent_s, ended_s in times]
    assert in_flight_at(replies, 1.0) == replies[1:3]
