"""The `rerank` object of a request: every key that it may have, and the sentence for one that it may not."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from service.rerank import strategies
from service.rerank.errors import SHOWN_CHARACTERS, InvalidRequest
from service.rerank.selection import Selection
from service.rerank.strategies import StrategyOptions
from service.rerank.strategies.best_of_n import BestOfNOptions
from service.rerank.variants import UNREAD_KNOB, known_knobs, take

Weight = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Incomplete = Literal["allow", "last", "never"]
DEFAULT_STRATEGY = BestOfNOptions.name


class GivenMessage(BaseModel):
    """A message of `rerank.conversation`: OpenAI's, of which the reward model's template reads what it knows."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: str


class RerankOptions(BaseModel):
    """The request's `rerank` object. An unknown key is an error that names it.

    In JSON `strategy` is a name, and the knobs of the strategy stand beside the keys that all strategies share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    strategy: StrategyOptions = Field(default=BestOfNOptions(), description="How candidates are sampled and stopped.")
    stop_after: int | None = Field(
        default=None, ge=1, description="Answer as soon as so many candidates have a reward; the rest is aborted."
    )
    target_reward: float | None = Field(
        default=None, allow_inf_nan=False, description="Answer as soon as a candidate has this reward (of n: n)."
    )
    deadline_ms: int | None = Field(
        default=None,
        gt=0,
        le=86_400_000,
        description="Answer with the best candidate so far after this many milliseconds.",
    )
    selection: Selection | None = Field(
        default=None, description="How to choose among the candidates: a pick, or an object with its knobs."
    )
    reward_weights: dict[str, Weight] | None = Field(
        default=None, description="Weights of the reward model's named heads, in place of their mean."
    )
    include_greedy: bool = Field(
        default=False,
        description="Let candidate 0 be the answer at temperature 0; the others keep their seeds, and N counts it.",
    )
    min_reward: float | None = Field(
        default=None, allow_inf_nan=False, description="Return only candidates of at least this reward, or fail."
    )
    incomplete: Incomplete = Field(
        default="allow",
        description="Answers cut off at their length limit: ranked as any other (allow), behind those that ended by "
        "themselves (last, and always where a schema or a tool call is asked for), or not returned (never).",
    )
    score_reasoning: bool = Field(
        default=False, description="Score what a reasoning model thinks with its answer; by default the answer alone."
    )
    conversation: list[GivenMessage] | None = Field(
        default=None,
        min_length=1,
        description="For /v1/completions: the messages that the prompt was rendered from, for the reward model.",
    )
    return_candidates: bool = Field(default=False, description="Put the text of every candidate into the response.")
    trace: bool = Field(
        default=False,
        description="Report how each candidate grew: rewards at checkpoints, and when it had its tokens.",
    )
    progress: bool = Field(
        default=False,
        description="In a stream: report what became of each candidate while they grow, in comments that clients "
        "ignore.",
    )
    fixed_best_of: bool = Field(
        default=False, description="Sample as many candidates as asked for, whatever the server's latency target."
    )

    @property
    def limited(self) -> bool:
        """Something may end the request before its strategy does."""
        return (self.deadline_ms, self.stop_after, self.target_reward) != (None, None, None)

    @property
    def reading_reward(self) -> tuple[str, ...]:
        """Keys that were given and are read with a reward model only."""
        given = {
            "strategy": self.strategy.reads_reward,
            "checkpoint_tokens": getattr(self.strategy, "checkpoint_tokens", None) is not None,
            "target_reward": self.target_reward is not None,
            "reward_weights": self.reward_weights is not None,
            "min_reward": self.min_reward is not None,
            "score_reasoning": self.score_reasoning,
        }
        return tuple(key for key, is_given in given.items() if is_given)

    @model_validator(mode="before")
    @classmethod
    def _take_strategy(cls, value: Any) -> Any:
        """A knob that is null counts as absent."""
        if not isinstance(value, Mapping):
            return value
        knobs = known_knobs(strategies.STRATEGIES)
        given = {key: content for key, content in value.items() if content is not None or key not in knobs}
        unread = "{knob} belongs to strategy {readers}; this request has {name}"
        strategy = take(given, "strategy", strategies.STRATEGIES, BestOfNOptions, unread=unread)
        return {"strategy": strategy, **given}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """What the object may hold."""
        first, *others = cls.model_fields
        return (first, *known_knobs(strategies.STRATEGIES), *others)


def read_options(value: Any, default: str) -> RerankOptions:
    """The value of `rerank`, or None. default: of `strategy`. Raises InvalidRequest, naming the field."""
    if not isinstance(value, dict | None):
        raise InvalidRequest("rerank must be an object", param="rerank")
    try:
        return RerankOptions.model_validate({"strategy": default} | (value or {}))
    except ValidationError as error:
        raise _refusal(error.errors()[0]) from None


def _refusal(first: ErrorDetails) -> InvalidRequest:
    field = ".".join(["rerank", *map(str, first["loc"])])[:SHOWN_CHARACTERS]
    of_selection = first["loc"][:1] == ("selection",)
    if first["type"] == UNREAD_KNOB and not of_selection:
        return InvalidRequest(f"rerank.{first['msg']}", param=field)
    if first["type"] == "extra_forbidden":
        known = ", ".join(Selection.keys() if of_selection else RerankOptions.keys())
        return InvalidRequest(f"{field} is not a known key; known keys are {known}", param=field)
    return InvalidRequest(f"{field}: {first['msg']}", param=field)
