"""How the strategies of this server are set where a request does not say.

`bestofn replay --learn` writes such a file: checkpoint_tokens, keep and prior are learned from a trace, wave and price
stay the user's to set.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.rerank.strategies import NORMAL_KINDS, Prior

Share = Annotated[float, Field(gt=0, le=1)]


class StrategyProfile(BaseModel):
    """The file that `--strategy-profile` names, JSON; what it leaves out has its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint_tokens: int = Field(default=16, ge=1, description="prune: tokens between two checkpoints.")
    keep: tuple[Share, ...] = Field(
        default=(0.5,),
        min_length=1,
        description="prune: share that each checkpoint keeps; the last holds on.",
    )
    wave: int = Field(default=2, ge=1, description="adaptive: candidates of the first wave.")
    price: float = Field(
        default=0.1, gt=0, allow_inf_nan=False, description="adaptive: reward that one more candidate has to add."
    )
    prior: Prior = Field(default=NORMAL_KINDS, description="adaptive: what rewards to expect of a prompt.")

    @classmethod
    def read(cls, path: str) -> Self:
        """Raises ValueError, naming file and field, for what is not such a file."""
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the file"
            raise ValueError(f"{path}: {field}: {first['msg']}") from None


DEFAULTS = StrategyProfile()
