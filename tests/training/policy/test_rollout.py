"""Answers drawn from the bundled policy with both samplers."""

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from reward.template import Message
from training.data.read import DataError
from training.data.records import user
from training.labs import arithmetic, checkpoint
from training.labs.arithmetic import gold
from training.labs.models import fresh_policy
from training.labs.tokenizer import byte_tokenizer
from training.policy import rollout
from training.policy.rollout import SamplerError, TransformersSampler, prompt_tokens, resolve, sampler


def test_transformers_sampler_answers_in_order_and_repeats() -> None:
    policy = sampler("transformers", checkpoint("arithmetic-sft"))
    conversations: list[Sequence[Message]] = [q.messages for q in arithmetic.questions(4, "held_out", seed=0)]
    answers = policy.sample(conversations, count=3, max_tokens=64, seed=1)
    assert [len(texts) for texts in answers] == [3] * 4
    for conversation, texts in zip(conversations, answers, strict=True):
        first = str(conversation[0]["content"]).removeprefix("What is ").split("+")[0]
        assert all(text.startswith(first) for text in texts)
    assert policy.sample(conversations, count=3, max_tokens=64, seed=1) == answers
    assert policy.sample(conversations, count=3, max_tokens=64, seed=2) != answers


@pytest.mark.engine
def test_vllm_sampler_gives_the_same_kind_of_answers_one_engine_after_another() -> None:
    """In a process of its own, because the engine lives in the process that samples."""
    script = (
        "import json; from training.labs import arithmetic, checkpoint; from training.policy.rollout import sampler\n"
        "questions = arithmetic.questions(8, 'held_out', seed=0)\n"
        "asked = [q.messages for q in questions]\n"
        "def draw(policy, seed): return policy.sample(asked, count=4, max_tokens=64, seed=seed)\n"
        "with sampler('vllm', checkpoint('arithmetic-sft')) as policy: first = draw(policy, 1), draw(policy, 2)\n"
        "with sampler('vllm', checkpoint('arithmetic-sft')) as policy: again = draw(policy, 1)\n"
        "print(json.dumps([first[0], again, first[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, again, other = json.loads(done.stdout.splitlines()[-1])
    assert first == again != other
    assert [len(texts) for texts in first] == [4] * 8
    questions = arithmetic.questions(8, "held_out", seed=0)
    assert any(gold(q, text) for q, texts in zip(questions, first, strict=True) for text in texts)


def test_an_unknown_sampler_is_an_error() -> None:
    with pytest.raises(SamplerError, match="auto, vllm or transformers"):
        sampler("dice", checkpoint("arithmetic-sft"))


def test_several_processes_sample_with_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "find_spec", lambda name: name)
    assert resolve("auto") == "vllm"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (resolve("auto"), resolve("transformers")) == ("transformers", "transformers")
    with pytest.raises(SamplerError, match="several processes sample with transformers; set sampler=transformers"):
        resolve("vllm")


def test_what_is_sampled_is_the_models_own_distribution() -> None:
    tokenizer = byte_tokenizer()
    model = fresh_policy(tokenizer, seed=0)
    prompts = [prompt_tokens(tokenizer, user("aaaa"))] * 4

    def drawn() -> list[list[int]]:
        return TransformersSampler(model, tokenizer).generate(prompts, max_tokens=30, seed=1, temperature=1.0)

    plain = drawn()
    narrow = GenerationConfig(
        repetition_penalty=5.0, suppress_tokens=plain[0][:5], min_new_tokens=20, eos_token_id=tokenizer.eos_token_id
    )
    model.generation_config = narrow
    assert drawn() == plain
    assert model.generation_config is narrow


def test_at_temperature_0_each_token_is_the_likeliest() -> None:
    tokenizer = byte_tokenizer()
    model = fresh_policy(tokenizer, seed=0).eval()
    prompt = prompt_tokens(tokenizer, user("aaaa"))
    first, second = (
        TransformersSampler(model, tokenizer).generate([prompt], max_tokens=8, seed=seed, temperature=0.0)[0]
        for seed in (1, 2)
    )
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + first])).logits[0, len(prompt) - 1 : -1]
    assert first == second == logits.argmax(-1).tolist()


def test_leaving_the_sampler_closes_what_draws_its_tokens() -> None:
    closed = []

    class Closing(TransformersSampler):
        def close(self) -> None:
            closed.append(True)

    tokenizer = byte_tokenizer()
    with (
        pytest.raises(KeyboardInterrupt),
        rollout.PolicySampler(Closing(fresh_policy(tokenizer, seed=0), tokenizer), tokenizer),
    ):
        raise KeyboardInterrupt
    assert closed == [True]


def test_a_prompt_that_the_template_refuses_is_named() -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint("arithmetic-sft"))
    with pytest.raises(DataError, match=r"refuses the prompt 'narrator: Once upon a time': unknown role: narrator"):
        prompt_tokens(tokenizer, [{"role": "narrator", "content": "Once upon a time"}])
