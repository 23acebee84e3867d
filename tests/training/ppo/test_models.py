"""What takes part in PPO: answers that the policy samples, their rewards, and a reward model that reads less."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.data.read import DataError
from training.data.records import user
from training.labs import arithmetic, checkpoint
from training.policy.rollout import TransformersSampler
from training.ppo.data import PPOCollator
from training.ppo.models import Models, load_models, token_sampler

QUESTION = arithmetic.questions(1, "held_out", seed=0)[0]
PROMPT = user(QUESTION.text)


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(
        "arithmetic-sft",
        "arithmetic-reward",
        "",
        max_tokens=256,
        bf16=False,
        gradient_checkpointing=False,
        lora_rank=0,
        lora_alpha=16,
        seed=0,
        device=torch.device("cpu"),
    )


def test_answers_stand_behind_their_prompts_and_are_read_without_them(models: Models) -> None:
    sampler = token_sampler("transformers", "arithmetic-sft", models)
    assert isinstance(sampler, TransformersSampler)
    answers = models.answers(sampler, [PROMPT, PROMPT], max_tokens=64, seed=0)
    assert answers[0].tokens[: answers[0].start] == answers[1].tokens[: answers[1].start]
    assert not any(QUESTION.text in text for text in models.texts(answers))
    assert all(answer.tokens[-1] in models.ends for answer in answers)


def test_the_reference_is_the_policy_before_training(models: Models) -> None:
    answers = models.answers(token_sampler("transformers", "", models), [PROMPT], max_tokens=8, seed=0)
    batch = PPOCollator(models.template.tokenizer.pad_token_id, torch.device("cpu"))(answers)
    with torch.no_grad():
        ours, theirs = (known["logprobs"] for known in (models.actor_critic(batch), models.reference_logprobs(batch)))
    assert torch.allclose(ours[batch["answer"]], theirs[batch["answer"]], atol=1e-5)


def test_the_reward_model_prefers_the_right_answer_and_reads_no_more_than_it_can(models: Models) -> None:
    right, wrong = models.reward_model.rewards(
        [PROMPT, PROMPT], [arithmetic.solution(QUESTION), arithmetic.solution(QUESTION, mistake_at=0, mistake=1)]
    )
    assert right > wrong
    models.reward_model.check_length(PROMPT, 100)
    with pytest.raises(DataError, match="the reward model reads 2048 tokens, the longest answer makes"):
        models.reward_model.check_length(PROMPT, 2048)


def test_the_policy_is_saved_as_it_came(models: Models, tmp_path: Path) -> None:
    models.save_policy(tmp_path, dtype="float32")
    before, after = (load_file(path / "model.safetensors") for path in (checkpoint("arithmetic-sft"), tmp_path))
    assert all(torch.equal(before[name].float(), after[name]) for name in before)
