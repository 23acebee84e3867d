"""Formats that hold which responses were chosen and which were rejected."""

import math
import re
from itertools import pairwise
from typing import Any

from reward.template import common_length
from training.data.formats.checks import (
    DataError,
    Dropped,
    Options,
    Row,
    answer,
    assistant,
    conversation,
    integer,
    items,
    messages,
    number,
    number_or_nan,
    other_split,
    text,
    texts,
)
from training.data.records import Comparison, Conversation, user

_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant): ?")
_ROLES = {"Human": "user", "Assistant": "assistant"}
STYLES = 3  # of RM-Bench: concise, detailed, detailed with Markdown


def fits_pair(row: Row) -> bool:
    return row.get("chosen") is not None and row.get("rejected") is not None


def fits_hh(row: Row) -> bool:
    sides = (row.get("chosen"), row.get("rejected"))
    return row.get("prompt") is None and all(isinstance(side, str) and _TURN.match(side) for side in sides)


def fits_lists(row: Row) -> bool:
    chosen = row.get("chosen")
    return "rejected" in row and isinstance(chosen, list) and bool(chosen) and isinstance(chosen[0], str)


def fits_rm_bench(row: Row) -> bool:
    return fits_lists(row) and "domain" in row


def fits_two_responses(row: Row) -> bool:
    return ("response1" in row and "response2" in row) or ("response_1" in row and "response_2" in row)


def parse_pair(row: Row, options: Options) -> Comparison | Dropped:
    """`chosen`, `rejected`, `prompt`?, `margin`?, `subset`?, `score_chosen`? and `score_rejected`?.

    TRL's preference format, which ultrafeedback_binarized and RewardBench 1 extend. Equal scores are a tie: the pair
    was then chosen by its place alone. The scores become the dimension `score` and leave the margin as it is.
    """
    found = _sides(row)
    if isinstance(found, Dropped):
        return found
    prompt, chosen, rejected = found
    scores = tuple(number_or_nan(row.get(name), name) for name in ("score_chosen", "score_rejected"))
    return Comparison(
        prompt,
        (chosen, rejected),
        ranks=(0, 0) if scores[0] == scores[1] else (0, 1),
        scores={} if all(map(math.isnan, scores)) else {"score": scores},
        margin=0.0 if row.get("margin") is None else number(row["margin"], "margin"),
        subset="" if row.get("subset") is None else text(row["subset"], "subset"),
    )


def parse_hh(row: Row, options: Options) -> Comparison | Dropped:
    """HH-RLHF: two transcripts that differ in their last Assistant turn."""
    (prompt, chosen), (other, rejected) = (_transcript(row[name], name) for name in ("chosen", "rejected"))
    if prompt != other:
        return Dropped("of two prompts")
    return Comparison(prompt, (chosen, rejected), ranks=(0, 1))


def parse_rm_bench(row: Row, options: Options) -> Comparison:
    """RM-Bench: three chosen and three rejected responses, each concise, detailed, and detailed with Markdown.

    In this order, the chosen ones first: response i was chosen in style i, response 3 + j rejected in style j.
    """
    for name in ("chosen", "rejected"):
        if len(items(row.get(name), name, "a list of texts")) != STYLES:
            raise DataError(f"field {name!r}: expected {STYLES} responses, one in each style, got {len(row[name])}")
    return _lists(row, text(row.get("domain"), "domain"))


def parse_reward_bench_2(row: Row, options: Options) -> Comparison:
    """RewardBench 2: every chosen response is better than every rejected one.

    The rows of its Ties subset are scored together by their `id` (`ref:7` with `tied:7`): it is kept in the subset,
    as `Ties/ref:7`.
    """
    subset = "" if row.get("subset") is None else text(row["subset"], "subset")
    return _lists(row, f"{subset}/{text(row.get('id'), 'id')}" if subset == "Ties" else subset)


def parse_two_responses(row: Row, options: Options) -> Comparison | Dropped:
    """HelpSteer3 (`context`, `response1`, `overall_preference`), HelpSteer2-Preference (`prompt`, `response_1`,
    `preference_strength`): from -3, the first is much better, over 0, a tie, to 3.

    The dimension `preference` keeps the strength: it is the score of the preferred response, the other has 0.
    """
    if dropped := other_split(row, options):
        return dropped
    first, second = ("response1", "response2") if "response1" in row else ("response_1", "response_2")
    strength = "overall_preference" if "overall_preference" in row else "preference_strength"
    prompt = "context" if "context" in row else "prompt"
    preference = integer(row.get(strength), strength, -3, 3)
    return Comparison(
        conversation(row.get(prompt), prompt),
        (answer(row.get(first), first), answer(row.get(second), second)),
        ranks=(int(preference > 0), int(preference < 0)),
        scores={"preference": (float(max(-preference, 0)), float(max(preference, 0)))},
    )


def _lists(row: Row, subset: str) -> Comparison:
    chosen, rejected = texts(row.get("chosen"), "chosen"), texts(row.get("rejected"), "rejected")
    ranks = (0,) * len(chosen) + (1,) * len(rejected)
    return Comparison(conversation(row.get("prompt"), "prompt"), chosen + rejected, ranks=ranks, subset=subset)


def _sides(row: Row) -> tuple[Conversation, str, str] | Dropped:
    """(prompt, chosen, rejected); the prompt may be a field, or what both sides start with, or both."""
    prompt, chosen, rejected = row.get("prompt"), row.get("chosen"), row.get("rejected")
    if _is_whole(chosen, prompt) and _is_whole(rejected, prompt):
        (shared, first), (other, second) = _ending(chosen, "chosen", prompt), _ending(rejected, "rejected", prompt)
        return (shared, first, second) if shared == other else Dropped("of two prompts")
    if prompt is not None:
        return conversation(prompt, "prompt"), answer(chosen, "chosen"), answer(rejected, "rejected")
    return _common_start(text(chosen, "chosen"), text(rejected, "rejected"))


def _is_whole(side: Any, prompt: Any) -> bool:
    """Whether a list of messages holds the prompt too, rather than the answer alone."""
    return isinstance(side, list) and (prompt is None or len(side) > 1)


def _ending(value: Any, at: str, prompt: Any) -> tuple[Conversation, str]:
    whole = messages(value, at)
    known = len(messages(prompt, "prompt")) if isinstance(prompt, list) else 1
    if len(whole) <= known or (isinstance(prompt, list) and whole[:known] != messages(prompt, "prompt")):
        raise DataError(f"field {at!r}: expected the messages of the prompt and an assistant message after them")
    return whole[:-1], assistant(whole[-1], f"{at}[{len(whole) - 1}]")


def _common_start(chosen: str, rejected: str) -> tuple[Conversation, str, str]:
    """The prompt is what both texts start with, up to the last whole word; the space after it is the answers'."""
    common = chosen[: common_length(chosen, rejected)]
    word_end = max((match.start() for match in re.finditer(r"\s", common)), default=0)
    prompt = common[:word_end].rstrip()
    if not prompt:
        raise DataError("field 'prompt': missing, and 'chosen' and 'rejected' do not start with the same words")
    return user(prompt), chosen[len(prompt) :], rejected[len(prompt) :]


def _transcript(value: Any, at: str) -> tuple[Conversation, str]:
    """(turns before the last Assistant turn, all that follows its mark)."""
    whole = text(value, at)
    marks = list(_TURN.finditer(whole))
    last = max((index for index, mark in enumerate(marks) if mark[1] == "Assistant"), default=0)
    if not last or marks[0].start():
        raise DataError(f"field {at!r}: expected turns marked 'Human: ' and 'Assistant: '")
    prompt = tuple(
        {"role": _ROLES[mark[1]], "content": whole[mark.end() : after.start()]}
        for mark, after in pairwise(marks[: last + 1])
    )
    return prompt, whole[marks[last].end() :]
