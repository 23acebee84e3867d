"""Traces to replay, made up."""

import random

from training.samples.trace import Traced, TracedPrompt

STEP = 8


def pool(prompts: int, candidates: int, *, noise: float = 0.5, seed: int = 0) -> list[TracedPrompt]:
    """Rewards are normal around each prompt's mean; a prefix's reward is the final one with `noise`."""
    draw = random.Random(seed)
    return [_prompt(draw, number, candidates, noise) for number in range(prompts)]


def _prompt(draw: random.Random, number: int, candidates: int, noise: float) -> TracedPrompt:
    mean = draw.gauss(0, 1)
    return TracedPrompt(f'"{number}"', tuple(_candidate(draw, mean, noise) for _ in range(candidates)), score_s=0.01)


def _candidate(draw: random.Random, mean: float, noise: float) -> Traced:
    tokens, reward = draw.randint(20, 60), draw.gauss(mean, 1)
    stops = list(range(STEP, tokens, STEP))
    prefixes = tuple((stop, reward + draw.gauss(0, noise)) for stop in stops)
    growth = tuple((stop, 0.1 + 0.01 * stop) for stop in [1, *stops, tokens])
    return Traced(f"{reward}", tokens, "stop", reward, prefix_rewards=prefixes, growth=growth)
