"""Which way of selecting is hard to fool? Gold reward against N for each, from one noisy ensemble.

Over-optimisation as Gao et al. 2022 measure it, with label noise and the remedies of Coste et al. 2024, and the others
of `service.rerank.selection`.

    bestofn study selection --recipe selection --output runs/selection

A small ensemble learns from few labels, a quarter of them wrong. One pool of samples of the policy to held-out prompts
is scored by every head; each method then selects among random subsets of N, with the code that serves requests. Where
a method draws its answer, the expectation over the draw is taken. All of it once for each seed of labels and weights.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from measuring.estimators import Floats, Interval, bootstrap
from measuring.plots import save
from service.rerank.selection import Selection, select
from service.rerank.selection.answers import Answer
from service.rerank.selection.heads import Variance, Worst
from service.rerank.selection.picks import Majority, Pessimistic, Soft, WeightedVote
from service.rerank.strategies import Candidate
from training.data.records import Comparison
from training.evaluation import plots
from training.evaluation.measure import SEED, column_mean, gold, held_out_samples, sizes_up_to
from training.evaluation.scoring import score
from training.experiments.studies.study import Study, StudyConfig
from training.labs import lab, model_path
from training.run.config import ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class SelectionConfig(StudyConfig):
    """`reward`: settings of the ensemble. The knobs are those of `rerank.selection`."""

    reward: Mapping[str, Any] = setting(dict, "settings of the ensemble: a RewardModelConfig with `ensemble`")
    seeds: int = setting(3, "how often, each time with other labels, weights and order", minimum=1)
    best_of: int = setting(256, "samples per prompt; selection up to this N", minimum=2)
    draws: int = setting(16, "random subsets of each prompt's samples for each N", minimum=1)
    variance_weight: float = setting(Variance().variance_weight, "of `variance`", minimum=1e-9)
    temperature: float = setting(Soft().temperature, "of `soft` and `weighted_vote`", minimum=1e-9)
    beta: float = setting(Pessimistic().beta, "of `pessimistic`", minimum=1e-9)
    answer: str = setting(Majority().answer, "what a vote compares", choices=get_args(Answer))

    def __post_init__(self) -> None:
        super().__post_init__()
        if int(self.reward.get("ensemble", 0)) < 2:
            raise ConfigError("reward.ensemble: takes two members or more, whose disagreement is used")
        if "seed" in self.reward:
            raise ConfigError("reward.seed: the study itself sets it")

    @property
    def methods(self) -> dict[str, Selection]:
        """Every method that is compared, by name."""
        answer: Any = self.answer
        return {
            "argmax": Selection(),
            "worst": Selection(heads=Worst()),
            "variance": Selection(heads=Variance(variance_weight=self.variance_weight)),
            "length_calibrated": Selection(length_calibrated=True),
            "soft": Selection(pick=Soft(temperature=self.temperature)),
            "pessimistic": Selection(pick=Pessimistic(beta=self.beta)),
            "weighted_vote": Selection(pick=WeightedVote(temperature=self.temperature, answer=answer)),
            "majority": Selection(pick=Majority(answer=answer)),
        }


@dataclass(frozen=True)
class SelectionPool:
    """Answers to one prompt as the server would see them, each finished, with the gold reward of each, [answers]."""

    candidates: tuple[Candidate, ...]
    gold: Floats


@dataclass(frozen=True)
class SelectionCurve:
    """Of one method and seed: gold and proxy (the mean reward) of what it selects, [prompts, sizes]."""

    gold: Floats
    proxy: Floats

    @cached_property
    def means(self) -> list[Interval]:
        """Mean gold at each size, with its interval over prompts."""
        return [column_mean(self.gold, index) for index in range(self.gold.shape[1])]

    @property
    def peak(self) -> int:
        """Index of the size with the highest mean gold."""
        return int(self.gold.mean(axis=0).argmax())

    @property
    def kept(self) -> float:
        """The gain at the largest size as a share of that at the peak; nan where nothing was gained."""
        return share_kept(self.gold)


def share_kept(gold: Floats) -> float:
    """From gold [prompts, sizes]: see `Curve.kept`."""
    means = gold.mean(axis=0)
    gain = means.max() - means[0]
    return float((means[-1] - means[0]) / gain) if gain > 0 else float("nan")


@dataclass(frozen=True)
class SelectionStudy:
    """What was found."""

    sizes: tuple[int, ...]
    curves: tuple[dict[str, SelectionCurve], ...]  # of each seed, by method
    draws: int
    prompts: int

    def table(self) -> str:
        """Markdown: what each method keeps, then every point of every seed."""
        largest = self.sizes[-1]
        head = [
            f"| method | peak N per seed | gold at its peak | gold at {largest} | of the peak's gain kept | per seed |",
            "|---|---|---|---|---|---|",
        ]
        rows = [self._row(name) for name in self.curves[0]]
        note = (
            f"Means over {len(self.curves)} seeds of labels and weights; brackets: 95 % interval over {self.prompts} "
            f"prompts. For each N below {largest}: {self.draws} random subsets of each prompt's samples. A peak is the "
            "best of noisy means, so what is kept comes out a little too low."
        )
        blocks = [self._points(seed, curves) for seed, curves in enumerate(self.curves)]
        return "\n\n".join(["\n".join([*head, *rows]), note, *blocks])

    def _row(self, name: str) -> str:
        curves = [by_name[name] for by_name in self.curves]
        peaks = ", ".join(str(self.sizes[curve.peak]) for curve in curves)
        each = ", ".join(f"{curve.kept:.2f}" for curve in curves)
        pooled = np.mean([curve.gold for curve in curves], axis=0)  # [prompts, sizes]
        best, last = (column_mean(pooled, at) for at in (int(pooled.mean(axis=0).argmax()), -1))
        return f"| {name} | {peaks} | {best} | {last} | {bootstrap(pooled, share_kept).text(2)} | {each} |"

    def _points(self, seed: int, curves: Mapping[str, SelectionCurve]) -> str:
        head = [
            f"### Seed {seed}: gold (and proxy)",
            "",
            f"| N | {' | '.join(curves)} |",
            "|---" * (len(curves) + 1) + "|",
        ]
        rows = [
            f"| {n} | "
            + " | ".join(f"{c.means[at].text(2)} ({c.proxy[:, at].mean():+.2f})" for c in curves.values())
            + " |"
            for at, n in enumerate(self.sizes)
        ]
        return "\n".join([*head, *rows])


def run(config: SelectionConfig, output: Path) -> SelectionStudy:
    """Train, sample, score and select; writes README.md and selection.png into `output`."""
    study = Study(config, output)
    drawn = _samples(study, config)
    true = gold(lab(config.lab, config.lab_options), drawn)
    sizes = sizes_up_to(config.best_of)
    curves = []
    for seed in range(config.seed, config.seed + config.seeds):
        labels = str(study.labels(f"seed-{seed}/labels", config.policy, slice(None), seed=seed))
        proxy = study.reward(f"seed-{seed}/proxy", config.reward, data=labels, seed=seed)
        scored = study.result(f"seed-{seed}/scores", partial(_scores, drawn, proxy))
        selected = study.result(
            f"seed-{seed}/selected", partial(_selected, config, _pools(drawn, true, scored), scored["std"])
        )
        curves.append(
            {name: SelectionCurve(np.array(of["gold"]), np.array(of["proxy"])) for name, of in selected.items()}
        )
    found = SelectionStudy(tuple(sizes), tuple(curves), config.draws, config.prompts)
    shown = [{name: curve.means for name, curve in by_name.items()} for by_name in curves]
    save(plots.selection(sizes, shown), output / "selection.png")
    (output / "README.md").write_text(f"# Selection that is hard to fool\n\n{found.table()}\n", encoding="utf-8")
    return found


def curve_of(
    pool: SelectionPool, method: Selection, sizes: Sequence[int], draws: int, std: float, seed: int
) -> tuple[Floats, Floats]:
    """Mean (gold, proxy) of what `method` selects among random subsets of each size, [sizes]; the whole pool once.

    The subsets depend on the seed and the size only, so that all methods see the same.
    """
    proxy = np.array([one.reward for one in pool.candidates], float)
    points = []
    for size in sizes:
        source = random.Random(f"{seed}-{size}")
        whole = size == len(pool.candidates)
        subsets = [pool.candidates] if whole else [source.sample(pool.candidates, size) for _ in range(draws)]
        values = [_value(subset, method, std, (pool.gold, proxy)) for subset in subsets]
        points.append(np.mean(values, axis=0))
    gold_points, proxy_points = np.array(points).T
    return gold_points, proxy_points


def _value(subset: Sequence[Candidate], method: Selection, std: float, values: tuple[Floats, Floats]) -> list[float]:
    choice = select(subset, 1, method, reward_std=std)
    if not method.draws:
        return [float(of[choice.selected[0]]) for of in values]
    return [float(sum(weight * of[index] for index, weight in choice.weights.items())) for of in values]


def _samples(study: Study, config: SelectionConfig) -> list[Comparison]:
    """`best_of` answers to every held-out prompt, sampled once for all seeds."""
    world = lab(config.lab, config.lab_options)

    def sample() -> dict[str, Any]:
        policy = model_path(config.policy)
        found = held_out_samples(
            world, policy, kind=config.sampler, prompts=config.prompts, count=config.best_of, seed=SEED
        )
        return {"responses": [list(one.responses) for one in found]}

    texts = study.result("samples", sample)["responses"]
    asked = world.prompts(config.prompts, "held_out", seed=SEED)
    return [Comparison(prompt, tuple(responses)) for prompt, responses in zip(asked, texts, strict=True)]


def _scores(drawn: Sequence[Comparison], reward_model: Path) -> dict[str, Any]:
    """Every head's raw reward of every answer [prompts, answers, heads], its tokens, and the normalisation."""
    scored = score(drawn, reward_model)
    return {
        "heads": [rows.tolist() for rows in scored.heads],
        "tokens": [rows.tolist() for rows in scored.tokens],
        "rewards": [rows.tolist() for rows in scored.normalised()],
        "std": scored.std,
    }


def _pools(drawn: Sequence[Comparison], true: Floats, scored: Mapping[str, Any]) -> list[SelectionPool]:
    return [
        SelectionPool(
            tuple(
                Candidate(
                    index,
                    "finished",
                    tokens=int(tokens),
                    finish_rank=index,
                    reward=reward,
                    rewards={f"member-{member}": value for member, value in enumerate(heads)},
                    text=text,
                )
                for index, (text, tokens, reward, heads) in enumerate(zip(one.responses, *columns, strict=True))
            ),
            gold_of,
        )
        for one, gold_of, *columns in zip(
            drawn, true, scored["tokens"], scored["rewards"], scored["heads"], strict=True
        )
    ]


def _selected(config: SelectionConfig, pools: Sequence[SelectionPool], std: float) -> dict[str, Any]:
    """Of each method: gold and proxy [prompts, sizes] of what it selects."""
    sizes = sizes_up_to(config.best_of)
    found: dict[str, Any] = {}
    for name, method in config.methods.items():
        rows = [curve_of(pool, method, sizes, config.draws, std, seed) for seed, pool in enumerate(pools)]
        found[name] = {"gold": [row.tolist() for row, _ in rows], "proxy": [row.tolist() for _, row in rows]}
    return found
