"""Picks without a reward model on a real engine: what is chosen by is what the client could have seen for itself."""

from collections.abc import Iterator
from typing import Any

import pytest

from bestofn_server.commands.serve import bundled
from tests.server import Server, running

pytestmark = pytest.mark.engine
MODEL = str(bundled()["arithmetic"].model)
SMALL = ["--dtype", "float32", "--enforce-eager", "--kv-cache-memory-bytes", str(64 * 2**20), "--block-size", "32"]
ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is 35+21+81?"}],
    "max_tokens": 48,
    "temperature": 1.0,
    "seed": 5,
}


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The bundled policy, without the reward model that belongs to it."""
    with running(tmp_path_factory.mktemp("free") / "log", SMALL, model=MODEL) as started:
        yield started


def answer(server: Server, **body: Any) -> dict[str, Any]:
    status, found = server.post("/v1/chat/completions", {**ASKED, **body})
    assert status == 200, found
    return found  # type: ignore[no-any-return]


def drawn(choice: dict[str, Any]) -> list[float]:
    return [token["logprob"] for token in choice["logprobs"]["content"]]


def test_one_engine_is_ready_and_nothing_is_scored(free: Server) -> None:
    assert free.get("/ready")[0] == 200
    assert len(free.engine_pids()) == 1
    assert "bestofn_reward_model_up " not in free.get("/metrics")[1]
    rerank = answer(free, best_of=4)["rerank"]
    assert (rerank["reward"], rerank["tokens"]["scored"], rerank["stop_reason"]) == (None, 0, "complete")
    assert rerank["selection"] == {"pick": "likelihood", "over_tokens": "mean"}
    means = [one["logprob"] / one["completion_tokens"] for one in rerank["candidates"]]
    assert rerank["selected"] == [means.index(max(means))]


@pytest.mark.parametrize("selection", ["likelihood", "self_certainty"])
def test_a_candidates_log_probability_is_the_sum_of_those_that_its_client_sees(free: Server, selection: str) -> None:
    found = answer(free, best_of=4, n=4, logprobs=True, rerank={"selection": selection})
    for choice, index in zip(found["choices"], found["rerank"]["selected"], strict=True):
        candidate = found["rerank"]["candidates"][index]
        assert len(drawn(choice)) == candidate["completion_tokens"]
        assert sum(drawn(choice)) == pytest.approx(candidate["logprob"], abs=1e-4)


@pytest.mark.parametrize("selection", ["likelihood", "self_certainty", "shortest"])
@pytest.mark.parametrize("asked", [{}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 3}], ids=str)
def test_a_client_gets_the_log_probabilities_that_it_asked_for_and_no_others(
    free: Server, selection: str, asked: dict[str, Any]
) -> None:
    found = answer(free, best_of=3, rerank={"selection": selection}, **asked)
    index = found["rerank"]["selected"][0]
    plain = answer(free, seed=ASKED["seed"] + index, **asked)
    chosen, alone = found["choices"][0], plain["choices"][0]
    assert chosen["message"]["content"] == alone["message"]["content"]
    assert (chosen["logprobs"] is None) is (alone["logprobs"] is None) is (not asked)
    if asked:
        shown, own = chosen["logprobs"]["content"], alone["logprobs"]["content"]
        assert [token["token"] for token in shown] == [token["token"] for token in own]
        assert [token["logprob"] for token in shown] == pytest.approx([token["logprob"] for token in own], abs=1e-4)
        tops = [[top["token"] for top in token["top_logprobs"]] for token in shown]
        assert tops == [[top["token"] for top in token["top_logprobs"]] for token in own]


def test_the_greedy_candidate_is_the_answer_at_temperature_0_and_the_others_stay(free: Server) -> None:
    texts = {"return_candidates": True, "selection": "random"}
    greedy = answer(free, temperature=0)["choices"][0]["message"]["content"]
    assert answer(free, rerank={"strategy": "greedy"})["choices"][0]["message"]["content"] == greedy
    found = answer(free, best_of=4, rerank={**texts, "include_greedy": True})
    others = answer(free, best_of=4, rerank=texts)["rerank"]["candidates"]
    first, *rest = found["rerank"]["candidates"]
    assert (first["text"], first["greedy"]) == (greedy, True)
    assert [one["text"] for one in rest] == [one["text"] for one in others[1:]]
    billed = sum(one["completion_tokens"] for one in found["rerank"]["candidates"])
    assert found["usage"]["completion_tokens"] == billed


@pytest.mark.parametrize(
    ("rerank", "named"),
    [
        ({"selection": "argmax"}, "rerank.selection"),
        ({"min_reward": 0.0}, "rerank.min_reward"),
        ({"strategy": "prune"}, "rerank.strategy"),
    ],
)
def test_what_needs_a_reward_is_refused_by_its_name(free: Server, rerank: dict[str, Any], named: str) -> None:
    status, found = free.post("/v1/chat/completions", {**ASKED, "best_of": 4, "rerank": rerank})
    assert (status, found["error"]["param"]) == (400, named)
