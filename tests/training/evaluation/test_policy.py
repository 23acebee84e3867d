"""A policy's answers measured in a lab, with the bundled policy and small changes of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.data.records import Comparison, Conversation
from training.evaluation import policy
from training.evaluation.measure import SEED, gold, held_out_samples
from training.labs import checkpoint, lab
from training.labs.arithmetic import Arithmetic, Question, solution
from training.policy.completion_logprobs import completion_logprobs

SFT = str(checkpoint("arithmetic-sft"))


WORLD = lab("arithmetic")


@pytest.fixture(scope="module")
def samples() -> list[Comparison]:
    return held_out_samples(WORLD, SFT, kind="transformers", prompts=6, count=4)


def test_kl_to_itself_is_zero_and_to_another_is_what_its_samples_say(samples: list[Comparison], tmp_path: Path) -> None:
    model, template = policy.load_policy(SFT)
    zero = policy.kl_to_reference(model, template, SFT, samples, WORLD.answer_tokens)
    assert (zero.value, zero.low, zero.high) == (0, 0, 0)
    other = AutoModelForCausalLM.from_pretrained(SFT)
    with torch.no_grad():
        other.model.layers[0].mlp.down_proj.weight.mul_(0.9)
    other.save_pretrained(tmp_path)
    template.tokenizer.save_pretrained(tmp_path)
    moved = policy.kl_to_reference(model, template, str(tmp_path), samples, WORLD.answer_tokens)
    ours, theirs = (completion_logprobs(m, template, samples, max_tokens=96) for m in (model, other.eval()))
    by_hand = np.mean([a.sum() - b.sum() for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)])
    assert moved.value == pytest.approx(by_hand, abs=1e-4)
    assert moved.value > 0


def test_another_vocabulary_has_no_kl(samples: list[Comparison], tmp_path: Path) -> None:
    model, template = policy.load_policy(SFT)
    AutoModelForCausalLM.from_pretrained(SFT).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(SFT)
    tokenizer.chat_template = tokenizer.chat_template + " "
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no KL can be measured"):
        policy.kl_to_reference(model, template, str(tmp_path), samples, 96)


def test_the_report_on_known_answers() -> None:
    asked = [Question((10, 20, 30)), Question((11, 22, 33))]
    drawn = [Comparison(q.messages, (solution(q), solution(q, mistake_at=0, mistake=1))) for q in asked]
    report = policy.measure(WORLD, SFT, drawn)
    assert (report.prompts, report.samples, report.gold.value) == (2, 2, 0.5)
    assert report.tokens.value == len("10+20=30\n30+30=60\nAnswer: 60") + 1
    assert report.distinct[1] == pytest.approx(13 / 16)  # of each four words, "Answer:" comes four times
    assert report.cut_off == 0
    assert (report.proxy, report.kl, report.win_rate, report.refusals) == (None, None, None, None)


@pytest.mark.parametrize("seed", range(-2, 3))
def test_a_rival_never_answers_with_our_seed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def held_out(*_: object, seed: int, **__: object) -> list[Comparison]:
        seeds.append(seed)
        return [Comparison(Question((10, 20)).messages, ("", ""))]

    monkeypatch.setattr(policy, "held_out_samples", held_out)
    policy.win_rate(WORLD, np.zeros((1, 2)), SFT, "transformers", seed=seed)
    assert seeds != [SEED + seed]


def test_win_rate_counts_ties_as_half() -> None:
    drawn = held_out_samples(WORLD, SFT, kind="transformers", prompts=6, count=4)
    true = gold(WORLD, drawn)
    always, never = (policy.win_rate(WORLD, np.full_like(true, value), SFT, "transformers") for value in (2.0, -1.0))
    assert (always.wins.value, always.ties, never.wins.value) == (1, 0, 0)
    right = policy.win_rate(WORLD, np.ones_like(true), SFT, "transformers")
    assert right.wins.value == pytest.approx(1 - right.ties / 2)
    assert 0 < right.ties < 1


@dataclass(frozen=True)
class Timid(Arithmetic):
    """A lab in which an answer may decline."""

    def refused(self, prompt: Conversation, response: str) -> bool:
        return response.startswith("I would rather not")


def test_refusals_are_counted_where_the_lab_knows_them() -> None:
    asked = Question((10, 20, 30))
    drawn = [Comparison(asked.messages, (solution(asked), "I would rather not say."))]
    refusals = policy.measure(Timid(), SFT, drawn).refusals
    assert refusals is not None
    assert refusals.value == 0.5
