"""What strategies cost and keep, from the answers that a load test collected, with paired intervals. Pure.

Every arm answers the same prompts, so that a prompt's difficulty cancels where two arms are compared: intervals are
over prompts, each drawn with what all arms made of it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import numpy as np

from measuring.answers import Answer
from measuring.estimators import Floats, Interval, bootstrap, quantile
from service.rerank.selection import Selection, select
from service.rerank.strategies import Candidate
from training.data.records import Conversation
from training.labs.lab import Lab

_CALIBRATED = Selection(length_calibrated=True)

FULL, OPEN = "best of 32", "best of 16"  # what others are compared with
TOO_LATE = "too late"


@dataclass(frozen=True)
class Shot:
    """One request."""

    latency_s: float
    gold: float  # of its answer; 0 where the deadline passed before there was one, of which no more is known
    single: float = math.nan  # the mean gold of all finished candidates, what one sample is expected to have
    tokens: int = 0  # generated
    sampled: int = 0  # candidates
    length: float = math.nan  # tokens of the answer
    stop_reason: str = TOO_LATE

    # Had the same candidates been chosen among with `length_calibrated`.
    calibrated_gold: float = 0.0
    calibrated_length: float = math.nan


@dataclass(frozen=True)
class Arm:
    """One way to answer."""

    name: str
    shots: tuple[Shot, ...] = ()  # of the prompts in order
    counted_tokens: int = 0  # by which our counter of generated tokens grew meanwhile
    engine_tokens: int = 0  # by which vLLM's did

    @property
    def tokens(self) -> int:
        """By the answers' `usage`."""
        return sum(shot.tokens for shot in self.shots)

    @property
    def exact(self) -> bool:
        """The counters are what was billed, to the token; a request without an answer has no bill."""
        billed = self.tokens == self.counted_tokens or any(shot.stop_reason == TOO_LATE for shot in self.shots)
        return billed and self.counted_tokens == self.engine_tokens

    def column(self, field: str) -> Floats:
        """A field of all shots, [prompts]."""
        return np.array([getattr(shot, field) for shot in self.shots], float)

    def grown(self, shots: Sequence[Shot], counted_tokens: int, engine_tokens: int) -> "Arm":
        """With what another round brought."""
        return replace(
            self,
            shots=(*self.shots, *shots),
            counted_tokens=self.counted_tokens + counted_tokens,
            engine_tokens=self.engine_tokens + engine_tokens,
        )


@dataclass(frozen=True)
class LoadCalibration:
    """What best-of-16 does under the load that is offered."""

    full_rate: float  # requests a second of a full server
    rate: float  # requests a second that are offered
    p50_s: float
    p99_s: float


@dataclass(frozen=True)
class Afterwards:
    """What still ran when an arm had its last answer, and how long until nothing did."""

    in_flight: int
    running: int
    idle_after_s: float


@dataclass(frozen=True)
class MeasuredStrategies:
    """Everything that was measured."""

    cut: Mapping[str, Arm]  # prune and what it is compared with, `FULL` among them
    waves: Mapping[str, Arm]  # adaptive
    fixed: Mapping[int, Arm]  # by N, rising
    loaded: Mapping[str, Arm]  # in the open loop, `OPEN` first
    calibration: LoadCalibration  # of that loop
    left: Mapping[str, Afterwards]  # of each of `loaded`, the worst of its rounds

    @property
    def arms(self) -> list[Arm]:
        return [arm for group in (self.cut, self.waves, self.fixed, self.loaded) for arm in group.values()]


def read_shot(answer: Answer, prompt: Conversation, lab: Lab) -> Shot:
    """answer: to a request with `rerank.return_candidates`. Raises RuntimeError where one failed that was in time."""
    if answer.status == 504:
        return Shot(answer.latency_s, gold=0.0)
    if not answer.ok:
        raise RuntimeError(f"a request failed: {answer.error}")
    candidates = answer.rerank["candidates"]
    gold = [lab.gold(prompt, candidate["text"]) for candidate in candidates]
    chosen = answer.rerank["selected"][0]
    calibrated = chosen if answer.rerank["reward"] is None else recalibrated(candidates)
    return Shot(
        latency_s=answer.latency_s,
        gold=lab.gold(prompt, answer.text),
        single=mean(value for value, one in zip(gold, candidates, strict=True) if _finished(one)),
        tokens=answer.generated_tokens,
        sampled=answer.rerank["sampled"],
        length=candidates[chosen]["completion_tokens"],
        stop_reason=answer.rerank["stop_reason"],
        calibrated_gold=gold[calibrated],
        calibrated_length=candidates[calibrated]["completion_tokens"],
    )


def recalibrated(candidates: Sequence[Mapping[str, Any]]) -> int:
    """The index that the server would select with `length_calibrated` among candidates of which one was scored."""
    views = [
        Candidate(
            index=index,
            state="finished" if _finished(one) else "aborted",
            tokens=one["completion_tokens"],
            reward=one["reward"],
            text=one["text"],
            cut_off=one["finish_reason"] == "length",
        )
        for index, one in enumerate(candidates)
    ]
    return select(views, 1, _CALIBRATED).selected[0]


def _finished(candidate: Mapping[str, Any]) -> bool:
    """It ended by itself, whether there was time to score it or not."""
    return candidate["finish_reason"] in ("stop", "length")


def gain_kept(arm: Arm, full: Arm, field: str = "gold") -> Interval:
    """The share of the gold that `full` gains over one sample; `single` of `full` is what one sample has."""
    rows = np.stack([arm.column(field), full.column("gold"), full.column("single")], axis=1)

    def share(sample: Floats) -> float:
        ours, best, single = sample.mean(axis=0)
        return float((ours - single) / (best - single)) if best > single else math.nan

    return bootstrap(rows, share)


def tokens_share(arm: Arm, full: Arm) -> Interval:
    """Tokens over those of `full`."""
    return over(arm, full, "tokens", lambda values: float(values.mean()))


def latency_ratio(arm: Arm, full: Arm, share: float) -> Interval:
    """A quantile of the latency over that of `full`."""
    return over(arm, full, "latency_s", lambda values: quantile(values.tolist(), share))


def over(arm: Arm, full: Arm, field: str, statistic: Callable[[Floats], float]) -> Interval:
    """A statistic of one field, over the same of `full`."""
    rows = np.stack([arm.column(field), full.column(field)], axis=1)

    def ratio(sample: Floats) -> float:
        return statistic(sample[:, 0]) / statistic(sample[:, 1])

    return bootstrap(rows, ratio)


def mean_of(arm: Arm, field: str) -> Interval:
    """The mean over the prompts that were answered."""

    def average(sample: Floats) -> float:
        known = sample[~np.isnan(sample)]
        return float(known.mean()) if len(known) else math.nan

    return bootstrap(arm.column(field)[:, None], average)


def latency_s(arm: Arm, share: float) -> Interval:
    """A quantile of the latency."""
    return bootstrap(arm.column("latency_s")[:, None], lambda sample: quantile(sample[:, 0].tolist(), share))


def samples_saved(arm: Arm, fixed: Mapping[int, Arm]) -> Interval:
    """The share of candidates that `arm` saves beside the fixed N that has as much gold. fixed: by N, rising."""
    sizes = list(fixed)
    rows = np.stack([arm.column("sampled"), arm.column("gold"), *(f.column("gold") for f in fixed.values())], axis=1)

    def saved(sample: Floats) -> float:
        sampled, gold, *curve = sample.mean(axis=0).tolist()
        return 1 - float(sampled) / size_for(gold, sizes, curve)

    return bootstrap(rows, saved)


def size_for(gold: float, sizes: Sequence[int], curve: Sequence[float]) -> float:
    """The least N that has this gold, between measured ones on a line over log N; beyond the best, the best's N.

    curve: gold at each of `sizes`. Where more candidates had less gold, the lesser N with more stands.
    """
    for place, (size, there) in enumerate(zip(sizes, curve, strict=True)):
        if there < gold:
            continue
        if not place:
            return size
        best = max(curve[:place])
        part = (gold - best) / (there - best)
        return float(2 ** (math.log2(sizes[place - 1]) + part * math.log2(size / sizes[place - 1])))
    return sizes[max(range(len(sizes)), key=lambda place: curve[place])]
