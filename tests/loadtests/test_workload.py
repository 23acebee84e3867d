import random
from pathlib import Path

import pytest

from loadtests.workload import WORKLOADS, Lognormal, Mix, Uniform, WorkloadError, workload_path

GENERATOR = random.Random(0)


def load(tmp_path: Path, text: str, name: str = "load.yaml") -> Mix:
    path = tmp_path / name
    path.write_text(text)
    return Mix.load(path)


@pytest.mark.parametrize("path", sorted(WORKLOADS.glob("*.yaml")), ids=lambda path: path.stem)
def test_workloads_that_ship_can_be_drawn_from(path: Path) -> None:
    query = Mix.load(path, prompt_count=10).draw(random.Random(0))
    assert query.messages[-1]["role"] == "user"
    assert query.max_tokens > 0


def test_draws_follow_the_weights_and_the_seed(tmp_path: Path) -> None:
    mix = load(tmp_path, '{"best_of": {"1": 3, "8": 1}, "stream": 0.25, "max_tokens": {"weights": {"5": 1}}}', "l.json")
    drawn = [mix.draw(generator) for generator in [random.Random(7)] for _ in range(4000)]
    again = [mix.draw(generator) for generator in [random.Random(7)] for _ in range(4000)]
    assert drawn == again
    assert sum(query.best_of == 1 for query in drawn) / 4000 == pytest.approx(0.75, abs=0.03)
    assert sum(query.stream for query in drawn) / 4000 == pytest.approx(0.25, abs=0.03)
    assert {query.max_tokens for query in drawn} == {5}
    assert {query.name for query in drawn} == {
        "chat best_of=1", "chat best_of=1 stream", "chat best_of=8", "chat best_of=8 stream",
    }  # fmt: skip


def test_lengths_stay_within_their_bounds() -> None:
    uniform = {Uniform(3, 5).draw(GENERATOR) for _ in range(200)}
    lognormal = sorted(Lognormal(median=40, most=64, sigma=0.4).draw(GENERATOR) for _ in range(1001))
    assert uniform == {3, 4, 5}
    assert (lognormal[0] >= 1, lognormal[-1]) == (True, 64)
    assert lognormal[500] == pytest.approx(40, abs=4)


def test_the_pause_of_a_user_has_the_mean_that_was_asked_for(tmp_path: Path) -> None:
    mix = load(tmp_path, "think_time_s: 2")
    pauses = [mix.think_s(GENERATOR) for _ in range(4000)]
    assert sum(pauses) / 4000 == pytest.approx(2, rel=0.1)
    assert load(tmp_path, "think_time_s: 0").think_s(GENERATOR) == 0


def test_prompts_come_from_a_file_beside_the_workload(tmp_path: Path) -> None:
    (tmp_path / "asked.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    mix = load(tmp_path, "prompts: asked.jsonl")
    assert {mix.draw(GENERATOR).messages[0]["content"] for _ in range(50)} == {"one", "two"}


def test_a_body_is_openais_with_the_field_that_the_server_knows(tmp_path: Path) -> None:
    query = load(tmp_path, "best_of: {4: 1}\nstream: 1\nmax_tokens: 9").draw(GENERATOR)
    body = query.body(best_of_field="n", model="m")
    assert body.pop("messages")
    assert body == {
        "n": 4, "max_tokens": 9, "temperature": 1.0, "model": "m",
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert query.body()["best_of"] == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("streem: 1", "streem: unknown key; there are: best_of, stream, prompts"),
        ("best_of: {0: 1}", "best_of.0: "),
        ("best_of: {1: -1}", "best_of.1: "),
        ("best_of: {}", "best_of: "),
        ("stream: 2", "stream: "),
        ("max_tokens: 0", "max_tokens: expected a positive number, or one of uniform"),
        ("max_tokens: {normal: 3}", "max_tokens: expected a positive number, or one of uniform"),
        ("max_tokens: {uniform: {lo: 1}}", "max_tokens.uniform.lo: unknown key; there are: low, high"),
        ("max_tokens: {lognormal: {median: 3, most: 4, sigma: 9}}", "max_tokens.lognormal.sigma: "),
        ("max_tokens: {weights: {1: x}}", "max_tokens.weights.1: "),
        ("prompts: nowhere.jsonl", "prompts: there is no file"),
        ("- 3", "workload: "),
        ("a: [", "neither YAML nor JSON"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert "load.yaml: " in str(caught.value)


def test_a_workload_that_ships_has_a_name(tmp_path: Path) -> None:
    assert workload_path("mixed") == WORKLOADS / "mixed.yaml"
    assert workload_path(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"


def test_prompts_are_known_by_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "asked.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    first = load(tmp_path, "prompts: asked.jsonl").prompts_sha256
    assert first == load(tmp_path, "prompts: asked.jsonl\nseed: 1").prompts_sha256
    (tmp_path / "asked.jsonl").write_text('{"prompt": "one"}\n{"prompt": "three"}\n')
    assert first != load(tmp_path, "prompts: asked.jsonl").prompts_sha256


def test_a_workload_that_is_not_there_names_those_that_ship(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"nothing\.yaml: No such file.*mixed"):
        Mix.load(tmp_path / "nothing.yaml")
