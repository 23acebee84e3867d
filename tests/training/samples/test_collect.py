"""Candidates collected from small HTTP servers and from a tiny checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from measuring.row_file import ResumeError
from tests.training.openai_endpoint import Endpoint, completion, refusal, serving
from training.data.read import read_comparisons
from training.labs import lab
from training.run.config import ConfigError
from training.samples import trace
from training.samples.collect import Collection, run


def question(body: dict[str, Any]) -> str:
    text: str = body["messages"][-1]["content"]
    return text


def ours(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answers as our server does: every candidate with its reward, also under the name of a head."""
    assert body["best_of"] == body["n"]
    assert body["rerank"] == {"return_candidates": True}
    texts = [f"{question(body)} {index}" for index in range(body["best_of"])]
    candidates = [
        {"index": i, "reward": float(i), "rewards": {"polite": -float(i)}, "finish_reason": "stop", "text": text}
        for i, text in enumerate(texts)
    ]
    return 200, completion(*reversed(texts), rerank={"candidates": candidates})


def plain(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Ignores the fields that it does not know."""
    return 200, completion(*(f"{body['seed']}-{index}" for index in range(body["n"])))


def strict(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Refuses them."""
    return (400, refusal("Unrecognized request argument supplied: rerank")) if "rerank" in body else plain(body)


def settings(endpoint: Endpoint, **changes: Any) -> Collection:
    return Collection(**{"lab": "arithmetic", "prompts": 5, "samples": 3, "base_url": endpoint.url, **changes})


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_candidates_and_rewards_of_our_server(tmp_path: Path) -> None:
    output = tmp_path / "candidates.jsonl"
    with serving(ours) as endpoint:
        collected = run(settings(endpoint), output)
    assert (collected.there, collected.taken, collected.failed) == (0, 5, 0)
    comparisons, _ = read_comparisons(str(output))
    asked = [prompt[0]["content"] for prompt in lab("arithmetic").prompts(5, "train", seed=0)]
    assert sorted(c.messages[0]["content"] for c in comparisons) == sorted(asked)
    for comparison in comparisons:
        text = comparison.messages[0]["content"]
        assert comparison.responses == (f"{text} 0", f"{text} 1", f"{text} 2")
        assert comparison.scores == {"polite": (0.0, -1.0, -2.0), "reward": (0.0, 1.0, 2.0)}
        assert not comparison.ranks
    assert rows(output)[0]["made_with"] == {
        "source": "arithmetic",
        "model": "m",
        "samples": 3,
        "temperature": 1.0,
        "max_tokens": 96,
        "seed": 0,
    }


@pytest.mark.parametrize(("server", "requests"), [(plain, 5), (strict, 6)])
def test_choices_of_any_other_server(tmp_path: Path, server: Any, requests: int) -> None:
    output = tmp_path / "candidates.jsonl"
    with serving(server) as endpoint:
        assert run(settings(endpoint, concurrency=1), output).taken == 5
    assert len(endpoint.requests) == requests
    assert all(len(set(c.responses)) == 3 and not c.scores for c in read_comparisons(str(output))[0])
    assert len({body["seed"] for body in endpoint.requests}) == 5


def test_what_failed_is_counted_and_asked_again(tmp_path: Path) -> None:
    output = tmp_path / "candidates.jsonl"
    bad = lab("arithmetic").prompts(5, "train", seed=0)[2][0]["content"]
    short = lab("arithmetic").prompts(5, "train", seed=0)[4][0]["content"]

    def failing(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if question(body) == short:
            return 200, completion("only one")
        return (400, refusal("the prompt is too long")) if question(body) == bad else ours(body)

    with serving(failing) as endpoint:
        first = run(settings(endpoint), output)
    assert (first.taken, first.failed) == (3, 2)
    assert sorted(first.errors) == [
        "BadRequestError: the prompt is too long",
        "ValueError: asked for 3 samples, got 1 with a text",
    ]
    with serving(ours) as endpoint:
        second = run(settings(endpoint), output)
        assert {question(body) for body in endpoint.requests} == {bad, short}
        more = run(settings(endpoint, prompts=7), output)
        with pytest.raises(ResumeError, match=r"line 1: made with temperature = 1\.0, which is now 0\.7"):
            run(settings(endpoint, temperature=0.7), output)
    assert (second.there, second.taken, second.failed) == (3, 2, 0)
    assert (more.there, more.taken) == (5, 2)
    assert len({json.dumps(row["prompt"]) for row in rows(output)}) == len(rows(output)) == 7


def tracing(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answers as our server does where a trace is asked for."""
    assert body["rerank"] == {"return_candidates": True, "strategy": "best_of_n", "trace": True, "checkpoint_tokens": 4}
    grown = {"completion_tokens": 6, "finish_reason": "stop", "growth_ms": [[1, 10.0], [4, 40.0], [6, 60.0]]}
    texts = [f"{question(body)} {index}" for index in range(body["best_of"])]
    told = [
        {"index": i, "reward": float(i), "text": text, "prefix_rewards": [[4, i / 2]], **grown}
        for i, text in enumerate(texts)
    ]
    return 200, completion(*texts, rerank={"candidates": told, "timing": {"score_ms": 5.0}})


def test_a_trace_is_written_and_resumed(tmp_path: Path) -> None:
    output = tmp_path / "trace.parquet"
    with serving(tracing) as endpoint:
        first = run(settings(endpoint, prompts=2, checkpoint_tokens=4), output)
        second = run(settings(endpoint, prompts=3, checkpoint_tokens=4), output)
        assert len(endpoint.requests) == 3
    assert (first.taken, second.there, second.taken) == (2, 2, 1)
    prompts = trace.read(output)
    assert len({prompt.prompt for prompt in prompts}) == 3
    for prompt in prompts:
        assert prompt.score_s == 0.005
        assert [one.reward for one in prompt.candidates] == [0.0, 1.0, 2.0]
        assert prompt.candidates[1].prefix_rewards == ((4, 0.5),)
        assert prompt.candidates[1].growth == ((1, 0.01), (4, 0.04), (6, 0.06))
        assert prompt.candidates[0].gold == 0.0


@pytest.mark.parametrize(
    ("server", "error"),
    [
        (plain, "--trace: this server does not tell how candidates grow"),
        (strict, "Unrecognized request argument supplied: rerank"),
    ],
)
def test_a_server_that_cannot_trace_is_an_error_of_each_prompt(tmp_path: Path, server: Any, error: str) -> None:
    with serving(server) as endpoint:
        collected = run(settings(endpoint, prompts=2, checkpoint_tokens=4), tmp_path / "trace.parquet")
    assert collected.failed == 2
    assert error in collected.errors[0]


def test_a_candidate_without_a_reward_fails_its_prompt_alone(tmp_path: Path) -> None:
    bad = lab("arithmetic").prompts(3, "train", seed=0)[1][0]["content"]

    def unscored(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, answer = tracing(body)
        answer["rerank"]["candidates"][0]["reward"] = None if question(body) == bad else 0.0
        return status, answer

    with serving(unscored) as endpoint:
        collected = run(settings(endpoint, prompts=3, checkpoint_tokens=4), tmp_path / "trace.parquet")
    assert (collected.taken, collected.failed) == (2, 1)
    assert "candidate 0 has no reward" in collected.errors[0]
    assert len(trace.read(tmp_path / "trace.parquet")) == 2


def test_unfinished_candidates_are_not_taken(tmp_path: Path) -> None:
    def aborting(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        candidates = [{"index": 0, "reward": 1.0, "finish_reason": "abort", "text": "half"}]
        return 200, completion("half", rerank={"candidates": candidates})

    with serving(aborting) as endpoint:
        collected = run(settings(endpoint, samples=1, prompts=2), tmp_path / "candidates.jsonl")
    assert collected.failed == 2


def test_prompts_of_a_data_file(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    system = [{"role": "system", "content": "s"}, {"role": "user", "content": "two"}]
    data.write_text("\n".join(json.dumps({"prompt": p, "completion": "a"}) for p in ("one", system, "one", "three")))
    with serving(plain) as endpoint:
        run(settings(endpoint, lab="", data=str(data), prompts=2), tmp_path / "candidates.jsonl")
    assert sorted((row["prompt"] for row in rows(tmp_path / "candidates.jsonl")), key=str) == [system, "one"]
    assert {body["max_tokens"] for body in endpoint.requests} == {512}


def test_a_checkpoint_is_sampled_here(tmp_path: Path) -> None:
    collection = Collection(
        lab="arithmetic", prompts=3, samples=2, model="arithmetic-sft", sampler="transformers", max_tokens=8
    )
    assert run(collection, tmp_path / "first.jsonl").taken == 3
    assert run(collection, tmp_path / "second.jsonl").taken == 3
    assert rows(tmp_path / "first.jsonl") == rows(tmp_path / "second.jsonl")
    assert run(collection, tmp_path / "first.jsonl").there == 3
    comparisons, _ = read_comparisons(str(tmp_path / "first.jsonl"))
    for comparison in comparisons:
        first = str(comparison.messages[0]["content"]).removeprefix("What is ").split("+")[0]
        assert [response.startswith(first) for response in comparison.responses] == [True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "d"}, "either --lab or --data"),
        ({"data": "d", "lab": "", "lab_options": {"json_share": 1}}, "--lab-option: has no meaning with --data"),
        ({"base_url": ""}, "give --base-url of a server, or --model"),
        ({"temperature": 0.0}, "--temperature: at 0"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(Endpoint("http://127.0.0.1:9/v1"), **changes)
