"""Quality of one policy at every N, from one pool of candidates that the real server sampled and scored."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.progress import Progress

from measuring.answers import Answer
from measuring.client import connect
from measuring.estimators import Floats, Interval, bootstrap, distinct_n
from measuring.questions import ask
from measuring.server_process import ServerFailed
from reward.bounds import kl_bound_nats
from reward.expected_best import best_of_each
from training.data.records import Comparison, Conversation
from training.evaluation.measure import gold
from training.evaluation.policy import load_policy
from training.experiments.compare.config import CompareConfig
from training.labs import lab
from training.policy.completion_logprobs import completion_logprobs

AT_ONCE = 4


@dataclass(frozen=True)
class QualityRow:
    """One policy at one N: means over prompts with their intervals."""

    policy: str
    best_of: int
    gold: Interval
    proxy: Interval
    kl: Interval  # nats to the reference, with the best-of-n part at its bound log n - (n-1)/n
    tokens: Interval  # of the answer that is returned
    distinct: float  # different pairs of words over all pairs, in one answer to each prompt


@dataclass(frozen=True)
class Pool:
    """Candidates of one policy, all [prompts, N]."""

    policy: str
    texts: list[list[str]]
    proxy: Floats
    gold: Floats
    tokens: Floats
    log_ratio: Floats  # log policy/reference of the whole answer, in nats

    @classmethod
    def of(cls, policy: str, values: Mapping[str, Any]) -> "Pool":
        numbers = (np.array(values[name], float) for name in ("proxy", "gold", "tokens", "log_ratio"))
        return cls(policy, values["texts"], *numbers)

    def best(self, values: Floats, sizes: Sequence[int]) -> Floats:
        """What the best by reward of n has of `values`, for every prompt and n, [prompts, sizes]; without bias."""
        return np.array([best_of_each(p, v, sizes) for p, v in zip(self.proxy, values, strict=True)])

    def rows(self, sizes: Sequence[int]) -> list[QualityRow]:
        """Quality at each N."""
        of = {name: self.best(getattr(self, name), sizes) for name in ("gold", "proxy", "tokens", "log_ratio")}

        def interval(name: str, column: int, offset: float = 0.0) -> Interval:
            return bootstrap(of[name][:, [column]] + offset, lambda rows: float(rows.mean()))

        return [
            QualityRow(
                policy=self.policy,
                best_of=n,
                gold=interval("gold", column),
                proxy=interval("proxy", column),
                kl=interval("log_ratio", column, kl_bound_nats(n)),
                tokens=interval("tokens", column),
                distinct=distinct_n(self._winners(n), 2),
            )
            for column, n in enumerate(sizes)
        ]

    def _winners(self, n: int) -> list[str]:
        """The best of the first n candidates to each prompt."""
        return [texts[int(np.argmax(proxy[:n]))] for texts, proxy in zip(self.texts, self.proxy, strict=True)]


def sample(config: CompareConfig, policy: str, url: str) -> dict[str, Any]:
    """Ask every held-out prompt once with the largest N, and keep all candidates: texts, proxy, tokens [prompts, N].

    Raises ServerFailed when a request fails, or a candidate could not be scored.
    """
    world = lab(config.lab, config.lab_options)
    prompts = world.prompts(config.prompts, "held_out", seed=config.seed)
    fields = {
        "temperature": 1.0,
        "max_tokens": world.answer_tokens,
        "best_of": config.sizes[-1],
        "rerank": {"return_candidates": True},
    }

    async def ask_all() -> tuple[Answer, ...]:
        with Progress() as progress:
            task = progress.add_task(f"{policy}: {config.sizes[-1]} answers to each prompt", total=len(prompts))
            async with connect(url, clients=AT_ONCE) as client:
                load = await ask(
                    client, prompts, fields, AT_ONCE, seed=config.seed, answered=lambda _: progress.advance(task)
                )
        return load.whole(policy).answers

    answers = asyncio.run(ask_all())
    candidates = [answer.rerank["candidates"] for answer in answers]
    unscored = sum(candidate["reward"] is None for of_prompt in candidates for candidate in of_prompt)
    if unscored:
        raise ServerFailed(
            f"{unscored} candidates of {policy} have no reward; were they too long for the reward model?"
        )
    texts = [[candidate["text"] for candidate in of_prompt] for of_prompt in candidates]
    return {
        "texts": texts,
        "proxy": [[candidate["reward"] for candidate in of_prompt] for of_prompt in candidates],
        "tokens": [[candidate["completion_tokens"] for candidate in of_prompt] for of_prompt in candidates],
        "gold": gold(world, _samples(prompts, texts)).tolist(),
    }


def log_ratio(config: CompareConfig, model: str, sampled: Mapping[str, Any]) -> dict[str, Any]:
    """log policy/reference of every candidate, by plain transformers, [prompts, N]."""
    world = lab(config.lab, config.lab_options)
    samples = _samples(world.prompts(config.prompts, "held_out", seed=config.seed), sampled["texts"])
    reference = config.served[0].model
    if model == reference:
        return {"log_ratio": np.zeros_like(sampled["proxy"]).tolist()}
    ours, theirs = (_logprobs(name, samples, world.answer_tokens) for name in (model, reference))
    return {"log_ratio": (ours - theirs).tolist()}


def _logprobs(model: str, samples: Sequence[Comparison], max_tokens: int) -> Floats:
    """log-probability of every whole answer, [prompts, N]."""
    policy, template = load_policy(model)
    found = completion_logprobs(policy, template, samples, max_tokens=max_tokens)
    return np.array([[float(answer.sum()) for answer in answers] for answers in found])


def _samples(prompts: Sequence[Conversation], texts: Sequence[Sequence[str]]) -> list[Comparison]:
    return [Comparison(messages, tuple(answers)) for messages, answers in zip(prompts, texts, strict=True)]
