"""Measures a reward model: on labelled comparisons, on published benchmarks, and as the judge of best-of-n in a lab."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from measuring.estimators import Floats
from training.data.records import Comparison, dense_ranks
from training.evaluation.baselines import Baselines
from training.evaluation.benchmarks import BenchmarkScore, score_benchmark
from training.evaluation.measure import BestOfNCurve, best_of_n_curve, gold
from training.evaluation.pairwise import Pairwise
from training.evaluation.pairwise import measure as measure_pairs
from training.evaluation.scoring import ScoredComparisons, score
from training.labs.lab import Lab


@dataclass(frozen=True)
class RewardReport:
    """What was asked of which reward model; a benchmark or best-of-n where the data is one or the lab allows it."""

    reward_model: str
    data: str
    pairwise: Pairwise
    benchmark: BenchmarkScore | None = None
    best_of_n: BestOfNCurve | None = None
    baselines: Baselines | None = None


def on_comparisons(reward_model: str, comparisons: Sequence[Comparison], data_format: str, data: str) -> RewardReport:
    """From labelled comparisons; `data_format` is `training.data.read`'s name for them, `data` is for people.

    Raises ValueError where nothing is ranked.
    """
    scored = score(comparisons, reward_model)
    return RewardReport(
        reward_model,
        data,
        measure_pairs(comparisons, scored.raw, scored.tokens),
        benchmark=score_benchmark(data_format, comparisons, scored.raw),
    )


def in_lab(
    reward_model: str,
    world: Lab,
    samples: Sequence[Comparison],
    scored: ScoredComparisons,
    data: str,
    found: Baselines,
) -> RewardReport:
    """From equally many answers of a policy to each held-out prompt, their rewards, and what is free beside them.

    The pairs are of each prompt's different answers, ranked by gold. Raises ValueError where gold finds no difference.
    """
    true = gold(world, samples)
    kept = [_first_of_each(sample.responses) for sample in samples]
    ranked = [_ranked(sample, row).only(first) for sample, row, first in zip(samples, true, kept, strict=True)]
    rewards, tokens = (
        [row[first] for row, first in zip(rows, kept, strict=True)] for rows in (scored.raw, scored.tokens)
    )
    return RewardReport(
        reward_model,
        data,
        measure_pairs(ranked, rewards, tokens),
        best_of_n=best_of_n_curve(np.array(scored.normalised()), true),
        baselines=found,
    )


def _ranked(sample: Comparison, true: Floats) -> Comparison:
    return Comparison(
        sample.messages, sample.responses, ranks=dense_ranks((-true).tolist()), scores={"score": tuple(true.tolist())}
    )


def _first_of_each(texts: Sequence[str]) -> list[int]:
    """The index of the first of each different text."""
    return sorted({text: index for index, text in reversed(list(enumerate(texts)))}.values())
