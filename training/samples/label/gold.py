"""Labels of a lab's own labeller, who knows the gold reward and errs as often as `noise` sets."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from training.data.records import Comparison, dense_ranks
from training.labs.lab import Lab
from training.samples.label.labels import ALL_TIED, NOTHING_TO_COMPARE, Labelled, unlabelled


def label(world: Lab, drawn: Sequence[Comparison], *, kind: str, noise: float, seed: int) -> Labelled:
    """What the lab's labeller says of the different answers to each prompt; prompts that teach nothing are left out.

    kind "best": only the best is named (Ziegler et al. 2019), a tie at the top is broken at random. "ranking": all are
    ranked, with ties (Ouyang et al. 2022). "scores": how good the labeller finds each one, as the dimension `score`.
    Raises ValueError for a prompt that is not of this lab.
    """
    generator = random.Random(f"labels-{seed}")
    comparisons: list[Comparison] = []
    left_out: Counter[str] = Counter()
    for sample in map(unlabelled, drawn):
        judged = world.judge(sample.messages, sample.responses, noise=noise, generator=generator)
        if kind == "scores":
            comparisons.append(replace(sample, scores={"score": tuple(judged)}))
        elif len(set(judged)) > 1:
            comparisons.append(replace(sample, ranks=_ranks(judged, kind, generator)))
        else:
            left_out[ALL_TIED if len(judged) > 1 else NOTHING_TO_COMPARE] += 1
    return Labelled(comparisons, left_out)


def _ranks(judged: Sequence[float], kind: str, generator: random.Random) -> tuple[int, ...]:
    if kind == "ranking":
        return dense_ranks([-score for score in judged])
    best = generator.choice([index for index, score in enumerate(judged) if score == max(judged)])
    return tuple(int(index != best) for index in range(len(judged)))
