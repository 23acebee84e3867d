"""The `rerank` object of a request: every key that it may have, and what is said of one that it may not."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from service.rerank.errors import SHOWN_CHARACTERS, InvalidRequest
from service.rerank.selection.options import SelectionField, SelectionOptions, Weight
from service.rerank.strategies.profile import Share

StrategyName = Literal["best_of_n", "prune", "adaptive"]

_KNOBS: Mapping[str, tuple[StrategyName, ...]] = {
    "checkpoint_tokens": ("best_of_n", "prune"),
    "keep": ("prune",),
    "wave": ("adaptive",),
    "price": ("adaptive",),
}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, int | float) else value


class RerankOptions(BaseModel):
    """The request's `rerank` object. An unknown key is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    strategy: StrategyName = Field(default="best_of_n", description="How candidates are sampled and stopped.")
    checkpoint_tokens: int | None = Field(
        default=None, ge=1, description="prune, best_of_n: score growing candidates every so many tokens."
    )
    keep: Annotated[list[Share] | None, Field(min_length=1, max_length=64), BeforeValidator(_listed)] = Field(
        default=None,
        description="prune: the share that each checkpoint keeps: one for all, or a list whose last holds on.",
    )
    wave: int | None = Field(default=None, ge=1, description="adaptive: candidates of the first wave.")
    price: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="adaptive: reward that one more candidate has to add."
    )
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
    selection: SelectionField | None = Field(
        default=None, description="How to choose among the candidates: a pick, or an object with its knobs."
    )
    reward_weights: dict[str, Weight] | None = Field(
        default=None, description="Weights of the reward model's named heads, in place of their mean."
    )
    min_reward: float | None = Field(
        default=None, allow_inf_nan=False, description="Return only candidates of at least this reward, or fail."
    )
    return_candidates: bool = Field(default=False, description="Put the text of every candidate into the response.")
    trace: bool = Field(
        default=False,
        description="Tell how each candidate grew: rewards at checkpoints, and when it had its tokens.",
    )
    progress: bool = Field(
        default=False,
        description="In a stream: tell what became of each candidate while they grow, in comments that clients ignore.",
    )
    fixed_best_of: bool = Field(
        default=False, description="Sample as many candidates as asked for, whatever the server's latency target."
    )

    @property
    def limited(self) -> bool:
        """Something may end the request before its strategy does."""
        return (self.deadline_ms, self.stop_after, self.target_reward) != (None, None, None)

    @model_validator(mode="after")
    def _knobs_are_read(self) -> Self:
        for knob, strategies in _KNOBS.items():
            if getattr(self, knob) is not None and self.strategy not in strategies:
                raise PydanticCustomError(
                    "unread_knob",
                    "{knob} belongs to strategy {strategies}; this request has {strategy}",
                    {"knob": knob, "strategies": " or ".join(strategies), "strategy": self.strategy},
                )
        return self


def read_options(value: Any, default: StrategyName) -> RerankOptions:
    """The value of `rerank`, or None. default: of `strategy`. Raises InvalidRequest, naming the field."""
    if value is None:
        return RerankOptions(strategy=default)
    if not isinstance(value, dict):
        raise InvalidRequest("rerank must be an object", param="rerank")
    try:
        return RerankOptions.model_validate({"strategy": default} | value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["rerank", *map(str, first["loc"])])[:SHOWN_CHARACTERS]
        if first["type"] == "unread_knob":
            field = f"rerank.{first['ctx']['knob']}"
            raise InvalidRequest(f"rerank.{first['msg']}", param=field) from None
        if first["type"] == "extra_forbidden":
            model = SelectionOptions if first["loc"][0] == "selection" else RerankOptions
            known = ", ".join(model.model_fields)
            raise InvalidRequest(f"{field} is not a known key; known keys are {known}", param=field) from None
        raise InvalidRequest(f"{field}: {first['msg']}", param=field) from None
