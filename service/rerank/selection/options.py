"""What a client or an operator may say about selection, checked against what the reward model offers."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from reward.config import RewardConfig
from service.rerank.errors import InvalidRequest
from service.rerank.selection.method import ARGMAX, READ_BY, Answer, Heads, Pick, Selection

_FIELD = "rerank.selection"
_WEIGHTS = "rerank.reward_weights"
Knob = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class SelectionOptions(BaseModel):
    """`rerank.selection` as an object. An unknown key, and a knob that nothing reads, is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pick: Pick = ARGMAX.pick
    heads: Heads = ARGMAX.heads
    variance_weight: Knob = ARGMAX.variance_weight
    length_calibrated: bool = ARGMAX.length_calibrated
    temperature: Knob = ARGMAX.temperature
    beta: Knob = ARGMAX.beta
    answer: Answer = ARGMAX.answer

    @field_validator(*READ_BY)
    @classmethod
    def _is_read(cls, value: Any, info: ValidationInfo) -> Any:
        reader, kinds = READ_BY[str(info.field_name)]
        kind = info.data.get(reader)
        if kind is not None and kind not in kinds:
            known = " or ".join(kinds)
            told = {"kind": kind, "reader": reader, "known": known}
            raise PydanticCustomError("unread", "{reader} {kind} does not read it; {known} does", told)
        return value

    @property
    def selection(self) -> Selection:
        """The same, for deciding."""
        return Selection(**self.model_dump())

    def __str__(self) -> str:
        return json.dumps(self.selection.described())


DEFAULT = SelectionOptions()


def pick_alone(value: Any) -> Any:
    """A string is the name of a pick."""
    return {"pick": value} if isinstance(value, str) else value


def pick_or_json(value: Any) -> Any:
    """On a command line a string may also be the object, as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return json.loads(value)
    return pick_alone(value)


SelectionField = Annotated[SelectionOptions, BeforeValidator(pick_alone)]


def check_heads(selection: Selection, reward: RewardConfig) -> None:
    """Raises InvalidRequest where heads are to be compared and the reward model has a single output."""
    if selection.heads != "mean" and len(reward.heads) < 2:
        param = f"{_FIELD}.heads"
        message = f"{param}: {selection.heads} compares the heads of a reward model; the one served has a single output"
        raise InvalidRequest(message, param=param)


def check_weights(weights: Mapping[str, float], selection: Selection, reward: RewardConfig) -> None:
    """Raises InvalidRequest, naming the field, for weights that the served reward model cannot follow."""
    if len(reward.heads) < 2:
        raise InvalidRequest(f"{_WEIGHTS}: the reward model served has a single output", param=_WEIGHTS)
    known = ", ".join(reward.heads)
    for head in weights:
        if head not in reward.heads:
            shown = head.encode("ascii", "backslashreplace").decode()[:60]
            param = f"{_WEIGHTS}.{shown}"
            raise InvalidRequest(f"{param} is not a head of the reward model; its heads are {known}", param=param)
    if not any(weights.values()):
        raise InvalidRequest(f"{_WEIGHTS}: at least one weight must not be 0; heads are {known}", param=_WEIGHTS)
    if selection.heads != "mean":
        message = f"{_WEIGHTS} cannot be combined with selection.heads {selection.heads}, which reads each head alone"
        raise InvalidRequest(message, param=_WEIGHTS)
