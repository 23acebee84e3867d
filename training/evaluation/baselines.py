"""What a reward model is worth beside what is free: a pool of samples chosen from in every way. Pure numpy.

Everything is an expectation over the subsets of n of the samples that are there, exact and so without bias, and every
interval is over the same prompts: differences are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from measuring.estimators import Floats, Interval, bootstrap_draws, percentiles
from measuring.expected_vote import expected_vote
from reward.expected_best import best_of_each

REWARD_MODEL, RANDOM, ORACLE, GREEDY = "reward model", "random", "oracle", "greedy"
ONE_ANSWER = {GREEDY: "one greedy answer"}
_SHOWN_N = 8
_DIGITS, _NOISE = 9, 1e-9  # what differs by less is the rounding of sums


@dataclass(frozen=True)
class Single:
    """Ways to give one answer: `answers` to each prompt, of which one would be given, all [prompts, answers]."""

    gold: Floats
    tokens: Floats


@dataclass(frozen=True)
class Pool:
    """N samples at temperature 1 of each prompt, all [prompts, N]; what is not known is None."""

    gold: Floats
    tokens: Floats  # its end included
    reward: Floats | None = None
    logprob: Floats | None = None  # of the whole answer, nats
    self_certainty: Floats | None = None
    answers: Sequence[Sequence[str | None]] | None = None  # what a vote compares; None within: states no answer
    singles: Mapping[str, Single] = field(default_factory=dict)  # by name; greedy, other temperatures


@dataclass(frozen=True)
class Baselines:
    """Mean gold of each way to choose among n samples, and what the reward model adds to those that need none.

    Without rewards all that is about the reward model is empty.
    """

    prompts: int
    gold: dict[str, dict[int, Interval]]  # by way and n
    single: dict[str, Interval]  # of one answer, by way
    tokens: dict[str, float]  # generated for one answer of each way; of one sample in the pool for `random`
    best_free: dict[int, str]  # the free way with the most gold at n
    best_free_gold: dict[int, Interval]  # chosen anew in each draw of prompts
    worth: dict[str, dict[int, Interval]]  # gold by the reward model less that of each free way, at equal n
    worth_over_best: dict[int, Interval]  # less that of the best free one, chosen anew in each draw of prompts
    # The same where a token that the reward model reads counts as one generated: n against 2 n for the free ways.
    worth_at_equal_tokens: dict[int, Interval]

    @property
    def sizes(self) -> list[int]:
        """The values of n."""
        return list(self.best_free)

    @property
    def sentence(self) -> str:
        """For people: what the reward model is worth at n = 8, or at the largest n below."""
        n = max(n for n in self.sizes if n <= _SHOWN_N)
        best = ONE_ANSWER.get(self.best_free[n], self.best_free[n])
        if not self.worth_over_best:
            return f"At N = {n} the best baseline that is free has {self.best_free_gold[n]} gold ({best})."
        worth = self.worth_over_best[n]
        over = f"the best free baseline ({best})"
        if worth.low > _NOISE:
            return f"At N = {n} the reward model is worth {worth} gold over {over}."
        if worth.high < -_NOISE:
            loss = Interval(-worth.value, -worth.high, -worth.low)
            return f"At N = {n} the reward model is worse than {over}, by {loss} gold: do without it."
        return f"At N = {n} the reward model is not shown to be worth anything over {over}: {worth} gold."

    def markdown(self) -> list[str]:
        """The sentence, the tables and how to read them."""
        sizes = self.sizes
        rows = [[name, *(of[n] for n in sizes)] for name, of in self.gold.items()]
        rows += [[ONE_ANSWER.get(name, f"one answer, {name}"), value] for name, value in self.single.items()]
        parts = [self.sentence, markdown_table(["gold, choosing by", *(f"n = {n}" for n in sizes)], rows)]
        if self.worth:
            differences = [[name, *(of[n] for n in sizes)] for name, of in self.worth.items()]
            differences.append(["**best free**", *(self.worth_over_best[n] for n in sizes)])
            equal = [self.worth_at_equal_tokens.get(n, "") for n in sizes]
            differences.append(["best free with 2 n: as many tokens", *equal])
            parts.append(markdown_table(["reward model minus", *(f"n = {n}" for n in sizes)], differences))
        best = ", ".join(f"{self.best_free[n]} at {n}" for n in sizes)
        tokens = ", ".join(f"{value:.1f} {name}" for name, value in self.tokens.items())
        about = (
            f"Means over {self.prompts} prompts with 95 % intervals over them, differences paired. Best free: {best}; "
            "chosen on these prompts, and in each resample anew, so that the interval pays for the choice. All ways "
            f"but one answer generate n times the tokens of a sample; tokens of one answer: {tokens}."
        )
        if self.worth:
            about += " As many tokens: where the reward model's reading of a token counts as much as generating it."
        return [*parts, about]


def baselines(pool: Pool, sizes: Sequence[int]) -> Baselines:
    """Everything at each n of `sizes`, which must not exceed N."""
    ways = chosen(pool, sizes)
    names = list(ways)
    free = [index for index, name in enumerate(names) if name not in (REWARD_MODEL, ORACLE)]
    stacked = np.stack(list(ways.values()), axis=1)  # [prompts, ways, sizes]
    flat = stacked.reshape(len(stacked), -1)
    means = stacked.mean(axis=0)
    draws = bootstrap_draws(flat, lambda rows: rows.mean(axis=0)).reshape(-1, *means.shape)

    def over_sizes(of: Callable[[Floats], Floats]) -> dict[int, Interval]:
        """of: from means [..., ways, sizes] to [..., sizes]."""
        values, drawn = of(means), of(draws)
        return {n: Interval(float(values[at]), *percentiles(drawn[:, at])) for at, n in enumerate(sizes)}

    def best(of: Floats) -> Floats:
        most: Floats = of[..., free, :].max(axis=-2)
        return most

    def of_way(at: int) -> dict[int, Interval]:
        return over_sizes(lambda of: of[..., at, :])

    def less(judged: int, at: int) -> dict[int, Interval]:
        return over_sizes(lambda of: of[..., judged, :] - of[..., at, :])

    gold = {name: of_way(at) for at, name in enumerate(names)}
    judged = names.index(REWARD_MODEL) if REWARD_MODEL in ways else None
    winners = means[free].round(_DIGITS).argmax(axis=0)
    return Baselines(
        prompts=len(stacked),
        gold={name: of for name, of in gold.items() if name not in pool.singles},
        single={name: gold[name][sizes[0]] for name in pool.singles},
        tokens={RANDOM: float(pool.tokens.mean())} | {n: float(one.tokens.mean()) for n, one in pool.singles.items()},
        best_free={n: names[free[winner]] for n, winner in zip(sizes, winners, strict=True)},
        best_free_gold=over_sizes(best),
        worth={} if judged is None else {names[at]: less(judged, at) for at in free},
        worth_over_best={} if judged is None else over_sizes(lambda of: of[..., judged, :] - best(of)),
        worth_at_equal_tokens={} if judged is None else _at_twice(sizes, means, draws, judged, best),
    )


def chosen(pool: Pool, sizes: Sequence[int]) -> dict[str, Floats]:
    """The expected gold of each way to choose among n samples, [prompts, sizes]; of one answer the same at each n."""

    def by(scores: Floats) -> Floats:
        return np.array([best_of_each(s, g, sizes) for s, g in zip(scores, pool.gold, strict=True)])

    ways = {REWARD_MODEL: by(pool.reward)} if pool.reward is not None else {}
    ways |= {RANDOM: np.repeat(pool.gold.mean(axis=1, keepdims=True), len(sizes), axis=1)}
    if pool.logprob is not None:
        ways["likelihood, sum"] = by(pool.logprob)
        ways["likelihood, mean"] = by(pool.logprob / np.maximum(pool.tokens, 1))
    if pool.self_certainty is not None:
        ways["self-certainty"] = by(pool.self_certainty)
    ways["shortest"] = by(-pool.tokens)
    if pool.answers is not None:
        votes = [expected_vote(a, g, sizes) for a, g in zip(pool.answers, pool.gold, strict=True)]
        ways["majority vote"] = np.array(votes)
    ways[ORACLE] = by(pool.gold)
    for name, one in pool.singles.items():
        ways[name] = np.repeat(one.gold.mean(axis=1, keepdims=True), len(sizes), axis=1)
    return ways


def _at_twice(
    sizes: Sequence[int], means: Floats, draws: Floats, judged: int, best: Callable[[Floats], Floats]
) -> dict[int, Interval]:
    """By the reward model at n less the best free way at 2 n, for the n whose double is there as well."""
    pairs = {n: (at, list(sizes).index(2 * n)) for at, n in enumerate(sizes) if 2 * n in sizes}
    return {
        n: Interval(
            float(means[judged, at] - best(means)[twice]),
            *percentiles(draws[:, judged, at] - best(draws)[:, twice]),
        )
        for n, (at, twice) in pairs.items()
    }


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown; a row that is too short goes on empty."""
    lines = [head, ["---"] * len(head), *([*row, *[""] * (len(head) - len(row))] for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
