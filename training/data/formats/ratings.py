"""Formats that rate single responses, rank several, or name the best of them."""

import math
import re
from collections.abc import Mapping
from typing import Any

from training.data.formats.checks import (
    DataError,
    Dropped,
    Options,
    Row,
    answer,
    conversation,
    expected,
    fields,
    integer,
    items,
    number,
    number_or_nan,
    other_split,
    text,
)
from training.data.records import Comparison, Conversation, dense_ranks, user

_HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_HELPSTEER_TURN = re.compile(r"\n?<extra_id_1>(Assistant|User)\n")
_AXES = ("overall", "accuracy", "coverage", "coherence")
_SAMPLE = re.compile(r"sample\d+")


def fits_ziegler(row: Row) -> bool:
    return "best" in row and "sample0" in row


def fits_summaries(row: Row) -> bool:
    return row.get("summaries") is not None


def fits_axes(row: Row) -> bool:
    return "info" in row and isinstance(row.get("summary"), dict)


def fits_ultrafeedback(row: Row) -> bool:
    return "instruction" in row and isinstance(row.get("completions"), list)


def fits_helpsteer(row: Row) -> bool:
    return "prompt" in row and "response" in row and any(name in row for name in _HELPSTEER)


def fits_unpaired(row: Row) -> bool:
    return "prompt" in row and "completion" in row and "label" in row


def parse_ziegler(row: Row, options: Options) -> Comparison:
    """`query`, `sample0`, `sample1`, ... as text or token ids, and `best`: one sample is better than all others."""
    names = [f"sample{index}" for index in range(sum(_SAMPLE.fullmatch(name) is not None for name in row))]
    samples = tuple(_decoded(row.get(name), name, options) for name in names)
    best = integer(row.get("best"), "best", 0, len(samples) - 1)
    ranks = tuple(int(index != best) for index in range(len(samples)))
    return Comparison(user(_decoded(row.get("query"), "query", options)), samples, ranks=ranks)


def parse_summaries(row: Row, options: Options) -> Comparison | Dropped:
    """`info`, `summaries[].text`, `choice`: null is a tie.

    `extra.confidence` is left: it is a place on a scale from the first to the second summary, not a margin.
    """
    if dropped := other_split(row, options):
        return dropped
    listed = items(row.get("summaries"), "summaries")
    responses = tuple(
        text(fields(item, f"summaries[{index}]").get("text"), f"summaries[{index}].text")
        for index, item in enumerate(listed)
    )
    choice = None if row.get("choice") is None else integer(row["choice"], "choice", 0, len(responses) - 1)
    ranks = tuple(int(choice is not None and index != choice) for index in range(len(responses)))
    return Comparison(_post(row), responses, ranks=ranks)


def parse_axes(row: Row, options: Options) -> Comparison | Dropped:
    """`info`, `summary.text`, `summary.axes`: ratings from 1 to 7, null where none was given."""
    if dropped := other_split(row, options):
        return dropped
    summary = fields(row.get("summary"), "summary")
    axes = fields(summary.get("axes"), "summary.axes")
    scores = {name: (number_or_nan(axes.get(name), f"summary.axes.{name}"),) for name in _AXES}
    return _rated(_post(row), text(summary.get("text"), "summary.text"), scores)


def parse_ultrafeedback(row: Row, options: Options) -> Comparison | Dropped:
    """`instruction`, `completions[].{response, overall_score, annotations.*.Rating}`.

    The overall scores rank the responses; they and the ratings are the dimensions, "N/A" is nan.
    """
    if not row["completions"]:
        return Dropped("without a response")
    responses, overall, ratings = [], [], []
    for index, completion in enumerate(row["completions"]):
        at = f"completions[{index}]"
        found = fields(completion, at)
        responses.append(text(found.get("response"), f"{at}.response"))
        overall.append(number(found.get("overall_score"), f"{at}.overall_score"))
        ratings.append(_ratings(found.get("annotations"), f"{at}.annotations"))
    names = dict.fromkeys(name for rated in ratings for name in rated)
    scores = {name: tuple(rated.get(name, math.nan) for rated in ratings) for name in names}
    return Comparison(
        conversation(row.get("instruction"), "instruction"),
        tuple(responses),
        ranks=dense_ranks([-score for score in overall]) if len(overall) > 1 else (),
        scores=scores | {"overall_score": tuple(overall)},
    )


def parse_helpsteer(row: Row, options: Options) -> Comparison | Dropped:
    """HelpSteer2: `prompt`, `response` and five ratings from 0 to 4.

    Turns of a longer prompt are marked `<extra_id_1>Assistant` and `<extra_id_1>User`.
    """
    first, *others = _HELPSTEER_TURN.split(text(row.get("prompt"), "prompt"))
    turns = zip(others[::2], others[1::2], strict=True)
    prompt = user(first) + tuple({"role": speaker.lower(), "content": said} for speaker, said in turns)
    scores = {name: (number_or_nan(row.get(name), name),) for name in _HELPSTEER}
    return _rated(prompt, text(row.get("response"), "response"), scores)


def parse_unpaired(row: Row, options: Options) -> Comparison:
    """TRL's unpaired preference: `prompt`, `completion`, `label`; the label becomes the score 1 or 0."""
    label = row.get("label")
    if label not in (0, 1) or not isinstance(label, int):
        raise expected("true or false", "label", label)
    prompt, completion = conversation(row.get("prompt"), "prompt"), answer(row.get("completion"), "completion")
    return Comparison(prompt, (completion,), scores={"label": (float(label),)})


def _rated(prompt: Conversation, response: str, scores: Mapping[str, tuple[float]]) -> Comparison | Dropped:
    if all(math.isnan(score) for (score,) in scores.values()):
        return Dropped("without a score")
    return Comparison(prompt, (response,), scores=scores)


def _decoded(value: Any, at: str, options: Options) -> str:
    if isinstance(value, str):
        return text(value, at)
    listed = items(value, at, "text or token ids")
    ids = [integer(token, f"{at}[{index}]", 0, 2**31) for index, token in enumerate(listed)]
    if options.decode is None:
        raise DataError(f"field {at!r}: token ids need the tokenizer that made them; decode them to text first")
    return options.decode(ids)


def _ratings(value: Any, at: str) -> dict[str, float]:
    if value is None:
        return {}
    return {
        name: _rating(fields(annotation, f"{at}.{name}").get("Rating"), f"{at}.{name}.Rating")
        for name, annotation in fields(value, at).items()
        if annotation is not None
    }


def _rating(value: Any, at: str) -> float:
    if value in (None, "N/A"):
        return math.nan
    try:
        return number(float(value) if isinstance(value, str) else value, at)
    except ValueError:
        raise expected("a number or 'N/A'", at, value) from None


def _post(row: Row) -> Conversation:
    """The prompt of a summary, as Stiennon et al. 2020 (appendix B) put it to their models."""
    info = fields(row.get("info"), "info")
    if info.get("post") is None:
        return user(f"Article:\n{text(info.get('article'), 'info.article')}\n\nTL;DR:")
    parts = [f"TITLE: {text(info.get('title'), 'info.title')}", f"POST: {text(info['post'], 'info.post')}", "TL;DR:"]
    if info.get("subreddit") is not None:
        parts.insert(0, f"SUBREDDIT: r/{text(info['subreddit'], 'info.subreddit')}")
    return user("\n\n".join(parts))
