"""What real engines are asked to score: the same by every way in, whole answers first, one tenant's for that tenant."""

import json
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.server import Server
from training.labs import checkpoint

pytestmark = pytest.mark.engine
QUESTION: Any = [{"role": "user", "content": "What is 35+21+81?"}]
SAMPLING: Any = {
    "model": "arithmetic",
    "best_of": 8,
    "seed": 5,
    "max_tokens": 60,
    "rerank": {"return_candidates": True},
}


def test_a_chat_scores_alike_as_messages_as_text_and_as_token_ids(server: Server) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint("arithmetic-sft"))
    text = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    answers = [server.post("/v1/chat/completions", {**SAMPLING, "messages": QUESTION})]
    answers += [server.post("/v1/completions", {**SAMPLING, "prompt": prompt}) for prompt in (text, ids)]
    assert [status for status, _ in answers] == [200] * 3
    reranks = [answer["rerank"] for _, answer in answers]
    assert [rerank["scored_as"] for rerank in reranks] == ["conversation", "rendered", "rendered"]
    scored = [{one["text"]: one["reward"] for one in rerank["candidates"]} for rerank in reranks]
    for other in scored[1:]:
        shared = scored[0].keys() & other.keys()
        assert len(shared) > 1
        assert [other[text] for text in shared] == pytest.approx([scored[0][text] for text in shared], abs=1e-4)


def test_the_reward_model_reads_the_tools(server: Server) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    bodies = [{**SAMPLING, "best_of": 1, "messages": QUESTION, **more} for more in ({}, {"tools": [tool]})]
    plain, offered = (server.post("/v1/chat/completions", body)[1]["rerank"] for body in bodies)
    assert "left_out" not in offered
    grown = offered["tokens"]["prompt"] - plain["tokens"]["prompt"]
    scored = [rerank["tokens"]["scored"] - rerank["tokens"]["returned"] for rerank in (plain, offered)]
    assert grown > 50
    assert scored[1] - scored[0] == pytest.approx(grown, abs=10)  # up to what a tool call is worth


def test_json_that_was_cut_off_never_wins_where_whole_json_is_there(server: Server) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    asked = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    body = {**SAMPLING, "messages": QUESTION, "max_tokens": 40, "seed": 500, "response_format": asked}
    _, answer = server.post("/v1/chat/completions", {**body, "rerank": {"incomplete": "allow"}})
    candidates = answer["rerank"]["candidates"]
    assert {one["finish_reason"] for one in candidates} == {"stop", "length"}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert set(json.loads(answer["choices"][0]["message"]["content"])) == {"answer"}


def test_a_tenant_learns_nothing_of_anothers_prompt_from_the_counts(server: Server) -> None:
    """Victim, right guess, wrong guess of equal length."""

    def counts(code: str, salt: str) -> tuple[int, int]:
        messages = [{"role": "user", "content": f"The code is {code}. " * 20}]
        body = {**SAMPLING, "best_of": 1, "max_tokens": 4, "messages": messages, "cache_salt": salt}
        tokens = server.post("/v1/chat/completions", body)[1]["rerank"]["tokens"]
        return tokens["cached_prompt"], tokens["scored_cached"]

    victim, right, wrong = counts("4711", "victim"), counts("4711", "attacker"), counts("0815", "attacker")
    assert victim[0] == right[0] == wrong[0] == 0
    assert right == wrong
    assert counts("4711", "victim")[0] > 0
