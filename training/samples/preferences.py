"""Comparisons to learn from: read from a file, or made in a lab by sampling a policy and labelling its answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring.whole_file import write_rows
from training.data.read import hold_out, read_comparisons, to_row
from training.data.records import Comparison, Conversation
from training.labs import model_path
from training.labs.lab import Lab
from training.policy.rollout import PolicySampler, sampler
from training.run import run_folder
from training.run.config import MODEL_HELP, SAMPLER_HELP, SAMPLERS, loading, setting
from training.run.supervised import SupervisedConfig
from training.samples.label import gold

SAMPLES_FILE = "samples.jsonl"


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig(SupervisedConfig):
    """Learning from compared responses: from `data`, or the policy's own samples, labelled in the lab."""

    model: str = setting("", MODEL_HELP, required=True)
    policy: str = setting("", "the policy whose samples are labelled; empty: `model`", lab_only=True)
    prompts: int = setting(6000, "prompts to sample the policy on", minimum=2, lab_only=True)
    samples_per_prompt: int = setting(4, "samples per prompt", minimum=2, lab_only=True)
    sample_tokens: int = setting(0, "longest sample in tokens; 0: the lab's own limit", minimum=0, lab_only=True)
    sampler: str = setting("auto", SAMPLER_HELP, choices=SAMPLERS, lab_only=True)
    label: str = setting(
        "ranking",
        "what the labeller says of the samples of a prompt",
        choices=("ranking", "best", "scores"),
        lab_only=True,
    )
    label_noise: float = setting(0.0, "how often the labeller errs", minimum=0, maximum=1, lab_only=True)
    pairs_per_prompt: int = setting(
        0, "break each comparison into at most this many pairs, each a record of its own; 0: keep it whole", minimum=0
    )
    held_out_share: float = setting(0.05, "share of the prompts that are kept for evaluation", minimum=0, maximum=0.9)


@dataclass(frozen=True)
class Preferences:
    """What a trainer learns from and is judged on; no prompt is in both."""

    train: list[Comparison]
    held_out: list[Comparison]
    reference: list[Comparison]
    """Answers as the reference policy gives them, on which a reward is normalised."""
    summary: str
    """Where they come from, for people."""

    def single_answers(self, count: int, *, seed: int) -> list[Comparison]:
        """At most `count` single answers of the reference policy, of as many prompts as there are."""
        singles = [answer.only([index]) for answer in self.reference for index in range(len(answer.responses))]
        return random.Random(f"reference-{seed}").sample(singles, min(len(singles), count))

    def announce(self) -> None:
        """The main process prints where they come from."""
        if run_folder.is_main():
            print(self.summary)


def load_preferences(config: PreferenceConfig, output: Path) -> Preferences:
    """Read `config.data`, or sample and label in `config.lab`; every process calls it, the main one does it first.

    Samples are kept with the state of the run in `output`, so that it goes on with the same when it was interrupted.
    Raises DataError.
    """
    with run_folder.main_first():
        comparisons, reference, summary = _read(config) if config.data else _sampled(config, output)
        train, held_out = hold_out(comparisons, config.held_out_share, seed=config.seed)
        if config.pairs_per_prompt:
            generator = random.Random(f"pairs-{config.seed}")
            train = [pair for c in train for pair in in_pairs(c, config.pairs_per_prompt, generator)]
            generator.shuffle(train)
        return Preferences(train, held_out, reference, summary)


def draw(
    policy: PolicySampler,
    prompts: Sequence[Conversation],
    *,
    count: int,
    max_tokens: int,
    seed: int,
    temperature: float = 1.0,
) -> list[Comparison]:
    """`count` answers to each prompt, not yet labelled."""
    answers = policy.sample(prompts, count=count, max_tokens=max_tokens, seed=seed, temperature=temperature)
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


Found = tuple[list[Comparison], list[Comparison], str]  # labelled, as the reference policy gives them, summary


def _read(config: PreferenceConfig) -> Found:
    comparisons, report = read_comparisons(config.data, split=config.split)
    return comparisons, comparisons, report.summary()


def _sampled(config: PreferenceConfig, output: Path) -> Found:
    world, policy = config.world(), config.policy or config.model
    samples = _samples(world, policy, config, output)
    labelled = gold.label(world, samples, kind=config.label, noise=config.label_noise, seed=config.seed)
    comparisons = labelled.comparisons
    summary = (
        f"{len(comparisons)} comparisons of {config.samples_per_prompt} answers of `{policy}` in the lab "
        f"`{config.lab}`, label `{config.label}`, noise {config.label_noise}"
    )
    return comparisons, samples, summary


def _samples(world: Lab, policy: str, config: PreferenceConfig, output: Path) -> list[Comparison]:
    path = output / run_folder.STATE_FOLDER / SAMPLES_FILE
    if not path.is_file():
        prompts = world.prompts(config.prompts, "train", seed=config.seed + 1)
        limit = config.sample_tokens or world.answer_tokens
        with loading("policy"):
            drawing = sampler(config.sampler, model_path(policy))
        with drawing:
            drawn = draw(drawing, prompts, count=config.samples_per_prompt, max_tokens=limit, seed=config.seed)
        run_folder.claim(config, output)
        write_samples(path, drawn)
    return read_comparisons(str(path))[0]
