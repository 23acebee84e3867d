"""What a study measures of a policy: gold, proxy and KL of its samples on the same held-out prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from measuring.estimators import Floats
from training.data.records import Comparison
from training.evaluation.measure import SEED, gold, held_out_samples
from training.evaluation.policy import kl_to_reference, load_policy
from training.evaluation.scoring import score
from training.experiments.studies.study import Study
from training.labs import lab, model_path
from training.labs.lab import Lab


@dataclass(frozen=True)
class MeasuredPolicy:
    """Samples of a policy, with what they are worth."""

    gold: Floats  # [prompts, samples]
    proxy: Floats  # rewards, [prompts, samples]; nan without a reward model
    kl: float  # nats to the study's first policy

    @classmethod
    def of(cls, values: dict[str, Any]) -> "MeasuredPolicy":
        return cls(np.array(values["gold"]), np.array(values["proxy"]), float(values["kl"]))


def policy(study: Study, name: str, path: str | Path, reward_model: str | Path = "") -> MeasuredPolicy:
    """Measure a policy, once."""
    return MeasuredPolicy.of(study.result(f"measured/{name}", lambda: _measure(study, path, reward_model)))


def samples(study: Study, name: str, count: int, reward_model: str | Path) -> MeasuredPolicy:
    """`count` samples of the study's first policy to every prompt, for best-of-n; drawn once."""
    return MeasuredPolicy.of(study.result(f"measured/{name}", lambda: _first(study, count, reward_model)))


def _measure(study: Study, path: str | Path, reward_model: str | Path) -> dict[str, Any]:
    config = study.config
    world = lab(config.lab, config.lab_options)
    found = held_out_samples(
        world, model_path(str(path)), kind=config.sampler, prompts=config.prompts, count=config.samples, seed=SEED
    )
    model, template = load_policy(path)
    kl = kl_to_reference(model, template, config.policy, found, world.answer_tokens)
    return {**_rewards(world, found, reward_model), "kl": kl.value}


def _first(study: Study, count: int, reward_model: str | Path) -> dict[str, Any]:
    config = study.config
    world = lab(config.lab, config.lab_options)
    found = held_out_samples(
        world, model_path(config.policy), kind=config.sampler, prompts=config.prompts, count=count, seed=SEED
    )
    return {**_rewards(world, found, reward_model), "kl": 0.0}


def _rewards(world: Lab, found: Sequence[Comparison], reward_model: str | Path) -> dict[str, Any]:
    true = gold(world, found)
    proxy = np.array(score(found, reward_model).normalised()) if reward_model else np.full_like(true, np.nan)
    return {"gold": true.tolist(), "proxy": proxy.tolist()}
