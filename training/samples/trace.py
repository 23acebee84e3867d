"""A trace: candidates with everything that a strategy could have seen of them, in a Parquet file.

`bestofn collect --trace` makes one from a running server; the candidate log of a server's own traffic is read too.
Columns, one row for each candidate: prompt (JSON), prompt_id, index, text, tokens, finish_reason, reward, rewards (a
map of heads), gold (null where unknown), prefix_tokens and prefix_rewards, growth_tokens and growth_s, score_s.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_SCHEMA = pa.schema(
    [
        ("prompt_id", pa.int32()),
        ("prompt", pa.string()),
        ("index", pa.int32()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("reward", pa.float64()),
        ("rewards", pa.map_(pa.string(), pa.float64())),
        ("gold", pa.float64()),
        ("prefix_tokens", pa.list_(pa.int32())),
        ("prefix_rewards", pa.list_(pa.float64())),
        ("growth_tokens", pa.list_(pa.int32())),
        ("growth_s", pa.list_(pa.float64())),
        ("score_s", pa.float64()),
        ("logprob", pa.float64()),
        ("self_certainty", pa.float64()),
    ]
)
_LATER = ("logprob", "self_certainty")  # columns that a trace may lack


class TraceError(ValueError):
    """A file is no trace; the message names it."""


@dataclass(frozen=True)
class Traced:
    """One finished candidate."""

    text: str
    tokens: int
    finish_reason: str
    reward: float  # nan where unknown
    gold: float = math.nan  # nan where unknown
    rewards: Mapping[str, float] = field(default_factory=dict)
    prefix_rewards: tuple[tuple[int, float], ...] = ()  # (tokens, reward) of its prefixes
    # (tokens, seconds since generation began) of its first piece, of each checkpoint and of its end.
    growth: tuple[tuple[int, float], ...] = ()
    logprob: float | None = None  # sum over its tokens; None where unknown
    self_certainty: float | None = None  # mean over its tokens; None where unknown

    def reward_at(self, tokens: int) -> float:
        """The first reward measured when it had at least so many tokens, else that of its end."""
        return next((reward for length, reward in self.prefix_rewards if length >= tokens), self.reward)


@dataclass(frozen=True)
class TracedPrompt:
    """The candidates of one prompt."""

    prompt: str
    candidates: tuple[Traced, ...]
    score_s: float = math.nan  # what scoring added after the last of them had ended; nan if unknown


def write(path: Path, prompts: Sequence[TracedPrompt]) -> None:
    """Replaces the file."""
    rows = [row for number, prompt in enumerate(prompts) for row in _rows(number, prompt)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path)


def read(path: Path) -> list[TracedPrompt]:
    """A trace, or a candidate log: its folder or one of its files. Raises TraceError for anything else."""
    if path.suffix == ".parquet":
        return _read_parquet(path)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    found = [prompt for file in files for prompt in _read_log(file)]
    if not found:
        raise TraceError(f"{path}: holds no prompt with two finished, scored candidates")
    return found


def has_prefixes(prompts: Sequence[TracedPrompt]) -> bool:
    """Whether growing candidates were scored."""
    return any(candidate.prefix_rewards for prompt in prompts for candidate in prompt.candidates)


def large_enough(prompts: Sequence[TracedPrompt], best_of: int) -> Sequence[TracedPrompt]:
    """Those with at least so many candidates; all, for `check_pools` to refuse, where there is none."""
    return [prompt for prompt in prompts if len(prompt.candidates) >= best_of] or prompts


def check_pools(prompts: Sequence[TracedPrompt], best_of: int) -> None:
    """Raises ValueError where some prompt has fewer than `best_of` candidates to draw."""
    smallest = min(len(prompt.candidates) for prompt in prompts)
    if best_of > smallest:
        raise ValueError(f"--best-of {best_of}: the trace holds only {smallest} candidates of some prompt")


def from_answer(prompt: str, rerank: Mapping[str, Any], gold: Sequence[float]) -> TracedPrompt:
    """From the `rerank` object of an answer that was asked for with `trace` and `return_candidates`.

    gold: of each candidate. Raises ValueError where one has no text or no reward.
    """
    candidates = rerank["candidates"]
    for candidate in candidates:
        if candidate.get("reward") is None or candidate.get("text") is None:
            raise ValueError(f"candidate {candidate['index']} has no reward: {candidate.get('error', 'not finished')}")
    traced = [_traced(candidate, value) for candidate, value in zip(candidates, gold, strict=True)]
    return TracedPrompt(prompt, tuple(traced), rerank["timing"]["score_ms"] / 1000)


def _traced(candidate: Mapping[str, Any], gold: float) -> Traced:
    return Traced(
        text=candidate["text"],
        tokens=candidate["completion_tokens"],
        finish_reason=candidate["finish_reason"],
        reward=candidate["reward"],
        gold=gold,
        rewards=candidate.get("rewards", {}),
        prefix_rewards=tuple((tokens, reward) for tokens, reward in candidate["prefix_rewards"]),
        growth=tuple((tokens, at_ms / 1000) for tokens, at_ms in candidate["growth_ms"]),
        logprob=candidate.get("logprob"),
        self_certainty=candidate.get("self_certainty"),
    )


def _rows(number: int, prompt: TracedPrompt) -> Iterable[dict[str, Any]]:
    for index, candidate in enumerate(prompt.candidates):
        yield {
            "prompt_id": number,
            "prompt": prompt.prompt,
            "index": index,
            "text": candidate.text,
            "tokens": candidate.tokens,
            "finish_reason": candidate.finish_reason,
            "reward": candidate.reward,
            "rewards": list(candidate.rewards.items()),
            "gold": None if math.isnan(candidate.gold) else candidate.gold,
            "prefix_tokens": [tokens for tokens, _ in candidate.prefix_rewards],
            "prefix_rewards": [reward for _, reward in candidate.prefix_rewards],
            "growth_tokens": [tokens for tokens, _ in candidate.growth],
            "growth_s": [at_s for _, at_s in candidate.growth],
            "score_s": None if math.isnan(prompt.score_s) else prompt.score_s,
            "logprob": candidate.logprob,
            "self_certainty": candidate.self_certainty,
        }


def _read_parquet(path: Path) -> list[TracedPrompt]:
    try:
        there = pq.read_schema(path)
        missing = [name for name in _SCHEMA.names if name not in (*there.names, *_LATER)]
        if missing:
            raise TraceError(f"{path}: is no trace: it has no column {missing[0]!r}")
        rows = pq.read_table(path, schema=_SCHEMA).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise TraceError(f"{path}: is no trace: {error}") from None
    if not rows:
        raise TraceError(f"{path}: holds no prompt")
    found = []
    for _, of_prompt in groupby(rows, key=lambda row: row["prompt_id"]):
        together = list(of_prompt)
        found.append(
            TracedPrompt(together[0]["prompt"], tuple(map(_of_row, together)), _number(together[0]["score_s"]))
        )
    return found


def _of_row(row: Mapping[str, Any]) -> Traced:
    return Traced(
        text=row["text"],
        tokens=row["tokens"],
        finish_reason=row["finish_reason"],
        reward=_number(row["reward"]),
        gold=_number(row["gold"]),
        rewards=dict(row["rewards"] or ()),
        prefix_rewards=tuple(zip(row["prefix_tokens"], row["prefix_rewards"], strict=True)),
        growth=tuple(zip(row["growth_tokens"], row["growth_s"], strict=True)),
        logprob=row["logprob"],
        self_certainty=row["self_certainty"],
    )


def _read_log(file: Path) -> Iterable[TracedPrompt]:
    """The prompts of a candidate log that plain best-of-N answered to the end, with at least two scored candidates.

    Left out are people's choices, and prompts where something ended candidates before their time or weighed their
    heads: what is left of those is no fair sample of the policy, but the short ones, or the winners. A last line
    without its newline is still being written.
    """
    content = file.read_bytes()
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            row = json.loads(line)
            if "ranks" in row or not _is_fair(row):
                continue
            scored = [index for index, reward in enumerate(row["scores"]["reward"]) if reward is not None]
            candidates = tuple(_of_log(row, index) for index in scored)
        except (ValueError, KeyError, TypeError, IndexError):
            raise TraceError(f"{file}, line {number}: is no record of a candidate log") from None
        if len(candidates) > 1:
            yield TracedPrompt(json.dumps(row["prompt"]), candidates)


def _is_fair(row: Mapping[str, Any]) -> bool:
    whole = row["strategy"] == "best_of_n" and row["stop_reason"] == "complete" and "reward_weights" not in row
    whole = whole and "include_greedy" not in row
    return whole and all(state == "finished" for state in row["states"])


def _of_log(row: Mapping[str, Any], index: int) -> Traced:
    heads = {head: values[index] for head, values in row["scores"].items() if head != "reward"}
    return Traced(
        text=row["responses"][index],
        tokens=row["tokens"][index],
        finish_reason=row["finish_reasons"][index],
        reward=row["scores"]["reward"][index],
        rewards={head: value for head, value in heads.items() if value is not None},
        prefix_rewards=tuple((tokens, reward) for tokens, reward in row["prefix_rewards"][index]),
        growth=tuple((tokens, at_ms / 1000) for tokens, at_ms in row["growth_ms"][index]),
        logprob=row["logprobs"][index] if "logprobs" in row else None,
        self_certainty=row["self_certainties"][index] if "self_certainties" in row else None,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
