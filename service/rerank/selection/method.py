"""How to choose among the candidates of one request: how heads are read, whether length counts, and a pick."""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from service.rerank.selection import heads as ways
from service.rerank.selection import picks
from service.rerank.selection.heads import Heads, Mean
from service.rerank.selection.picks import Argmax, Likelihood, Measure, Pick
from service.rerank.strategies.base import Quantity
from service.rerank.variants import UNREAD_KNOB, known_knobs, take


class Selection(BaseModel):
    """`rerank.selection`: in JSON the name of a pick, or an object with names and the knobs of what they name beside
    them. An unknown key, and a knob that nothing reads, is an error that names it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pick: Pick = Field(default=Argmax(), description="How the candidates are ranked.")
    heads: Heads = Field(default=Mean(), description="What the heads of the reward model make of a candidate.")
    length_calibrated: bool = Field(default=False, description="Without what its length explains of a reward.")
    likelihood_weight: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        allow_inf_nan=False,
        description="Add so many times the mean log-probability of its tokens to a candidate's reward.",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_variants(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"pick": value}
        if not isinstance(value, Mapping):
            return value
        given = dict(value)
        pick = take(given, "pick", picks.PICKS, Argmax, unread="pick {name} does not read it; {readers} does")
        heads = take(given, "heads", ways.HEADS, Mean, unread="heads {name} does not read it; {readers} does")
        return {"pick": pick, "heads": heads, **given}

    @model_validator(mode="after")
    def _what_is_read(self) -> Self:
        if self.pick.reads_reward:
            return self
        unread = {
            "heads": self.heads.name != Mean.name,
            "length_calibrated": self.length_calibrated,
            "likelihood_weight": self.likelihood_weight > 0,
        }
        for knob in (knob for knob, given in unread.items() if given):
            sentence = PydanticCustomError(UNREAD_KNOB, "pick {name} reads no reward", {"name": self.pick.name})
            raise ValidationError.from_exception_data(
                "selection", [{"type": sentence, "loc": (knob,), "input": getattr(self, knob)}]
            )
        return self

    @classmethod
    def of_setting(cls, value: Any) -> Self:
        """From a command line or an environment, where a string may also be the object, as JSON. Raises ValueError."""
        is_object = isinstance(value, str) and value.lstrip().startswith("{")
        return cls.model_validate(json.loads(value) if is_object else value)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """What the object may hold."""
        return (
            "pick",
            "heads",
            *known_knobs(ways.HEADS),
            "length_calibrated",
            "likelihood_weight",
            *known_knobs(picks.PICKS),
        )

    @property
    def draws(self) -> bool:
        """What is returned is drawn at random."""
        return self.pick.draws

    @property
    def by_reward(self) -> bool:
        """What a candidate is worth is its reward."""
        changed = self.heads.compares or self.length_calibrated or self.likelihood_weight > 0
        return not changed and not isinstance(self.pick, Measure)

    @property
    def needs_reward(self) -> bool:
        """It cannot do without a reward model."""
        return not self.pick.free or (self.pick.reads_reward and not self.by_reward)

    def quantities(self, *, scored: bool) -> frozenset[Quantity]:
        """What the engine has to report of each candidate. scored: the reward model is asked about them too."""
        combined = self.likelihood_weight > 0 or (self.pick.votes and not scored)
        return self.pick.reads | (frozenset({"logprob"}) if combined else frozenset())

    def described(self) -> dict[str, Any]:
        """What it is, without what is as in plain best-of-N."""
        changed: dict[str, Any] = {"pick": self.pick.name}
        if self.heads.name != Mean.name:
            changed["heads"] = self.heads.name
        if self.length_calibrated:
            changed["length_calibrated"] = True
        if self.likelihood_weight:
            changed["likelihood_weight"] = self.likelihood_weight
        return changed | self.heads.model_dump() | self.pick.model_dump()

    def __str__(self) -> str:
        return json.dumps(self.described())


ARGMAX = Selection()
FREE = Selection(pick=Likelihood())  # of a server without a reward model
