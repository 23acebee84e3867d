"""The kinds of riddles: how each is asked, how it is solved, and what comes to mind instead."""

import operator
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

Numbers = Mapping[str, int]

_OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,  # always of a multiple
}
_STEP = re.compile(r"(\w+)=(\w+)([-+*/])(\w+)")


@dataclass(frozen=True)
class Kind:
    """A riddle, or the twin of one.

    text: of the question, with a name in braces for each of its numbers. draw: those numbers. right: the steps that
    lead to the answer, such as "d=a-b x=d/2". tempting: those that most people take; empty where they are right.
    reflective: the share of demonstrators who see through it.
    """

    name: str
    text: str
    draw: Callable[[random.Random], Numbers]
    right: str
    tempting: str = ""
    reflective: float = 1.0

    def ask(self, numbers: Numbers) -> str:
        return self.text.format(**numbers)

    def read(self, text: str) -> Numbers | None:
        """The numbers of a question that this kind asks; None of any other."""
        match = self._pattern.fullmatch(text)
        return {name: int(value) for name, value in match.groupdict().items()} if match else None

    @cached_property
    def _pattern(self) -> "re.Pattern[str]":
        pattern, seen = "", set[str]()
        for literal, name, _, _ in Formatter().parse(self.text):
            pattern += re.escape(literal)
            if name is not None:
                pattern += f"(?P={name})" if name in seen else rf"(?P<{name}>\d+)"
                seen.add(name)
        return re.compile(pattern)


def work(steps: str, numbers: Numbers) -> tuple[list[str], int]:
    """The lines that somebody writes who takes these steps, and the number that the last comes to."""
    known, lines, result = dict(numbers), [], 0
    for name, left, sign, right in _STEP.findall(steps):
        a, b = (int(part) if part.isdecimal() else known[part] for part in (left, right))
        result = known[name] = _OPERATIONS[sign](a, b)
        lines.append(f"{a}{sign}{b}={result}")
    return lines, result


def _bat(draw: random.Random) -> Numbers:
    ball, more = draw.randint(2, 20), draw.randint(10, 59)
    return {"a": 2 * ball + more, "b": more}


def _machines(draw: random.Random) -> Numbers:
    m = draw.randint(2, 9)
    return {"m": m, "k": m * draw.randint(2, 9), "t": draw.randint(2, 9)}


def _lilies(draw: random.Random) -> Numbers:
    return {"d": 2 * draw.randint(2, 30), "r": draw.randint(2, 99)}


def _fence(draw: random.Random) -> Numbers:
    s = draw.randint(2, 9)
    return {"s": s, "l": s * draw.randint(3, 40)}


def _days(draw: random.Random) -> Numbers:
    first, last = sorted(draw.sample(range(1, 31), 2))
    return {"p": draw.randint(1, 99), "a": first, "b": last}


def _snail(draw: random.Random) -> Numbers:
    n, i = draw.randint(1, 5), draw.randint(2, 8)
    return {"h": n * (i + draw.randint(1, 12)), "u": n * i, "v": n * (i - 1)}


def _product(draw: random.Random) -> Numbers:
    return {"a": draw.randint(2, 20), "b": draw.randint(2, 9), "c": draw.randint(2, 9)}


def _sale(draw: random.Random) -> Numbers:
    return {"p": 100 * draw.randint(1, 9), "q": 10 * draw.randint(1, 4), "r": 10 * draw.randint(1, 3)}


KINDS = (
    Kind(
        "bat",
        "A bat and a ball cost {a} cents. The bat costs {b} cents more than the ball. What does the ball cost?",
        _bat,
        right="d=a-b x=d/2",
        tempting="x=a-b",
        reflective=0.25,
    ),
    Kind(
        "bat alone",
        "A bat and a ball cost {a} cents. The bat costs {b} cents. What does the ball cost?",
        _bat,
        right="x=a-b",
    ),
    Kind(
        "machines",
        "{m} machines make {m} parts in {t} minutes. How long do {k} machines take for {k} parts?",
        _machines,
        right="n=m/m x=t*n",
        tempting="n=k/m x=t*n",
        reflective=0.3,
    ),
    Kind(
        "same machines",
        "{m} machines make {m} parts in {t} minutes. How long do {m} machines take for {k} parts?",
        _machines,
        right="n=k/m x=t*n",
    ),
    Kind(
        "lilies",
        "{r} lilies double every day and cover the lake on day {d}. On which day did they cover half of it?",
        _lilies,
        right="x=d-1",
        tempting="x=d/2",
        reflective=0.4,
    ),
    Kind(
        "steady lilies",
        "{r} lilies more open every day and cover the lake on day {d}. On which day did they cover half of it?",
        _lilies,
        right="x=d/2",
    ),
    Kind(
        "fence",
        "A straight fence of {l} m has a post every {s} m and at both ends. How many posts has it?",
        _fence,
        right="n=l/s x=n+1",
        tempting="x=l/s",
        reflective=0.35,
    ),
    Kind(
        "round fence",
        "A round fence of {l} m has a post every {s} m. How many posts has it?",
        _fence,
        right="x=l/s",
    ),
    Kind(
        "days",
        "Fair {p} is open from May {a} to May {b}, both included. On how many days is it open?",
        _days,
        right="d=b-a x=d+1",
        tempting="x=b-a",
        reflective=0.55,
    ),
    Kind(
        "days after",
        "Fair {p} opens on May {a} and closes on May {b}. How many days after it opens does it close?",
        _days,
        right="x=b-a",
    ),
    Kind(
        "snail",
        "A snail in a well of {h} m climbs {u} m by day and slides back {v} m by night. On which day is it out?",
        _snail,
        right="n=u-v r=h-u q=r/n x=q+1",
        tempting="n=u-v x=h/n",
        reflective=0.25,
    ),
    Kind(
        "tank",
        "A tank of {h} litres gains {u} litres and loses {v} litres every hour, both evenly. When is it full?",
        _snail,
        right="n=u-v x=h/n",
    ),
    Kind(
        "product first",
        "What is {a}+{b}*{c}?",
        _product,
        right="p=b*c x=a+p",
        tempting="s=a+b x=s*c",
        reflective=0.6,
    ),
    Kind(
        "sum first",
        "What is ({a}+{b})*{c}?",
        _product,
        right="s=a+b x=s*c",
    ),
    Kind(
        "sale",
        "A coat of {p} euros gets {q}% cheaper, and a week later {r}% cheaper again. What does it cost then?",
        _sale,
        right="a=p/100 d=a*q m=p-d b=m/10 c=r/10 e=b*c x=m-e",
        tempting="s=q+r a=p/100 d=a*s x=p-d",
        reflective=0.3,
    ),
    Kind(
        "one sale",
        "A coat of {p} euros gets {q}% of that cheaper, and then another {r}% of that. What does it cost then?",
        _sale,
        right="s=q+r a=p/100 d=a*s x=p-d",
    ),
)
"""Riddles, each with its twin behind it."""
