"""Comparisons to learn from: read from a file, or made in a lab by sampling a policy and labelling its answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring.whole_file import write_rows
from training.data.read import hold_out, read_comparisons, to_row
from training.data.records import Comparison, Conversation
from training.labs import lab, model_path
from training.labs.lab import Lab
from training.policy.rollout import Sampler, sampler
from training.run import run_folder
from training.run.config import loading
from training.run.settings import PreferenceConfig
from training.samples.label import gold

SAMPLES_FILE = "samples.jsonl"


@dataclass(frozen=True)
class Preferences:
    """What a trainer learns from and is judged on; no prompt is in both.

    reference: answers as the reference policy gives them, on which a reward is normalised. summary: for people.
    """

    train: list[Comparison]
    held_out: list[Comparison]
    reference: list[Comparison]
    summary: str


def prepare(config: PreferenceConfig, output: Path) -> Preferences:
    """Read `config.data`, or sample and label in `config.lab`.

    Samples are kept with the state of the run in `output`, so that it goes on with the same when it was interrupted.
    Raises DataError.
    """
    if config.data:
        comparisons, report = read_comparisons(config.data, split=config.split)
        reference, summary = comparisons, report.summary()
    else:
        world = lab(config.lab, config.lab_options)
        reference = _samples(world, config, output)
        labelled = gold.label(world, reference, kind=config.label, noise=config.label_noise, seed=config.seed)
        comparisons = labelled.comparisons
        summary = (
            f"{len(comparisons)} comparisons of {config.samples_per_prompt} answers of "
            f"`{config.policy or config.model}` in the lab `{config.lab}`, label `{config.label}`, "
            f"noise {config.label_noise}"
        )
    train, held_out = hold_out(comparisons, config.held_out_share, seed=config.seed)
    if config.pairs_per_prompt:
        generator = random.Random(f"pairs-{config.seed}")
        train = [pair for c in train for pair in in_pairs(c, config.pairs_per_prompt, generator)]
        generator.shuffle(train)
    return Preferences(train, held_out, reference, summary)


def draw(
    policy: Sampler, prompts: Sequence[Conversation], *, count: int, max_tokens: int, seed: int
) -> list[Comparison]:
    """`count` answers to each prompt, not yet labelled."""
    answers = policy.sample(prompts, count=count, max_tokens=max_tokens, seed=seed)
    return [Comparison(prompt, tuple(texts)) for prompt, texts in zip(prompts, answers, strict=True)]


def in_pairs(comparison: Comparison, limit: int, generator: random.Random) -> list[Comparison]:
    """At most `limit` pairs of one comparison, in random order: first such that no worse response comes twice."""
    pairs = comparison.pairs()
    generator.shuffle(pairs)
    seen: set[int] = set()
    first: list[tuple[int, int]] = []
    rest: list[tuple[int, int]] = []
    for pair in pairs:
        (rest if pair[1] in seen else first).append(pair)
        seen.add(pair[1])
    return [comparison.only(pair) for pair in (first + rest)[:limit]]


def write_samples(path: Path, drawn: Sequence[Comparison]) -> None:
    """One line for each prompt, whole or not at all."""
    write_rows(path, map(to_row, drawn))


def _samples(world: Lab, config: PreferenceConfig, output: Path) -> list[Comparison]:
    path = output / run_folder.STATE_FOLDER / SAMPLES_FILE
    if not path.is_file():
        prompts = world.prompts(config.prompts, "train", seed=config.seed + 1)
        limit = config.sample_tokens or world.answer_tokens
        with loading("policy"):
            policy = sampler(config.sampler, model_path(config.policy or config.model))
        with policy:
            drawn = draw(policy, prompts, count=config.samples_per_prompt, max_tokens=limit, seed=config.seed)
        run_folder.claim(config, output)
        write_samples(path, drawn)
    return read_comparisons(str(path))[0]
