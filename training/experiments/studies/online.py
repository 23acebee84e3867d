"""Online collection (Ziegler et al. 2019, section 2.3): do labels of the current policy's answers teach more?

    bestofn study online --recipe reviews_online --output runs/reviews-online

Each round samples the current policy, has a labeller name the best answers, trains the reward model further on all
labels so far, and trains the policy further against it. Beside it runs one round with as many labels, all of the first
policy's answers, and as many updates. Both are followed along the way and compared at equal KL.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from measuring.estimators import Interval, bootstrap
from training.experiments.studies import measured
from training.experiments.studies.study import Study, StudyConfig
from training.run import snapshots
from training.run.config import ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class OnlineConfig(StudyConfig):
    """`labels` are those of all rounds; `reward` and `ppo` are of one round; the study adds data, models and seeds.

    The rewards of later rounds are normalised over the answers that they learned from, as all with `data` are.
    """

    rounds: int = setting(3, "rounds of labels, reward model and policy", minimum=2)
    reward: Mapping[str, Any] = setting(dict, "settings of the reward model: a RewardModelConfig")
    ppo: Mapping[str, Any] = setting(dict, "settings of PPO; max_steps is that of one round")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, settings in (("reward", self.reward), ("ppo", self.ppo)):
            if "max_steps" not in settings:
                raise ConfigError(f"{name}.max_steps: required, the steps of one round")
        if self.reward.get("extra_layers"):
            raise ConfigError("reward.extra_layers: the rounds train one reward model further, which keeps its depth")


@dataclass(frozen=True)
class Way:
    """The policies along one way: KL in nats and mean gold of each, and gold [prompts] of each."""

    kl: tuple[float, ...]
    gold: np.ndarray[Any, Any]  # [points, prompts]

    def at(self, kl: float) -> np.ndarray[Any, Any]:
        """Gold of every prompt at this KL, between the two points around it; [prompts]."""
        order = np.argsort(self.kl)
        return np.array([np.interp(kl, np.array(self.kl)[order], column[order]) for column in self.gold.T])


@dataclass(frozen=True)
class Online:
    """Gold at the highest KL that both ways reach, and online's lead there; all points beside it."""

    kl: float
    online: Interval
    once: Interval
    lead: Interval
    ways: dict[str, Way]

    def table(self) -> str:
        """Markdown."""
        rows = [
            f"| {name} | {index} | {kl:.2f} | {gold.mean():.4f} |"
            for name, way in self.ways.items()
            for index, (kl, gold) in enumerate(zip(way.kl, way.gold, strict=True))
        ]
        return "\n".join(
            [
                "| way | point | KL, nats | gold |",
                "|---|---|---|---|",
                *rows,
                "",
                f"At {self.kl:.2f} nats: gold {self.online} online, {self.once} in one round; a lead of {self.lead}.",
            ]
        )


def run(config: OnlineConfig, output: Path) -> Online:
    """Both ways; writes README.md into `output`."""
    study = Study(config, output)
    ways = {name: _way(study, config, name, rounds) for name, rounds in (("online", config.rounds), ("once", 1))}
    kl = min(max(way.kl) for way in ways.values())
    columns = np.column_stack([ways["online"].at(kl), ways["once"].at(kl)])  # [prompts, 2]
    found = Online(
        kl,
        bootstrap(columns, lambda rows: float(rows[:, 0].mean())),
        bootstrap(columns, lambda rows: float(rows[:, 1].mean())),
        bootstrap(columns, lambda rows: float((rows[:, 0] - rows[:, 1]).mean())),
        ways,
    )
    (output / "README.md").write_text(f"# Online collection\n\n{found.table()}\n", encoding="utf-8")
    return found


def _way(study: Study, config: OnlineConfig, name: str, rounds: int) -> Way:
    """The first policy, and those from along the way and at the end of every round."""
    points = [measured.policy(study, f"{name}-start", config.policy)]
    for number, folder in enumerate(_rounds(study, config, name, rounds), start=1):
        points += [
            measured.policy(study, f"{name}-{number}-{label}", path)
            for label, path in snapshots.checkpoints(folder).items()
        ]
    return Way(tuple(point.kl for point in points), np.array([point.gold.mean(axis=1) for point in points]))


def _rounds(study: Study, config: OnlineConfig, name: str, rounds: int) -> Iterator[Path]:
    """The policy of each round. One round alone has the labels and the steps of all rounds."""
    policy, judge, labels = config.policy, config.policy, None
    for number in range(1, rounds + 1):
        share = config.labels // rounds
        part, seed = slice(share * (number - 1), share * number), config.seed + number
        labels = study.labels(f"{name}/labels-{number}", policy, part, seed=seed, before=labels)
        judge = str(study.reward(f"{name}/reward-{number}", _all_steps(config.reward, config, rounds, judge, labels)))
        settings = _all_steps(config.ppo, config, rounds, policy) | {"seed": seed}
        policy = str(study.ppo(f"{name}/ppo-{number}", settings, reward_model=judge))
        yield Path(policy)


def _all_steps(
    settings: Mapping[str, Any], config: OnlineConfig, rounds: int, model: str, data: Path | None = None
) -> dict[str, Any]:
    steps = int(settings["max_steps"]) * config.rounds // rounds
    return {**settings, "max_steps": steps, "model": model} | ({"data": str(data)} if data else {})
