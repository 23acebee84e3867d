"""The formats of preference data and demonstrations met in the wild, and how they are told apart.

Each is a name, a test of a row's fields, and a parser from a row to a record. `training.data.read` finds the format
from the first row of a source; the first test that holds decides, so the more particular formats come first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from training.data.formats import demonstrations, native, pairs, ratings
from training.data.formats.checks import Dropped, Options, Row
from training.data.records import Comparison, Conversation, Demonstration

Record_co = TypeVar("Record_co", covariant=True)


@dataclass(frozen=True)
class Format(Generic[Record_co]):
    """How rows of one kind are recognised and read."""

    name: str
    fits: Callable[[Row], bool]
    parse: Callable[[Row, Options], Record_co | Dropped]  # raises DataError with the field


COMPARISONS: tuple[Format[Comparison], ...] = (
    Format("bestofn", native.fits, native.parse),
    Format("Ziegler", ratings.fits_ziegler, ratings.parse_ziegler),
    Format("summarize-from-feedback comparisons", ratings.fits_summaries, ratings.parse_summaries),
    Format("summarize-from-feedback axes", ratings.fits_axes, ratings.parse_axes),
    Format("UltraFeedback", ratings.fits_ultrafeedback, ratings.parse_ultrafeedback),
    Format("HelpSteer preference", pairs.fits_two_responses, pairs.parse_two_responses),
    Format("RM-Bench", pairs.fits_rm_bench, pairs.parse_rm_bench),
    Format("RewardBench 2", pairs.fits_lists, pairs.parse_reward_bench_2),
    Format("HH-RLHF", pairs.fits_hh, pairs.parse_hh),
    Format("ultrafeedback_binarized", lambda row: "score_chosen" in row and pairs.fits_pair(row), pairs.parse_pair),
    Format("RewardBench", lambda row: "subset" in row and pairs.fits_pair(row), pairs.parse_pair),
    Format("TRL preference", pairs.fits_pair, pairs.parse_pair),
    Format("HelpSteer2", ratings.fits_helpsteer, ratings.parse_helpsteer),
    Format("TRL unpaired preference", ratings.fits_unpaired, ratings.parse_unpaired),
)

DEMONSTRATIONS: tuple[Format[Demonstration], ...] = (
    Format("messages", demonstrations.fits_messages, demonstrations.parse_messages),
    Format("prompt and completion", demonstrations.fits_completion, demonstrations.parse_completion),
    Format("text", demonstrations.fits_text, demonstrations.parse_text),
)

PROMPTS: tuple[Format[Conversation], ...] = (
    Format("prompts", demonstrations.fits_prompt, demonstrations.parse_prompt),
)

AnyRecord = Comparison | Demonstration | Conversation


def recognise(row: Row, formats: Iterable[Format[Record_co]]) -> Format[Record_co] | None:
    """The first format that the row fits; None where it fits none of them."""
    return next((known for known in formats if known.fits(row)), None)
