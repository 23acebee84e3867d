"""The policy's own answers, drawn with both samplers, and the pairs and measurements made of them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from reward.template import Message
from training import measure, reward_model, runs, samples
from training.config import RewardModelConfig
from training.labs import arithmetic, checkpoint
from training.labs.arithmetic import Question, gold, solution
from training.rollout import TransformersSampler, sampler
from training.samples import Samples

RIGHT, WRONG = "Answer: 60", "Answer: 61"
QUESTION = Question((10, 20, 30))
CONFIG = RewardModelConfig.load("arithmetic_reward")


def config(**changes: object) -> RewardModelConfig:
    return RewardModelConfig(**(CONFIG.as_dict() | changes))


def test_pairs_are_of_one_question_one_right_one_wrong() -> None:
    other = Question((11, 22, 33))
    drawn = [
        Samples(QUESTION, (RIGHT, WRONG, WRONG, "Answer: 62")),
        Samples(other, (solution(other),) * 4),
        Samples(other, ("Answer: 1", "no idea")),
    ]
    pairs = samples.pairs(drawn, config(pairs_per_question=1))
    assert [(pair.chosen, pair.messages[0]["content"]) for pair in pairs] == [(RIGHT, QUESTION.text)]
    assert pairs[0].rejected in (WRONG, "Answer: 62")


def test_every_wrong_answer_is_in_at_most_one_pair() -> None:
    drawn = [Samples(QUESTION, (RIGHT, RIGHT, WRONG, WRONG, "Answer: 62", "Answer: 63"))]
    three = samples.pairs(drawn, config(pairs_per_question=3))
    assert [pair.chosen for pair in three] == [RIGHT] * 3
    assert {pair.rejected for pair in three} == {WRONG, "Answer: 62", "Answer: 63"}
    assert len(samples.pairs(drawn, config(pairs_per_question=2))) == 2


def test_label_noise_turns_pairs_over() -> None:
    drawn = [Samples(QUESTION, (RIGHT, WRONG))] * 1000
    pairs = samples.pairs(drawn, config(label_noise=0.3))
    turned = sum(pair.chosen == WRONG for pair in pairs) / len(pairs)
    assert turned == pytest.approx(0.09 / (0.09 + 0.49), abs=0.05)


def test_samples_survive_their_file(tmp_path: Path) -> None:
    drawn = [Samples(QUESTION, (RIGHT, "é\n")), Samples(Question((11, 22), as_json=True), ("{}",))]
    samples.write(tmp_path / "samples.jsonl", drawn)
    assert samples.read(tmp_path / "samples.jsonl") == drawn


def test_transformers_sampler_answers_in_order_and_repeats() -> None:
    policy = TransformersSampler(checkpoint("arithmetic-sft"), batch_size=5)
    conversations: list[Sequence[Message]] = [q.messages for q in arithmetic.questions(4, "held_out", seed=0)]
    answers = policy.sample(conversations, count=3, max_tokens=64, seed=1)
    assert [len(texts) for texts in answers] == [3] * 4
    for conversation, texts in zip(conversations, answers, strict=True):
        first = str(conversation[0]["content"]).removeprefix("What is ").split("+")[0]
        assert all(text.startswith(first) for text in texts)
    assert policy.sample(conversations, count=3, max_tokens=64, seed=1) == answers
    assert policy.sample(conversations, count=3, max_tokens=64, seed=2) != answers


@pytest.mark.engine
def test_vllm_sampler_gives_the_same_kind_of_answers() -> None:
    """In a process of its own, because the engine lives in the process that samples."""
    script = (
        "import json; from training.labs import arithmetic, checkpoint; from training.rollout import sampler;"
        "questions = arithmetic.questions(8, 'held_out', seed=0);"
        "policy = sampler('vllm', checkpoint('arithmetic-sft'));"
        "draw = lambda seed: policy.sample([q.messages for q in questions], count=4, max_tokens=64, seed=seed);"
        "print(json.dumps([draw(1), draw(1), draw(2)]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, again, other = json.loads(done.stdout.splitlines()[-1])
    assert first == again != other
    assert [len(texts) for texts in first] == [4] * 8
    questions = arithmetic.questions(8, "held_out", seed=0)
    assert any(gold(q, text) for q, texts in zip(questions, first, strict=True) for text in texts)


def test_an_unknown_sampler_is_an_error() -> None:
    with pytest.raises(ValueError, match="auto, vllm or transformers"):
        sampler("dice", "nowhere")


def test_a_short_reward_run_in_the_lab_writes_its_numbers(tmp_path: Path) -> None:
    quick = config(
        questions=30, max_steps=3, batch_size=8, evaluation_questions=4, evaluation_samples=4, sampler="transformers"
    )
    reward_model.train(quick, tmp_path)
    assert not (tmp_path / runs.STATE_FOLDER).exists(), "another run must not find these samples"
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "Best-of-4 closes" in card
    assert "pass@4" in card


def test_the_bundled_reward_model_ranks_right_above_wrong() -> None:
    held_out = arithmetic.questions(40, "held_out", seed=5)
    mistaken = [Samples(q, (solution(q), solution(q, mistake_at=0, mistake=2))) for q in held_out]
    assert measure.best_of_n_accuracy(mistaken, checkpoint("arithmetic-reward")).accuracy[2].value >= 0.9


def test_the_bundled_pair_turns_more_samples_into_better_answers() -> None:
    drawn = measure.held_out_samples(
        checkpoint("arithmetic-sft"), kind="transformers", questions=60, count=16, max_tokens=64
    )
    measured = measure.best_of_n_accuracy(drawn, checkpoint("arithmetic-reward"))
    assert 0.4 <= measured.accuracy[1].value <= 0.8
    assert measured.closed.value >= 0.8
