"""What a way to read the heads of a reward model is: from the rewards of each head to what a candidate is worth."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from service.rerank.strategies import Candidate
from service.rerank.variants import Variant

Floats = NDArray[np.float64]


class Heads(Variant, ABC):
    """How several heads become one number, on the scale of `reward`, so that it can be read beside it."""

    compares: ClassVar[bool] = True  # needs several heads; what does not is the reward itself

    @abstractmethod
    def worth(self, scored: Sequence[Candidate], reward_std: float) -> dict[int, float]:
        """Of every one of `scored`, by index. reward_std: by which the checkpoint divides the mean of its heads.

        Raises ValueError where a candidate lacks the rewards of several heads that are to be compared.
        """


def of_ensemble(
    heads: Heads, scored: Sequence[Candidate], reward_std: float, combine: Callable[[Floats], Floats]
) -> dict[int, float]:
    """An ensemble's caution: where its members disagree, an answer is worth less (Coste et al. 2024, section 3).

    Bradley-Terry leaves each head's reward undetermined up to a function of the prompt. So each head is first centred
    on the request's own candidates; the mean reward comes back as an offset, so that the mean over heads is `reward`.

    combine: from centred heads, [candidates, heads] in units of the normalised reward, to [candidates].
    """
    if not scored:
        return {}
    names = list(scored[0].rewards)
    if len(names) < 2 or any(set(one.rewards) != set(names) for one in scored):
        raise ValueError(f"selection.heads: {heads.name} compares the heads of a reward model; there are no several")
    raw = np.array([[one.rewards[name] for name in names] for one in scored])
    cautious = combine((raw - raw.mean(axis=0)) / reward_std)
    offset = sum(one.reward or 0.0 for one in scored) / len(scored)
    return {one.index: float(value) + offset for one, value in zip(scored, cautious, strict=True)}
