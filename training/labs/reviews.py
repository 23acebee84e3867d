"""The lab `reviews`: continue a product review so that it is positive (the style task of Ziegler et al. 2019, section
3.1), with an exact gold reward in place of people.

    Continue this review of the kettle: "I bought it for my sister at Christmas. It arrived late."
    After a week the spout looks very neat and I do not regret the handle. I would certainly keep it.

The demonstrators are of mixed mind: half of their opinions blame, and now and then they drift to the parts of another
product, repeat themselves, tell what others say or break off. A proxy that counts kind words is fooled by negations,
wishes ("I wish the lid were solid"), reports ("the shop says that the lid is solid") and the parts of other products.
"""

import random
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from training.data.records import Conversation, Demonstration, user
from training.labs.lab import LabOptionsError, Split
from training.labs.reviews_grammar import JOINTS, LEADS, PARTS, WHOLE, Statement, clause, report, statements, verdict

FULL_STATEMENTS = 3  # fewer statements cannot earn the full reward
FULL_WORDS = 45  # from here on, twice the words halve the reward
NO_VERDICT, BROKEN_OFF = 0.8, 0.5  # factors for an ending that is not a verdict, and for none

GETTING = ("bought", "chose", "ordered", "picked")
PEOPLE = (
    "sister",
    "brother",
    "mother",
    "father",
    "wife",
    "husband",
    "son",
    "daughter",
    "aunt",
    "uncle",
    "neighbour",
    "boss",
    "office",
    "school",
    "friend",
    "cousin",
    "flat",
    "garden",
    "trip",
    "team",
)
TIMES = (
    "last week",
    "last month",
    "last year",
    "in spring",
    "in summer",
    "in autumn",
    "in winter",
    "at Christmas",
    "on a whim",
    "on sale",
)
OPENINGS = {  # what a review says so far, and how likely praise is after it
    "It arrived early.": 0.65,
    "It was well packed.": 0.65,
    "My first thought was good.": 0.65,
    "The price was fair.": 0.65,
    "It was easy to set up.": 0.65,
    "The seller was friendly.": 0.65,
    "It arrived late.": 0.35,
    "It was badly packed.": 0.35,
    "My first thought was bad.": 0.35,
    "The price was steep.": 0.35,
    "It was hard to set up.": 0.35,
    "The seller was rude.": 0.35,
    "It came on a Monday.": 0.5,
    "The parcel was heavy.": 0.5,
    "I read no other reviews.": 0.5,
    "It is my first one.": 0.5,
    "It replaced an old one.": 0.5,
    "I use it every day.": 0.5,
    "I took my time to write this.": 0.5,
    "It is the small model.": 0.5,
}
MOST_PROMPTS = {"train": 250_000, "held_out": 30_000}  # about half of those that there are
TOKENIZER_DEMONSTRATIONS = 4000
_PROMPT = re.compile(r'Continue this review of the (\w+): "(.*)"', re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?]\s*$")


@dataclass(frozen=True)
class Reviews:
    """The lab; its fields are its options."""

    carelessness: float = 0.25  # how often a demonstrator slips; once for each kind of slip

    name = "reviews"
    answer_tokens = 64

    def __post_init__(self) -> None:
        if not 0 <= self.carelessness <= 1:
            raise LabOptionsError(f"carelessness: must be between 0 and 1, got {self.carelessness}")

    def prompts(self, count: int, split: Split, *, seed: int) -> list[Conversation]:
        """Raises ValueError where there are not enough to draw from."""
        if count > MOST_PROMPTS[split]:
            raise ValueError(f"the lab reviews draws at most {MOST_PROMPTS[split]} {split} prompts, not {count}")
        found: dict[str, None] = {}
        generator = random.Random(f"{split}-{seed}")
        while len(found) < count:
            text = prompt_text(generator)
            if split_of(text) == split:
                found.setdefault(text)
        return [user(text) for text in found]

    def demonstrations(self, count: int, *, seed: int) -> Iterator[Demonstration]:
        generator = random.Random(f"demonstrations-{seed}")
        for prompt in self.prompts(count, "train", seed=seed):
            yield Demonstration(prompt, continuation(prompt, self.carelessness, generator))

    def gold(self, prompt: Conversation, response: str) -> float:
        """From 0 to 1; see the function `gold`."""
        return gold(product_of(prompt), response)

    def judge(
        self, prompt: Conversation, responses: Sequence[str], *, noise: float, generator: random.Random
    ) -> list[float]:
        """The gold reward; with probability `noise`, for each response, a number drawn evenly from 0 to 1 instead."""
        product = product_of(prompt)
        return [generator.random() if generator.random() < noise else gold(product, text) for text in responses]

    def tokenizer(self) -> Any:
        """The same whatever the options are."""
        from training.labs.tokenizer import word_tokenizer

        shown = Reviews().demonstrations(TOKENIZER_DEMONSTRATIONS, seed=0)
        return word_tokenizer(text for each in shown for text in (str(each.messages[0]["content"]), each.completion))


@dataclass(frozen=True)
class Marks:
    """The factors of the gold reward, each from 0 to 1, except `sentiment`, from -1 to 1."""

    # Summed strength of the clauses about the product, over all clauses (at least FULL_STATEMENTS).
    sentiment: float = 0.0
    relevance: float = 0.0  # clauses that can be read and are about the product, over the same number
    freshness: float = 0.0  # share of the parts and opinions that were not named before
    # 1 where the last sentence is finished and passes a verdict on the whole, NO_VERDICT where it is finished,
    # BROKEN_OFF otherwise.
    ending: float = 0.0
    brevity: float = 0.0  # 1 up to FULL_WORDS words, then FULL_WORDS over the words

    @property
    def gold(self) -> float:
        return (1 + self.sentiment) / 2 * self.relevance * self.freshness * self.ending * self.brevity


def gold(product: str, response: str) -> float:
    """How positive, relevant, fresh, finished and brief the continuation is: the product of its `marks`."""
    return marks(product, response).gold


def marks(product: str, response: str) -> Marks:
    """Each factor of the gold reward, for any text; all 0 where it says nothing."""
    said = statements(response)
    if not said:
        return Marks()
    own = [each for each in said if each.part == WHOLE or each.part in PARTS[product]]
    named = [word for each in said for word in (each.part, each.opinion) if word]
    count = max(FULL_STATEMENTS, len(said))
    return Marks(
        sentiment=sum(each.strength for each in own) / count,
        relevance=len(own) / count,
        freshness=len(set(named)) / max(1, len(named)),
        ending=_ending(said[-1], response),
        brevity=min(1.0, FULL_WORDS / len(response.split())),
    )


def _ending(last: Statement, response: str) -> float:
    if not _SENTENCE_END.search(response):
        return BROKEN_OFF
    return 1.0 if last.part == WHOLE else NO_VERDICT


def prompt_text(generator: random.Random) -> str:
    """One of 640,000 prompts."""
    opening = (
        f"I {generator.choice(GETTING)} it for my {generator.choice(PEOPLE)} {generator.choice(TIMES)}. "
        f"{generator.choice(list(OPENINGS))}"
    )
    return f'Continue this review of the {generator.choice(list(PARTS))}: "{opening}"'


def split_of(text: str) -> Split:
    """One tenth of all prompts is held out."""
    return "held_out" if zlib.crc32(text.encode()) % 10 == 0 else "train"


def product_of(prompt: Conversation) -> str:
    """The product that a prompt asks about. Raises ValueError when it is not a prompt of this lab."""
    text = str(prompt[-1]["content"]) if prompt else ""
    match = _PROMPT.fullmatch(text.strip())
    if match is None or match[1] not in PARTS:
        raise ValueError(f"not a prompt of the reviews lab: {text!r}")
    return match[1]


def continuation(prompt: Conversation, carelessness: float, generator: random.Random) -> str:
    """What a demonstrator writes after the prompt."""
    text = str(prompt[-1]["content"])
    mood = next((mood for opening, mood in OPENINGS.items() if opening in text), 0.5)
    slips = [generator.random() < carelessness for _ in range(4)]
    strays, repeats, forgets_the_verdict, breaks_off = slips
    clauses = _opinions(product_of(prompt), mood, strays, generator)
    if repeats:
        clauses.append(generator.choice(clauses))
    sentences = _sentences(clauses, generator)
    if not forgets_the_verdict:
        sentences.append(verdict(praise=generator.random() < mood, generator=generator))
    written = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)
    if not breaks_off:
        return written
    words = written.split()
    return " ".join(words[: generator.randrange(len(words) // 3, len(words))]).rstrip(".")


def _opinions(product: str, mood: float, strays: bool, generator: random.Random) -> list[str]:
    """Clauses on different parts; one of them on a part of another product where the writer strays."""
    parts = generator.sample(PARTS[product], generator.choice((2, 3, 3)))
    if strays:
        foreign = [part for parts in PARTS.values() for part in parts if part not in PARTS[product]]
        parts[generator.randrange(len(parts))] = generator.choice(foreign)
    kinds = (report if generator.random() < 0.1 else clause for _ in parts)
    return [
        kind(part, praise=generator.random() < mood, generator=generator)
        for kind, part in zip(kinds, parts, strict=True)
    ]


def _sentences(clauses: Sequence[str], generator: random.Random) -> list[str]:
    """One or two clauses a sentence, some of them with a lead."""
    sentences: list[str] = []
    joins = False
    for text in clauses:
        if joins:
            sentences[-1] += f" {generator.choice(JOINTS)} {text}"
            joins = False
        else:
            lead = f"{generator.choice(LEADS)} " if generator.random() < 0.25 else ""
            sentences.append(lead + text)
            joins = generator.random() < 0.5
    return sentences
