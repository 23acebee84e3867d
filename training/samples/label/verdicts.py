"""What a judge's replies say: from texts to verdicts, from two verdicts to a pair, from pairs to ranks. Pure.

Every pair is shown in both orders, as a judge may like a place rather than a response (position bias: Lee et al. 2023,
RLAIF, section 2.1). Where the two orders disagree the pair is a tie. A reply that holds no verdict is counted, and its
pair is left out: nothing is put in its place.
"""

import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from training.data.records import Comparison, dense_ranks

Verdict = Literal["A", "B", "tie"]
Pair = tuple[int, int]

_VERDICTS = ("A", "B", "tie")
_FENCE = re.compile(r"^```\w*\s*$", re.MULTILINE)


@dataclass(frozen=True)
class PairVerdicts:
    """Two responses, the verdict where the first of them was shown as A, and the verdict where it was shown as B.

    None is a reply without a verdict.
    """

    pair: Pair
    verdicts: tuple[Verdict | None, Verdict | None]

    @property
    def readable(self) -> bool:
        return None not in self.verdicts

    @property
    def agrees(self) -> bool:
        """Both orders say the same of the two responses."""
        return self.verdicts in {("A", "B"), ("B", "A"), ("tie", "tie")}

    @property
    def better(self) -> int | None:
        """The response that both orders prefer; None for a tie."""
        if self.verdicts == ("A", "B"):
            return self.pair[0]
        return self.pair[1] if self.verdicts == ("B", "A") else None


def parse_verdict(reply: str) -> Verdict | None:
    """The verdict that a reply ends with: `{"better": "A" | "B" | "tie"}`, or the bare word on the last line.

    None where there is no such ending; words before it are free.
    """
    text = _FENCE.sub("", reply).strip()
    last = text.rsplit("\n", 1)[-1].strip()
    if last in _VERDICTS:
        return cast(Verdict, last)
    try:
        better = json.loads(text[text.rindex("{") :])["better"]
    except (ValueError, KeyError):
        return None
    return cast(Verdict, better) if better in _VERDICTS else None


def pairs_to_judge(count: int, limit: int, generator: random.Random) -> list[Pair]:
    """At most `limit` pairs of `count` responses, in random order of the responses; 0: all pairs.

    Neighbours on a circle come first, then those two apart, ...: so few pairs link as many responses as they can, and
    no response is left aside while others meet again.
    """
    order = generator.sample(range(count), count)
    pairs: dict[frozenset[int], Pair] = {}
    for distance in range(1, count // 2 + 1):
        for place in range(count):
            pair = (order[place], order[(place + distance) % count])
            pairs.setdefault(frozenset(pair), pair)
    return list(pairs.values())[: limit or None]


def combine(sample: Comparison, judged: Sequence[PairVerdicts]) -> list[Comparison]:
    """What the verdicts on one record teach; nothing where all that is readable are ties.

    Where every pair was judged: one ranking by Copeland's rule, the share of its comparisons that a response won, a tie
    being half; ties stay ties. Otherwise one record for each pair with a winner, since a ranking would also say
    something of pairs that nobody judged; together these weigh as much as the ranking would.
    """
    readable = [pair for pair in judged if pair.readable]
    if len(readable) == math.comb(len(sample.responses), 2):
        ranks = dense_ranks([-_wins(response, readable) for response in range(len(sample.responses))])
        return [replace(sample, ranks=ranks)] if len(set(ranks)) > 1 else []
    won = [(pair.better, sum(pair.pair) - pair.better) for pair in readable if pair.better is not None]
    return [replace(sample.only(pair), ranks=(0, 1), weight=sample.weight / len(won)) for pair in won]


def _wins(response: int, judged: Sequence[PairVerdicts]) -> float:
    shares = {None: 0.5, response: 1.0}
    return sum(shares.get(pair.better, 0.0) for pair in judged if response in pair.pair)
