"""What `--slo-p99-ms` does: a smaller N while the server is busy, so that 99 of 100 answers come in time.

Use it where load varies and an answer in time is worth more than the last bit of quality; rewards gain ever less from
the same number of further candidates, so all requests of a busy moment give up the same share of theirs.

Pure: loads and times are arguments. Feed-forward: a line, latency over candidates in flight, is learned from answers
and sets how many candidates fit; requests share them in proportion to what each asked for: those in flight, so that a
burst is felt at the next request, and those that a lasting load brings, by how many arrive in a second, so that N does
not rise again in the lull that its own fall has made. Feedback: where answers still come late, fewer are let in
(additive increase, multiplicative decrease, as TCP does: Chiu and Jain 1989, section 3; one decrease per round trip).
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from service.rerank.request import Ask

# A request of unknown length is in the last bucket, with the longest.
_LENGTHS = (64, 256, 1024, 4096)
AIM = 0.8  # of the target: p99 is held there, so that a stall of the machine is not at once a miss
_MEMORY = 200  # answers
_PRIOR_DEVIATION = 0.25
_MOST_DEVIATION = 2.0  # one answer that took long weighs no more than this
_NORMAL_P99 = 2.326
_ALLOWED = 0.01
_RESTORED_BELOW = 0.005  # between this and _ALLOWED the correction stands still
_CUT = 0.8
_RESTORED_S = 60.0
_LEAST_CORRECTION = 0.1
_RISE_S = 3.0
_ARRIVALS_S = 5.0


@dataclass(frozen=True)
class RequestClass:
    """Requests whose latencies are alike at the same load: there are at most 20 such classes.

    By endpoint and by the most tokens an answer may have, which latency is proportional to. N is not part of it: the
    line knows it, as part of the candidates in flight, and learns from every N at once.
    """

    endpoint: str
    length: int

    @classmethod
    def of(cls, ask: Ask) -> "RequestClass":
        tokens = math.inf if ask.max_tokens is None else ask.max_tokens
        return cls(ask.endpoint, sum(tokens > bound for bound in _LENGTHS))


@dataclass(frozen=True)
class Occupancy:
    """Candidates in flight when a request arrives, without its own."""

    in_flight: int  # all of them
    asked: int  # of requests whose N may be lowered, as many as they asked for
    fixed: int  # of the other requests
    # As many as requests whose N may be lowered have asked for in a second lately, with what this one asks.
    asked_per_s: float = 0.0


@dataclass(frozen=True)
class Latency:
    """Seconds over candidates in flight: a line by least squares, older answers counting exponentially less."""

    answers: int = 0  # learned from
    mean_load: float = 0.0  # the line goes through mean_load, mean_s
    mean_s: float = 0.0
    variance: float = 0.0  # of the load
    covariance: float = 0.0  # of the load with the seconds
    deviation: float = _PRIOR_DEVIATION  # root mean square of what answers took over what the line predicts, minus 1

    def learn(self, load: float, seconds: float) -> "Latency":
        """load: candidates in flight when the request was admitted, its own included, above 0. seconds: above 0."""
        weight = max(1 / (self.answers + 1), 1 / _MEMORY)
        away, late = load - self.mean_load, seconds - self.mean_s
        off = min(abs(seconds / self.expected_s(load) - 1), _MOST_DEVIATION) if self.answers else self.deviation
        return Latency(
            answers=self.answers + 1,
            mean_load=self.mean_load + weight * away,
            mean_s=self.mean_s + weight * late,
            variance=(1 - weight) * (self.variance + weight * away**2),
            covariance=(1 - weight) * (self.covariance + weight * away * late),
            deviation=math.sqrt(self.deviation**2 + (off**2 - self.deviation**2) / (_MEMORY / 4)),
        )

    @property
    def highest_load(self) -> float:
        """Above this hardly a load has been seen: two standard deviations above the mean."""
        return self.mean_load + 2 * math.sqrt(self.variance)

    @property
    def slope_s(self) -> float:
        """Seconds that one more candidate costs. Loads that hardly differ show nothing: then in proportion to load."""
        proportional = self.mean_s / self.mean_load
        doubt = 0.02 * self.mean_load**2
        slope = (self.covariance + doubt * proportional) / (self.variance + doubt)
        return min(max(slope, 0.1 * proportional), 2 * proportional)

    def expected_s(self, load: float) -> float:
        """The line; for loads far below what was seen not less than a tenth of the mean."""
        return max(self.mean_s + self.slope_s * (load - self.mean_load), 0.1 * self.mean_s)

    def load_for(self, p99_s: float) -> float:
        """Candidates in flight at which 99 of 100 answers take no longer; infinite before the first answer."""
        if not self.answers:
            return math.inf
        mean_s = p99_s / (1 + _NORMAL_P99 * self.deviation)
        return max(self.mean_load + (mean_s - self.mean_s) / self.slope_s, 1.0)


@dataclass(frozen=True)
class Correction:
    """The share of the line's candidates that is let in, since the tail is what counts."""

    share: float = 1.0
    # Share of late answers, older ones counting exponentially less; no more than twice what is allowed, so that a bad
    # minute is soon forgotten.
    missed: float = 0.0
    cut_s: float = -math.inf  # monotonic time of the last decrease
    changed_s: float = math.inf  # monotonic time of the last answer

    def learn(self, late: bool, *, admitted_s: float, now_s: float) -> "Correction":
        """A late answer lowers the share, unless it was let in before the last decrease could be felt."""
        missed = min(self.missed + (late - self.missed) / _MEMORY, 2 * _ALLOWED)
        seen = replace(self, missed=missed, changed_s=now_s)
        if late and missed > _ALLOWED and admitted_s >= self.cut_s:
            return replace(seen, share=max(_CUT * self.share, _LEAST_CORRECTION), cut_s=now_s)
        if missed < _RESTORED_BELOW:
            rested_s = max(now_s - self.changed_s, 0.0)
            return replace(seen, share=min(self.share + rested_s / _RESTORED_S, 1.0))
        return seen


@dataclass(frozen=True)
class Knowledge:
    """What the answers to one class of requests have taught."""

    latency: Latency = Latency()
    correction: Correction = Correction()

    def learn(self, load: int, *, admitted_s: float, now_s: float, target_s: float) -> "Knowledge":
        seconds = max(now_s - admitted_s, 1e-6)
        correction = self.correction.learn(seconds > target_s, admitted_s=admitted_s, now_s=now_s)
        return Knowledge(self.latency.learn(max(load, 1), seconds), correction)

    def share(self, asked: int, load: Occupancy, target_s: float) -> float:
        """Of the candidates it asked for, what a request may have now, 0 to 1; falls with every part of the load.

        Shared out so that all fit: `fits / asked`, over the requests in flight and this one, or over those that a
        lasting load keeps in flight, whichever are more. The latter are by Little's law arrivals a second times their
        latency with as many in flight as fit; the line is not asked about loads above those it has seen. Those of a
        calmer moment got more than their share and are still here, so where too many are in flight, newcomers get less.
        """
        fits = self.correction.share * self.latency.load_for(AIM * target_s)
        if math.isinf(fits):
            return 1.0
        lasting = load.asked_per_s * self.latency.expected_s(min(fits, self.latency.highest_load))
        fair = max(fits - load.fixed, 0.0) / max(load.asked + asked, lasting)
        crowded = 2 - load.in_flight / fits
        return min(fair, 1.0) * min(max(crowded, 0.0), 1.0)


@dataclass(frozen=True)
class Recent:
    """The mean of the shares that requests could have had lately, those of 3 s ago counting 1/e.

    A lull of a moment is no reason for a large N, whose candidates would be in the way of those who come next: a share
    falls at once and rises with this mean.
    """

    share: float = 1.0
    at_s: float = -math.inf

    def follow(self, share: float, now_s: float) -> "Recent":
        weight = 1 - math.exp(min(self.at_s - now_s, 0.0) / _RISE_S)
        return Recent(self.share + weight * (share - self.share), now_s)


@dataclass(frozen=True)
class Arrivals:
    """Candidates asked for in a second, older requests counting exponentially less."""

    asked_per_s: float = 0.0
    at_s: float = -math.inf

    def follow(self, asked: int, now_s: float) -> "Arrivals":
        kept = math.exp(min(self.at_s - now_s, 0.0) / _ARRIVALS_S)
        return Arrivals(self.asked_per_s * kept + asked / _ARRIVALS_S, now_s)


def lowered_best_of(ask: Ask, share: float, room: int) -> int:
    """N for each prompt of a request: between what it must return and what it asked for.

    room: candidates that the server still takes; a smaller N is better than a refusal.
    """
    wanted = min(round(share * ask.asked_best_of), room // ask.prompts)
    return min(max(wanted, ask.n), ask.asked_best_of)


def adjustable(ask: Ask) -> bool:
    """Whether N may be lowered: there is something to choose from, and the client does not insist."""
    return ask.asked_best_of > ask.n and ask.fewer_because != "greedy" and not ask.options.fixed_best_of


class SloController:
    """The knowledge of one server, and what its requests in flight asked for.

    Failed, cancelled and refused requests teach nothing: how long they took shows nothing of answers, and that the
    server was full is known from the load.
    """

    def __init__(self, target_s: float) -> None:
        self.target_s = target_s
        self._known: defaultdict[RequestClass, Knowledge] = defaultdict(Knowledge)
        self._recent: defaultdict[RequestClass, Recent] = defaultdict(Recent)
        self._arrivals = Arrivals()
        self.in_flight = 0  # candidates of the requests that are held, whether or not an engine works on them
        self._asked = 0
        self._fixed = 0

    def fit(self, ask: Ask, *, room: int, now_s: float) -> Ask:
        """The request with the N that it gets. room: candidates, before this request is held."""
        if not adjustable(ask):
            return ask
        key = RequestClass.of(ask)
        asked = ask.asked_best_of * ask.prompts
        self._arrivals = self._arrivals.follow(asked, now_s)
        load = Occupancy(self.in_flight, self._asked, self._fixed, self._arrivals.asked_per_s)
        share = self._known[key].share(asked, load, self.target_s)
        self._recent[key] = self._recent[key].follow(share, now_s)
        best_of = lowered_best_of(ask, min(share, self._recent[key].share), room)
        return replace(ask, best_of=best_of, fewer_because="slo" if best_of < ask.asked_best_of else None)

    @contextmanager
    def hold(self, ask: Ask) -> Iterator[None]:
        """Count a request until it has been answered."""
        asked, fixed = (ask.asked_best_of * ask.prompts, 0) if adjustable(ask) else (0, ask.candidates)
        self.in_flight += ask.candidates
        self._asked += asked
        self._fixed += fixed
        try:
            yield
        finally:
            self.in_flight -= ask.candidates
            self._asked -= asked
            self._fixed -= fixed

    def answered(self, ask: Ask, load: int, *, admitted_s: float, now_s: float) -> None:
        """Learn from a complete answer, unless the client's own limit may have ended it.

        load: candidates in flight at its admission, its own included.
        """
        if adjustable(ask) and not ask.options.limited:
            key = RequestClass.of(ask)
            learned = self._known[key].learn(load, admitted_s=admitted_s, now_s=now_s, target_s=self.target_s)
            self._known[key] = learned
