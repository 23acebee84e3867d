"""The ground of every study: its settings, and stages that label and train.

A study that was interrupted goes on with the stage that it was in, and a trainer with the step that it was in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from training.data.read import read_comparisons
from training.experiments.stages import Stages
from training.labs import lab, model_path
from training.policy.rollout import sampler
from training.run.config import Config, ConfigError, TrainingConfig, setting
from training.samples.label import gold
from training.samples.preferences import draw, write_samples

LABELS_FILE = "labels.jsonl"

Trained = TypeVar("Trained", bound=TrainingConfig)


@dataclass(frozen=True, kw_only=True)
class StudyConfig(Config):
    """The settings of every study. `reward`, `ppo` and `dpo` hold those of the trainers; the study adds the rest."""

    lab: str = setting("", "the lab that makes prompts, labels and gold rewards")
    lab_options: Mapping[str, float] = setting(dict, "options of the lab")
    policy: str = setting("", "the policy to start from, and the reference")
    prompts: int = setting(300, "held-out prompts for every measurement", minimum=2)
    samples: int = setting(4, "samples per prompt for the measurement of a policy", minimum=2)
    labels: int = setting(5000, "prompts whose answers are labelled", minimum=4)
    samples_per_prompt: int = setting(4, "answers that a labeller compares", minimum=2)
    label: str = setting("ranking", "what the labeller names", choices=("best", "ranking"))
    label_noise: float = setting(0.0, "how often the labeller errs", minimum=0, maximum=1)
    sampler: str = setting("auto", "engine that samples policies", choices=("auto", "vllm", "transformers"))
    seed: int = setting(0, "seed of everything", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lab", "policy"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: required")


class Study(Stages):
    """One run of a study: stages that label and train."""

    def __init__(self, config: StudyConfig, output: Path) -> None:
        super().__init__(config, output)
        self.config = config

    def labels(self, name: str, policy: str, prompts: slice, *, seed: int, before: Path | None = None) -> Path:
        """A file of the policy's own answers to these of the labelled prompts, labelled; behind those in `before`."""
        here = self.config

        def collect(folder: Path) -> None:
            world = lab(here.lab, here.lab_options)
            asked = world.prompts(here.labels, "train", seed=here.seed + 1)[prompts]
            limit, count = world.answer_tokens, here.samples_per_prompt
            with sampler(here.sampler, model_path(policy)) as policy_sampler:
                drawn = draw(policy_sampler, asked, count=count, max_tokens=limit, seed=seed)
            labelled = gold.label(world, drawn, kind=here.label, noise=here.label_noise, seed=seed)
            known = read_comparisons(str(before))[0] if before else []
            write_samples(folder / LABELS_FILE, [*known, *labelled.comparisons])

        return self.stage(name, collect) / LABELS_FILE

    # -- trainers, each with what the study knows beside what its recipe holds; the folder of the result

    def reward(self, name: str, settings: Mapping[str, Any], **more: Any) -> Path:
        """A reward model from `data=`."""
        from training.reward.trainer import RewardModelConfig, train

        return self._train(name, RewardModelConfig, train, {"model": self.config.policy, **settings, **more})

    def dpo(self, name: str, settings: Mapping[str, Any], **more: Any) -> Path:
        """The first policy after DPO on `data=`."""
        from training.dpo.trainer import DPOConfig, train

        return self._train(name, DPOConfig, train, {"model": self.config.policy, **settings, **more})

    def ppo(self, name: str, settings: Mapping[str, Any], **more: Any) -> Path:
        """The first policy, or `model=`, after PPO in the lab; the reference is always the first."""
        from training.ppo.trainer import PPOConfig, train

        known = {"model": self.config.policy, "reference": self.config.policy}
        return self._train(name, PPOConfig, train, {**known, **settings, **more})

    def _train(
        self, name: str, kind: type[Trained], train: Callable[[Trained, Path], Path], settings: Mapping[str, Any]
    ) -> Path:
        """The settings are checked before any stage is done, since a study asks for its trainers' settings first."""
        config = kind.of(self._known(settings))
        return self.stage(name, lambda folder: train(config, folder))

    def _known(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The seed, and the lab and what samples it unless the settings name a file."""
        here = self.config
        in_lab = {"lab": here.lab, "lab_options": here.lab_options, "sampler": here.sampler, "evaluation_prompts": 0}
        return {"seed": here.seed, **({} if settings.get("data") else in_lab), **settings}
