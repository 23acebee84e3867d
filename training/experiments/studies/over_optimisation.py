"""Over-optimisation (Gao et al. 2022): gold and proxy reward against KL for best-of-n, PPO and DPO, from one proxy.

    bestofn study over-optimisation --recipe over_optimisation --output runs/over-optimisation

A small reward model learns from few and noisy labels; best-of-n of the first policy, PPO against that proxy and DPO on
the same labels are then followed away from the first policy, on the same held-out prompts. The curves of the paper are
fitted, for best-of-n also on small n only, to see whether they would have predicted what happens at the largest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring.plots import save
from training.evaluation import plots
from training.evaluation.measure import sizes_up_to
from training.evaluation.scaling import Curve, Extrapolation, Fit, best_of_n_curve, extrapolate, fit, rl_curve
from training.experiments.studies import measured
from training.experiments.studies.study import Study, StudyConfig
from training.run import snapshots
from training.run.config import ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class OverOptimisationConfig(StudyConfig):
    """`reward`, `ppo`, `dpo`: settings of the trainers, as their recipes have them."""

    reward: Mapping[str, Any] = setting(dict, "settings of the proxy: a RewardModelConfig")
    ppo: Mapping[str, Any] = setting(dict, "settings of PPO; policy_checkpoints sets how many points")
    dpo: Mapping[str, Any] = setting(dict, "settings of DPO, which learns from the same labels as the proxy")
    best_of: int = setting(256, "samples per prompt of the first policy; best-of-n up to this n", minimum=8)
    fit_up_to: int = setting(64, "best-of-n is fitted on n up to this one, and compared with the largest", minimum=4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fit_up_to >= self.best_of:
            raise ConfigError(f"fit_up_to: {self.fit_up_to} must be below best_of, {self.best_of}")


@dataclass(frozen=True)
class OverOptimisation:
    """One curve and one fit for each way of optimising."""

    curves: dict[str, Curve]
    fits: dict[str, Fit]
    extrapolation: Extrapolation
    fitted_up_to: int

    def table(self) -> str:
        """Markdown."""
        blocks = [_rows(name, curve, self.fits[name]) for name, curve in self.curves.items()]
        there = self.extrapolation
        sentence = (
            f"Fitted on n up to {self.fitted_up_to}, best-of-{there.label} was predicted to gain {there.predicted}; "
            f"measured: {there.measured}."
        )
        return "\n\n".join([*blocks, sentence])


def run(config: OverOptimisationConfig, output: Path) -> OverOptimisation:
    """Train, measure, fit; writes README.md and over_optimisation.png into `output`."""
    study = Study(config, output)
    labels = str(study.labels("labels", config.policy, slice(None), seed=config.seed))
    proxy = study.reward("proxy", config.reward, data=labels)
    ppo = study.ppo("ppo", config.ppo, reward_model=str(proxy))
    dpo = study.dpo("dpo", config.dpo, data=labels)
    first = measured.samples(study, "first", config.best_of, proxy)
    sizes = sizes_up_to(config.best_of)
    curves = {"best-of-n": best_of_n_curve(first.proxy, first.gold, sizes)}
    for name, folder in (("PPO", ppo), ("DPO", dpo)):
        points = {
            label: measured.policy(study, f"{name.lower()}-{label}", path, proxy)
            for label, path in snapshots.checkpoints(folder).items()
        }
        start = (first.gold, first.proxy)
        curves[name] = rl_curve(start, {label: (p.kl, p.gold, p.proxy) for label, p in points.items()})
    fits = {name: fit(curve.kind, curve.distance, curve.gold) for name, curve in curves.items()}
    fitted = [index for index, n in enumerate(sizes) if n <= config.fit_up_to]
    extrapolation = extrapolate(curves["best-of-n"], fitted, len(sizes) - 1)
    found = OverOptimisation(curves, fits, extrapolation, config.fit_up_to)
    save(plots.over_optimisation(curves, fits), output / "over_optimisation.png")
    (output / "README.md").write_text(f"# Over-optimisation\n\n{found.table()}\n", encoding="utf-8")
    return found


def _rows(name: str, curve: Curve, fitted: Fit) -> str:
    gold, proxy = curve.gold.mean(axis=0), curve.proxy.mean(axis=0)
    rows = [
        f"| {label} | {kl:.2f} | {g:+.3f} | {p:+.3f} |"
        for label, kl, g, p in zip(curve.labels, curve.kl, gold, proxy, strict=True)
    ]
    form = "d (alpha - beta d)" if fitted.kind == "best_of_n" else "d (alpha - beta log d)"
    return "\n".join(
        [
            f"## {name}",
            "",
            "| point | KL, nats | gold gained | proxy gained |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Gold = {form} with alpha = {fitted.alpha}, beta = {fitted.beta}; highest at d = {fitted.turn:.2f}.",
        ]
    )
