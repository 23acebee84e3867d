"""The format of our own files, which the candidate log, `bestofn collect` and `bestofn label` write.

{"prompt": text or messages, "responses": [text, ...], "ranks"?: [whole number, ...], "scores"?: {dimension: [number or
null, ...]}, "margin"?: number, "weight"?: number, "subset"?: text, "states"?: [text, ...]}; other fields are ignored.
Where the candidate log holds the state of each response, only those that were "finished" are read.
"""

import math
from collections.abc import Sequence
from typing import Any

from training.data.formats.checks import (
    DataError,
    Dropped,
    Options,
    Row,
    conversation,
    fields,
    integer,
    items,
    number,
    number_or_nan,
    text,
    texts,
)
from training.data.records import Comparison, Conversation, dense_ranks, user

_MOST_RANKS = 1_000_000  # a rank beyond this is a score in the wrong field


def fits(row: Row) -> bool:
    return "prompt" in row and "responses" in row


def parse(row: Row, options: Options) -> Comparison | Dropped:
    """Ranks may start anywhere and have gaps: only their order counts, the lowest is the best."""
    responses = texts(row.get("responses"), "responses")
    weight = 1.0 if row.get("weight") is None else number(row["weight"], "weight")
    if weight <= 0:
        raise DataError(f"field 'weight': expected a number above 0, got {weight}")
    comparison = Comparison(
        conversation(row.get("prompt"), "prompt"),
        responses,
        ranks=_ranks(row.get("ranks"), len(responses)),
        scores=_scores(row.get("scores"), len(responses)),
        margin=0.0 if row.get("margin") is None else number(row["margin"], "margin"),
        weight=weight,
        subset="" if row.get("subset") is None else text(row["subset"], "subset"),
    )
    if row.get("states") is None:
        return comparison
    finished = [i for i, state in enumerate(_as_many(row["states"], "states", len(responses))) if state == "finished"]
    return comparison.only(finished) if finished else Dropped("without a finished response")


def to_row(comparison: Comparison) -> dict[str, Any]:
    """The JSON object that `parse` reads back; what has its default value is left out, and nan becomes null."""
    row: dict[str, Any] = {"prompt": _prompt(comparison.messages), "responses": list(comparison.responses)}
    if comparison.ranks:
        row["ranks"] = list(comparison.ranks)
    if comparison.scores:
        row["scores"] = {
            name: [None if math.isnan(value) else value for value in values]
            for name, values in comparison.scores.items()
        }
    if comparison.margin:
        row["margin"] = comparison.margin
    if comparison.weight != 1.0:
        row["weight"] = comparison.weight
    if comparison.subset:
        row["subset"] = comparison.subset
    return row


def _prompt(messages: Conversation) -> str | list[dict[str, Any]]:
    if len(messages) == 1 and isinstance(content := messages[0].get("content"), str) and messages == user(content):
        return content
    return [dict(message) for message in messages]


def _ranks(value: Any, count: int) -> tuple[int, ...]:
    if value is None:
        return ()
    listed = _as_many(value, "ranks", count)
    return dense_ranks([integer(rank, f"ranks[{index}]", 0, _MOST_RANKS) for index, rank in enumerate(listed)])


def _scores(value: Any, count: int) -> dict[str, tuple[float, ...]]:
    if value is None:
        return {}
    return {
        name: tuple(
            number_or_nan(score, f"scores.{name}[{index}]")
            for index, score in enumerate(_as_many(scores, f"scores.{name}", count))
        )
        for name, scores in fields(value, "scores").items()
        if scores is not None
    }


def _as_many(value: Any, at: str, count: int) -> Sequence[Any]:
    listed = items(value, at)
    if len(listed) != count:
        raise DataError(f"field {at!r}: {len(listed)} for {count} responses")
    return listed
