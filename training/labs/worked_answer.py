"""Answers with worked steps, as the labs with an exact answer write and read them.

35+21=56\n56+81=137\nAnswer: 137
{"steps": ["35+21=56", "56+81=137"], "answer": 137}
"""

import json
import random
import re
from collections.abc import Iterable, Sequence

JSON_REQUEST = " Reply in JSON."
_ANSWER = re.compile(r"(?:^|\n)Answer: (\d+)\s*$")


def written(steps: Sequence[str], result: int, *, as_json: bool) -> str:
    """An answer of these steps that come to this result."""
    if as_json:
        return json.dumps({"steps": list(steps), "answer": result})
    return "\n".join([*steps, f"Answer: {result}"])


def stated(response: str, *, as_json: bool) -> int | None:
    """The result that a response states; None where it states none in the form that was asked for."""
    return _from_json(response) if as_json else _from_text(response)


def stated_text(response: str, *, as_json: bool) -> str | None:
    """The same as text, in one form for all that are equal, which a vote compares."""
    result = stated(response, as_json=as_json)
    return None if result is None else str(result)


def judged(right: Iterable[bool], *, noise: float, generator: random.Random) -> list[float]:
    """What a labeller makes of answers that are right or not: each is turned over with probability `noise`."""
    return [float(one != (generator.random() < noise)) for one in right]


def _from_text(response: str) -> int | None:
    match = _ANSWER.search(response)
    return int(match[1]) if match else None


def _from_json(response: str) -> int | None:
    try:
        answer = json.loads(response)["answer"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return answer if type(answer) is int else None
