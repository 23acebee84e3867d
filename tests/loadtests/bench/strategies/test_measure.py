import pytest

from loadtests.bench.strategies.measure import Turns, fields, take_turns, until_idle
from measuring.client import connect
from tests.server import API_KEY, Server


def test_every_request_asks_for_its_candidates_whatever_the_strategy() -> None:
    assert fields({"best_of": 2})["rerank"] == {"return_candidates": True}
    assert fields({"best_of": 2, "rerank": {"strategy": "prune"}}) == {
        "best_of": 2,
        "max_tokens": 96,
        "rerank": {"strategy": "prune", "return_candidates": True},
    }


@pytest.mark.engine
async def test_the_real_servers_counters_are_what_was_billed(server: Server) -> None:
    pruned = {"best_of": 8, "rerank": {"strategy": "prune", "keep": 0.5, "checkpoint_tokens": 8}}
    turns = Turns({"prune": pruned, "best of 2": {"best_of": 2}}, rounds=2, prompts=2, clients=1, seed=5)
    async with connect(server.url, api_key=API_KEY, clients=2) as client:
        found = await take_turns(client, turns)
        left = await until_idle(client)
    assert (left.in_flight, left.running) == (0, 0)
    for name, sampled in (("prune", 8), ("best of 2", 2)):
        assert found[name].exact
        assert found[name].tokens > 0
        assert [shot.sampled for shot in found[name].shots] == [sampled] * 4
