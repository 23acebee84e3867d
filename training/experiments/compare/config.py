"""The settings of `bestofn compare`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.run.config import Config, ConfigError, positive_numbers, setting


@dataclass(frozen=True)
class Policy:
    """A policy to serve."""

    name: str
    model: str
    trained: tuple[str, ...]  # the checkpoints whose training it takes beside what every policy needs


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Config):
    """`policies`: for each name its `model` and, for the bill, the checkpoints that were `trained` for it.

    The first policy is the one that best-of-N starts from, and the reference of every KL.
    """

    lab: str = setting("", "the lab that makes held-out prompts and knows gold")
    lab_options: Mapping[str, float] = setting(dict, "options of the lab")
    policies: Mapping[str, Any] = setting(dict, "name: {model: CHECKPOINT, trained: [CHECKPOINT, ...]}")
    reward_model: str = setting("", "the reward model that ranks candidates")
    best_of: tuple[str, ...] = setting(("1", "2", "4", "8", "16", "32", "64"), "values of N for each policy")
    prompts: int = setting(250, "held-out prompts for quality", minimum=2)
    clients: tuple[str, ...] = setting(("1", "8"), "loads: how many clients ask at once")
    requests: int = setting(24, "requests of each policy, N and load in one repeat", minimum=2)
    repeats: int = setting(3, "how often every policy, N and load is measured", minimum=1)
    hour_dollars: float = setting(1.0, "price of an hour of the machine, for serving and for training", minimum=1e-9)
    months: float = setting(1.0, "months over which training is paid off", minimum=0.01)
    serve: tuple[str, ...] = setting((), "more options of `bestofn serve`")
    seed: int = setting(0, "seed of prompts and answers", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lab", "reward_model", "policies"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: required")
        for name in ("best_of", "clients"):
            positive_numbers(name, getattr(self, name))
        if self.requests % self.loads[-1]:
            raise ConfigError(
                f"requests: must be a multiple of the most clients, {self.loads[-1]}, so that all stay busy"
            )
        if self.sizes[0] != 1:
            raise ConfigError("best_of: must hold 1, which everything is compared with")
        _policies(self.policies)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Values of N, ascending."""
        return positive_numbers("best_of", self.best_of)

    @property
    def loads(self) -> tuple[int, ...]:
        """Numbers of clients, ascending."""
        return positive_numbers("clients", self.clients)

    @property
    def served(self) -> list[Policy]:
        """The policies, in their order."""
        return _policies(self.policies)


def _policies(given: Mapping[str, Any]) -> list[Policy]:
    return [_policy(str(name), one) for name, one in given.items()]


def _policy(name: str, given: Any) -> Policy:
    if not isinstance(given, Mapping) or not isinstance(given.get("model"), str):
        raise ConfigError(f"policies.{name}.model: required, a checkpoint")
    for key in given:
        if key not in ("model", "trained"):
            raise ConfigError(f"policies.{name}.{key}: unknown; there are: model, trained")
    trained = given.get("trained", [])
    if not isinstance(trained, list) or not all(isinstance(one, str) for one in trained):
        raise ConfigError(f"policies.{name}.trained: expected a list of checkpoints, got {trained!r}")
    return Policy(name, given["model"], tuple(trained))
