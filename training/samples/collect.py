"""Candidates to learn from, sampled on many prompts: from a running server, or from a checkpoint in this process.

Each prompt becomes one row of a JSONL file, in the format that `training.data.read` reads, as soon as it is answered. A
second run with the same settings goes on where the first stopped, and may ask for more prompts.
"""

import asyncio
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openai import APIError, APIStatusError, AsyncOpenAI
from openai.types.chat import ChatCompletion
from rich.progress import Progress

from measuring.row_file import RowFile
from training.data.formats.checks import conversation
from training.data.read import read_prompts, to_row
from training.data.records import Comparison, Conversation
from training.labs import lab, model_path
from training.labs.lab import SPLITS
from training.policy.rollout import sampler
from training.run.config import ConfigError
from training.samples import trace
from training.samples.endpoint import connect, first_model, for_each, in_one_line, message_of

DEFAULT_TOKENS = 512
_CHUNK_PROMPTS = 128  # of a checkpoint: what is sampled, written, and at worst lost at a time
_BAD_REQUEST = {400, 422}
_UNKNOWN_FIELD = re.compile(r"unknown|unrecogni[sz]ed|unsupported|unexpected|not permitted|extra|additional", re.I)


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What to sample, and from where. Raises ConfigError for settings that do not go together.

    lab or data: where the prompts come from; of `data` at most `prompts` are taken. checkpoint_tokens: above 0, a trace
    is made: rewards of growing candidates are measured every so many tokens. base_url: of a server; without one,
    `model` is a checkpoint. max_tokens: 0 for the lab's own limit, or DEFAULT_TOKENS for `data`.
    """

    prompts: int
    samples: int
    lab: str = ""
    lab_options: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    split: str = "train"
    base_url: str = ""
    model: str = ""
    api_key: str = ""
    temperature: float = 1.0
    max_tokens: int = 0
    seed: int = 0
    concurrency: int = 8
    sampler: str = "auto"
    checkpoint_tokens: int = 0

    def __post_init__(self) -> None:
        if bool(self.lab) == bool(self.data):
            raise ConfigError("give either --lab or --data (exactly one of them)")
        if self.lab_options and not self.lab:
            raise ConfigError("--lab-option: has no meaning with --data, it describes a lab")
        if not self.base_url and not self.model:
            raise ConfigError("give --base-url of a server, or --model with a checkpoint")
        if self.temperature == 0:
            raise ConfigError("--temperature: at 0 all samples of a prompt are the same")
        if self.checkpoint_tokens and not self.base_url:
            raise ConfigError("--trace: needs --base-url, since only a server of ours can tell how candidates grow")


@dataclass(frozen=True)
class Collected:
    """What became of the prompts. there: in the file before. errors: some of them, in words."""

    there: int
    taken: int
    failed: int
    errors: tuple[str, ...]

    def summary(self) -> str:
        """Lines for people."""
        already = f", {self.there} were there already" if self.there else ""
        failed = f"\n{self.failed} prompts failed: {'; '.join(self.errors)}" if self.failed else ""
        return f"{self.taken} prompts sampled{already}{failed}"


def run(collection: Collection, output: Path) -> Collected:
    """Sample what `output` does not hold yet, and append it.

    Raises ValueError for an unknown lab, checkpoint or data, or where `output` was made with other settings;
    ConnectionError where the server cannot be reached. Later failures of single prompts are counted.
    """
    prompts, limit = _prompts(collection)
    if collection.checkpoint_tokens:
        if output.suffix != ".parquet":
            raise ConfigError(f"--output: a trace is a .parquet file, not {output.name}")
        rows = output.with_suffix(".jsonl")
        collected = asyncio.run(_from_server(collection, prompts, limit, rows))
        trace.write(output, [_traced(collection, row) for row in map(json.loads, rows.read_text().splitlines())])
        return collected
    if collection.base_url:
        return asyncio.run(_from_server(collection, prompts, limit, output))
    return _from_checkpoint(collection, prompts, limit, output)


def read_answer(prompt: Conversation, answer: ChatCompletion, samples: int) -> Comparison:
    """The candidates of an answer: with their rewards from our server, the choices of any other one.

    Raises ValueError where there are fewer than `samples` whole ones.
    """
    rerank = (answer.model_extra or {}).get("rerank")
    if rerank is None:
        texts = [choice.message.content for choice in answer.choices]
        return Comparison(prompt, _texts(texts, samples))
    whole = [candidate for candidate in rerank["candidates"] if _is_whole(candidate)]
    responses = _texts([candidate["text"] for candidate in whole], samples)
    heads = dict.fromkeys(head for candidate in whole for head in candidate.get("rewards", ()))
    scores = {head: _numbers([candidate.get("rewards", {}).get(head) for candidate in whole]) for head in heads}
    rewards = _numbers([candidate.get("reward") for candidate in whole])
    if not all(map(math.isnan, rewards)):
        scores["reward"] = rewards
    return Comparison(prompt, responses, scores=scores)


async def _from_server(
    collection: Collection, prompts: Mapping[str, Conversation], limit: int, output: Path
) -> Collected:
    errors: list[str] = []
    async with connect(collection.base_url, collection.api_key) as client:
        model = collection.model or await first_model(client)
        server = _Server(client, model, collection, limit)
        with RowFile(output, _settings(collection, model, limit)) as file, Progress() as progress:
            waiting = _waiting(prompts, file)
            task = progress.add_task("collect", total=len(waiting))

            async def ask(key: str) -> None:
                try:
                    file.append([await server.sample(key, prompts[key])])
                except (APIError, ValueError) as error:
                    errors.append(in_one_line(error))
                progress.advance(task)

            await for_each(waiting, ask, at_once=collection.concurrency)
    taken = len(waiting) - len(errors)
    return Collected(len(prompts) - len(waiting), taken, len(errors), tuple(dict.fromkeys(errors))[:3])


def _from_checkpoint(
    collection: Collection, prompts: Mapping[str, Conversation], limit: int, output: Path
) -> Collected:
    with RowFile(output, _settings(collection, collection.model, limit)) as file, Progress() as progress:
        waiting = set(_waiting(prompts, file))
        task = progress.add_task("collect", total=len(waiting))
        keys = list(prompts)
        with sampler(collection.sampler, model_path(collection.model)) if waiting else nullcontext() as policy:
            for start in range(0, len(keys), _CHUNK_PROMPTS):
                chunk = [prompts[key] for key in keys[start : start + _CHUNK_PROMPTS] if key in waiting]
                if policy and chunk:
                    answers = policy.sample(
                        chunk,
                        count=collection.samples,
                        max_tokens=limit,
                        seed=seed_of(collection, start),
                        temperature=collection.temperature,
                    )
                    drawn = map(Comparison, chunk, map(tuple, answers))
                    file.append([to_row(sample) for sample in drawn])
                    progress.advance(task, len(chunk))
    return Collected(len(prompts) - len(waiting), len(waiting), 0, ())


class _Server:
    """Asks for all candidates with their rewards, and without the fields for that where a server refuses them."""

    def __init__(self, client: AsyncOpenAI, model: str, collection: Collection, limit: int) -> None:
        self._client, self._model, self._collection, self._limit = client, model, collection, limit
        rerank: dict[str, Any] = {"return_candidates": True}
        if collection.checkpoint_tokens:
            rerank |= {"strategy": "best_of_n", "trace": True, "checkpoint_tokens": collection.checkpoint_tokens}
        self._ours = {"best_of": collection.samples, "rerank": rerank}
        self._refused = False

    async def sample(self, key: str, prompt: Conversation) -> Mapping[str, Any]:
        """A row of the file. Raises openai.APIError, or ValueError for an answer that does not hold what was asked."""
        try:
            answer = await self._ask(key, prompt, {} if self._refused else self._ours)
        except APIStatusError as error:
            tracing = self._collection.checkpoint_tokens
            if tracing or error.status_code not in _BAD_REQUEST or not _UNKNOWN_FIELD.search(message_of(error)):
                raise
            answer = await self._ask(key, prompt, {})
            self._refused = True
        row = to_row(read_answer(prompt, answer, self._collection.samples))
        return {**row, **self._trace(key, answer)} if self._collection.checkpoint_tokens else row

    def _trace(self, key: str, answer: ChatCompletion) -> dict[str, Any]:
        rerank = (answer.model_extra or {}).get("rerank")
        if rerank is None:
            raise ValueError("--trace: this server does not tell how candidates grow")
        trace.from_answer(key, rerank, [math.nan] * self._collection.samples)
        return {"rerank": rerank}

    async def _ask(self, key: str, prompt: Conversation, ours: Mapping[str, Any]) -> ChatCompletion:
        answer: ChatCompletion = await self._client.chat.completions.create(
            model=self._model,
            messages=list(prompt),  # type: ignore[arg-type]  # the client wants its own TypedDicts
            n=self._collection.samples,
            temperature=self._collection.temperature,
            max_tokens=self._limit,
            seed=seed_of(self._collection, key),
            extra_body=ours,
        )
        return answer


def _prompts(collection: Collection) -> tuple[dict[str, Conversation], int]:
    """The different prompts by key, and the longest answer in tokens."""
    if collection.lab:
        world = lab(collection.lab, collection.lab_options)
        if collection.split not in SPLITS:
            raise ConfigError(f"--split: a lab has {' and '.join(SPLITS)}, not {collection.split!r}")
        found: Sequence[Conversation] = world.prompts(collection.prompts, collection.split, seed=collection.seed)
        limit = collection.max_tokens or world.answer_tokens
    else:
        found = read_prompts(collection.data, split=collection.split)[0][: collection.prompts]
        limit = collection.max_tokens or DEFAULT_TOKENS
    return {json.dumps(to_row(Comparison(prompt, ("",)))["prompt"]): prompt for prompt in found}, limit


def _waiting(prompts: Mapping[str, Conversation], file: RowFile) -> list[str]:
    there = {json.dumps(row["prompt"]) for row in file.rows}
    return [key for key in prompts if key not in there]


def _settings(collection: Collection, model: str, limit: int) -> dict[str, Any]:
    """What decides the samples; how many prompts there are and how fast they are asked does not."""
    options = {"lab_options": collection.lab_options} if collection.lab_options else {}
    return {
        "source": collection.lab or collection.data,
        **options,
        "model": model,
        "samples": collection.samples,
        "temperature": collection.temperature,
        "max_tokens": limit,
        "seed": collection.seed,
        **({"checkpoint_tokens": collection.checkpoint_tokens} if collection.checkpoint_tokens else {}),
        **({"split": collection.split} if collection.lab and collection.split != "train" else {}),
    }


def _traced(collection: Collection, row: Mapping[str, Any]) -> trace.TracedPrompt:
    """A row of the file as a trace keeps it, with the lab's gold where there is a lab."""
    texts = [candidate["text"] for candidate in row["rerank"]["candidates"]]
    gold = [math.nan] * len(texts)
    if collection.lab:
        world, prompt = lab(collection.lab, collection.lab_options), conversation(row["prompt"], "prompt")
        gold = [world.gold(prompt, text) for text in texts]
    return trace.from_answer(json.dumps(row["prompt"]), row["rerank"], gold)


def seed_of(collection: Collection, part: object) -> int:
    """A seed for one part of the work: the same in every run, and in no simple relation to another part's."""
    return random.Random(f"collect-{collection.seed}-{part}").getrandbits(31)


def _is_whole(candidate: Mapping[str, Any]) -> bool:
    return candidate.get("finish_reason") not in {None, "abort", "error"}


def _texts(texts: Sequence[str | None], samples: int) -> tuple[str, ...]:
    found = tuple(text for text in texts if text is not None)
    if len(found) != samples:
        raise ValueError(f"asked for {samples} samples, got {len(found)} with a text")
    return found


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)
