import pytest

from loadtests.bench.latency_target.measure import load, read
from loadtests.bench.latency_target.summary import Arrival
from measuring.answers import Answer
from measuring.client import connect
from tests.server import API_KEY, Server

QUESTION = ({"role": "user", "content": "What is 35+21+81?"},)


@pytest.mark.parametrize(("text", "correct"), [("Answer: 137", True), ("Answer: 138", False)])
def test_an_answer_is_judged_by_the_lab(text: str, correct: bool) -> None:
    body = {"choices": [{"message": {"content": text}}], "rerank": {"best_of": 3, "reward": 0.5}}
    seen = read(Answer(0, 200, 1.0, 0.25, body=body), QUESTION, 2)
    assert seen == Arrival(2, 1.0, 200, 0.25, 3, 0.5, correct)
    assert not read(Answer(0, 429, 1.0, 0.01, error="HTTP 429"), QUESTION, 2).answered


@pytest.mark.engine
async def test_a_load_is_answered_by_the_real_server(server: Server) -> None:
    """Its target is too far away to be missed, so each answer has the N that was asked for."""
    met = server.metric("bestofn_slo_met_total", best_of="16")
    async with connect(server.url, api_key=API_KEY, clients=10) as client:
        seen = await load(client, rate=2.0, seconds=3.0, seed=0)
    assert seen
    assert all(one.answered and one.best_of == 16 and one.reward is not None for one in seen)
    assert any(one.correct for one in seen)
    server.wait_idle()
    assert server.metric("bestofn_slo_met_total", best_of="16") - met == len(seen)
