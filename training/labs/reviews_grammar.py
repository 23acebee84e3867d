"""The language of the lab `reviews`: products with their parts, and what a clause says about one of them.

`clause` and `verdict` write; `statements` reads any text, theirs or not. A clause that the grammar does not know is a
statement that says nothing about anything, so that no text is an error.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

PARTS: Mapping[str, tuple[str, ...]] = {
    product: tuple(parts.split())
    for product, parts in {
        "kettle": "spout lid handle switch base filter",
        "headset": "sound cable cushions headband microphone volume",
        "backpack": "straps zip pockets lining buckle fabric",
        "chair": "seat armrests back wheels cushions legs",
        "lamp": "shade bulb switch stand cable light",
        "tent": "poles pegs zip floor fabric door",
        "bicycle": "saddle brakes gears pedals frame tyres",
        "camera": "screen battery shutter zoom flash viewfinder",
        "toaster": "slots lever tray timer cable buttons",
        "novel": "plot ending cover chapters hero style",
        "jacket": "sleeves collar zip pockets lining hood",
        "phone": "screen battery speaker buttons charger case",
        "blender": "jar blades motor lid buttons base",
        "watch": "strap dial hands buckle battery case",
        "suitcase": "wheels lock handle zip lining corners",
        "guitar": "strings neck tuners body sound frets",
        "keyboard": "keys cable layout lights frame switches",
        "vacuum": "hose filter bag brush motor cable",
        "sofa": "cushions legs fabric armrests springs cover",
        "umbrella": "handle ribs canopy tip sleeve strap",
        "mattress": "springs foam cover edges corners fabric",
        "knife": "blade grip tip edge sheath balance",
        "drill": "motor battery grip bits charger trigger",
        "pram": "wheels brakes hood basket straps seat",
        "printer": "ink tray scanner screen paper rollers",
        "radio": "sound aerial dial speaker battery buttons",
        "game": "board cards counters rules pieces box",
        "puzzle": "pieces picture box corners colours edges",
        "helmet": "strap visor padding shell buckle vents",
        "clock": "hands dial alarm battery case numbers",
        "pillow": "filling cover seams foam edges fabric",
        "grill": "lid grate legs wheels tray thermometer",
        "fridge": "shelves drawers door light motor handle",
        "oven": "door timer grate fan light dial",
        "scooter": "wheels brakes deck handlebar battery bell",
        "heater": "grille motor stand switch cable timer",
        "mug": "handle rim glaze lid picture base",
        "rug": "pattern fibres edges colours backing corners",
        "piano": "keys pedals stool sound lid frame",
        "aquarium": "filter pump light lid glass pebbles",
    }.items()
}

GOOD = ("good", "great", "lovely", "solid", "excellent", "superb", "reliable", "pleasant", "neat", "handy", "sturdy")
BAD = ("bad", "awful", "poor", "flimsy", "terrible", "weak", "ugly", "useless", "clumsy", "cheap", "dull")
WELL, BADLY = ("well", "nicely", "perfectly", "smoothly"), ("badly", "poorly", "wrongly", "roughly")
LIKES, DISLIKES = ("love", "like", "enjoy", "admire"), ("hate", "dislike", "resent", "regret")
PLEASED, SORRY = ("happy", "pleased", "satisfied", "delighted"), ("unhappy", "annoyed", "upset", "disappointed")
KEEP, RETURN = ("keep", "recommend"), ("return", "sell")

# How strongly a degree word makes its opinion hold, and which way: negators turn it over.
ADJECTIVE_DEGREES: Mapping[str, float] = {
    "": 0.7,
    "very": 1.0,
    "really": 1.0,
    "truly": 1.0,
    "quite": 0.4,
    "fairly": 0.4,
    "not": -0.7,
    "never": -0.7,
    "hardly": -0.7,
    "not very": -0.4,
    "far from": -1.0,
    "by no means": -1.0,
}
VERB_DEGREES: Mapping[str, float] = {
    "": 0.7,
    "really": 1.0,
    "truly": 1.0,
    "rather": 0.4,
    "do not": -0.7,
    "hardly": -0.7,
    "cannot": -1.0,
}
WORK_DEGREES: Mapping[str, float] = {"": 0.7, "always": 1.0, "mostly": 0.4, "hardly": -0.7, "never": -1.0}
WOULD_DEGREES: Mapping[str, float] = {"": 0.7, "certainly": 1.0, "perhaps": 0.4, "not": -0.7, "never": -1.0}

LEADS = ("so far", "after a week", "at home", "to be honest", "to my surprise", "in daily use")
REPORTS = ("the shop says that", "the label says that", "they promised that", "I had hoped that")
JOINTS = ("and", "but", "while")
NEGATED = 0.3  # share of written opinions that say what they say through a negator
WHOLE = "it"  # stands for the product where a verdict is passed on all of it


@dataclass(frozen=True)
class Statement:
    """What one clause says."""

    part: str = ""  # of a product, or WHOLE; empty where the clause could not be read
    opinion: str = ""  # the word that carries the sentiment
    # From -1 (strongest blame) to 1 (strongest praise); 0 where it is not the writer's own opinion.
    strength: float = 0.0


def clause(part: str, *, praise: bool, generator: random.Random) -> str:
    """The writer's own opinion of a part."""
    form = generator.random()
    if form < 0.10 and not praise:
        return f"I wish the {part} were {generator.choice(GOOD)}"
    if form < 0.35:
        return f"I {_opinion(LIKES, DISLIKES, VERB_DEGREES, praise, generator)} the {part}"
    if form < 0.50:
        works = "work" if _plural(part) else "works"
        return f"the {part} {_opinion(WELL, BADLY, WORK_DEGREES, praise, generator, verb=works)}"
    verb = generator.choice(("are", "feel", "look") if _plural(part) else ("is", "feels", "looks"))
    return f"the {part} {verb} {_opinion(GOOD, BAD, ADJECTIVE_DEGREES, praise, generator)}"


def report(part: str, *, praise: bool, generator: random.Random) -> str:
    """What somebody else says of a part; worth nothing, whatever words it uses."""
    be = "are" if _plural(part) else "is"
    return f"{generator.choice(REPORTS)} the {part} {be} {generator.choice(GOOD if praise else BAD)}"


def verdict(*, praise: bool, generator: random.Random) -> str:
    """The opinion of the whole product that ends a review."""
    if generator.random() < 0.5:
        return f"overall I am {_opinion(PLEASED, SORRY, ADJECTIVE_DEGREES, praise, generator)} with it"
    return f"I would {_opinion(KEEP, RETURN, WOULD_DEGREES, praise, generator)} it"


def statements(text: str) -> list[Statement]:
    """What each clause of any text says, in order. Letter case and the kind of punctuation do not matter."""
    pieces = (" ".join(piece.split()) for piece in _CLAUSE_END.split(text.lower()))
    return [_read(piece) for piece in pieces if piece]


def _opinion(
    good: Sequence[str],
    bad: Sequence[str],
    degrees: Mapping[str, float],
    praise: bool,
    generator: random.Random,
    verb: str = "",
) -> str:
    """A degree, the verb if there is one, and a word that say praise or blame together, sometimes by negation."""
    negated = generator.random() < NEGATED
    degree = generator.choice([degree for degree, strength in degrees.items() if (strength < 0) == negated])
    word = generator.choice(good if praise != negated else bad)
    return " ".join(filter(None, (degree, verb, word)))


def _plural(part: str) -> bool:
    return part.endswith("s") and not part.endswith("ss")


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted((word.lower() for word in words if word), key=len, reverse=True))


def _form(before: str, degrees: Mapping[str, float], between: str, words: Iterable[str], after: str) -> re.Pattern[str]:
    return re.compile(f"{before}(?:(?P<degree>{_any(degrees)}) )?{between}(?P<opinion>{_any(words)}){after}")


_THE_PART = f"the (?P<part>{_any(part for parts in PARTS.values() for part in parts)})"
_CLAUSE_END = re.compile(rf"[.!?,;:\n]|\b(?:{_any(JOINTS)})\b")
_LEAD = re.compile(f"(?:{_any(LEADS)}) ")
_REPORT = re.compile(f"(?:{_any(REPORTS)}) ")
_WISH = _form(f"i wish {_THE_PART} were ", ADJECTIVE_DEGREES, "", (*GOOD, *BAD), "")
_FORMS = (
    (_form(f"{_THE_PART} (?:is|are|feels?|looks?) ", ADJECTIVE_DEGREES, "", (*GOOD, *BAD), ""), ADJECTIVE_DEGREES),
    (_form(f"{_THE_PART} ", WORK_DEGREES, "works? ", (*WELL, *BADLY), ""), WORK_DEGREES),
    (_form("i ", VERB_DEGREES, "", (*LIKES, *DISLIKES), f" {_THE_PART}"), VERB_DEGREES),
    (_form("overall i am ", ADJECTIVE_DEGREES, "", (*PLEASED, *SORRY), " with (?P<part>it)"), ADJECTIVE_DEGREES),
    (_form("i would ", WOULD_DEGREES, "", (*KEEP, *RETURN), " (?P<part>it)"), WOULD_DEGREES),
)
_BLAMING = {*BAD, *BADLY, *DISLIKES, *SORRY, *RETURN}


def _read(piece: str) -> Statement:
    piece = _LEAD.sub("", piece, count=1) if _LEAD.match(piece) else piece
    if reported := _REPORT.match(piece):
        told = _read(piece[reported.end() :])
        return Statement(told.part, told.opinion)
    if wished := _WISH.fullmatch(piece):
        return _statement(wished, ADJECTIVE_DEGREES, sign=-1)
    for form, degrees in _FORMS:
        if match := form.fullmatch(piece):
            return _statement(match, degrees)
    return Statement()


def _statement(match: re.Match[str], degrees: Mapping[str, float], *, sign: int = 1) -> Statement:
    opinion = match["opinion"]
    polarity = -sign if opinion in _BLAMING else sign
    return Statement(match["part"], opinion, polarity * degrees[match["degree"] or ""])
