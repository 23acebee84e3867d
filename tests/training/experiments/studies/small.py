"""Settings that make a study of seconds."""

from typing import Any

LAB: dict[str, Any] = {
    "lab": "reviews",
    "policy": "reviews-sft",
    "prompts": 6,
    "samples": 4,
    "sampler": "transformers",
    "labels": 16,
}
TRAINER: dict[str, Any] = {"max_steps": 2, "batch_size": 8, "warmup_steps": 0, "log_steps": 1, "max_tokens": 128}
REWARD: dict[str, Any] = {**TRAINER, "held_out_share": 0.25}
PPO: dict[str, Any] = {
    **TRAINER,
    "prompts": 16,
    "rollouts": 8,
    "minibatches": 2,
    "ppo_epochs": 1,
    "response_tokens": 40,
}
