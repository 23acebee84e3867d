"""Log-probabilities of answers that are known as text."""

import math

import pytest
import torch
from transformers import AutoTokenizer

from reward.template import ConversationTemplate
from training.data.records import Comparison, user
from training.evaluation import policy
from training.labs import checkpoint
from training.labs.arithmetic import Question, solution
from training.policy.completion_logprobs import certainty, completion_logprobs, sampled_tokens
from training.policy.rollout import prompt_tokens

SFT = str(checkpoint("arithmetic-sft"))


def test_logprobs_are_those_of_the_sampled_tokens_and_the_end() -> None:
    model, template = policy.load_policy(SFT)
    asked = Question((10, 20, 30))
    texts = (solution(asked), "Answer: 7", "")
    sample = Comparison(asked.messages, texts)
    (rows,) = completion_logprobs(model, template, [sample], max_batch_tokens=60)
    tokenizer = template.tokenizer
    for text, row in zip(texts, rows, strict=True):
        prompt = prompt_tokens(tokenizer, asked.messages)
        answer = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        by_hand = [float(logits[len(prompt) + i - 1, token]) for i, token in enumerate(answer)]
        assert row.tolist() == pytest.approx(by_hand, abs=1e-4)


def test_certainty_is_the_sum_of_the_logprobs_and_the_mean_divergence_from_uniform() -> None:
    model, template = policy.load_policy(SFT)
    asked = Question((10, 20, 30))
    samples = [Comparison(asked.messages, (solution(asked), "Answer: 7"))]
    found = certainty(model, template, samples, max_batch_tokens=60)
    (rows,) = completion_logprobs(model, template, samples)
    assert found.logprob[0].tolist() == pytest.approx([row.sum() for row in rows], abs=1e-4)
    assert found.tokens[0].tolist() == [len(row) for row in rows]
    for at, answer in enumerate(sampled_tokens(template, samples[0])):
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([list(answer.tokens)])).logits[0].double().log_softmax(-1)
        each = logprobs[answer.start - 1 : -1]
        uniform = torch.full_like(each, -math.log(each.shape[-1]))
        divergence = (uniform.exp() * (uniform - each)).sum(-1).mean()
        assert found.self_certainty[0, at] == pytest.approx(float(divergence), abs=1e-4)


def test_an_answer_that_was_cut_off_has_no_end() -> None:
    _, template = policy.load_policy(SFT)
    sample = Comparison(user("What is 10+20+30?"), ("10+2", "10"))
    cut, finished = sampled_tokens(template, sample, max_tokens=4)
    end = template.tokenizer.eos_token_id
    assert (len(cut.tokens) - cut.start, end in cut.tokens[cut.start :]) == (4, False)
    assert (len(finished.tokens) - finished.start, finished.tokens[-1]) == (3, end)


def test_what_the_template_writes_behind_the_end_was_not_sampled() -> None:
    tokenizer = AutoTokenizer.from_pretrained(SFT)
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    (row,) = sampled_tokens(ConversationTemplate(tokenizer), Comparison(user("q"), ("ab",)))
    assert tokenizer.decode(list(row.tokens[row.start :])) == "ab<|end|>"
