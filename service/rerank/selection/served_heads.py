"""Checks what a request asks of the reward model's heads against those that the served one has."""

from collections.abc import Mapping

from reward.config import RewardConfig
from service.rerank.errors import InvalidRequest
from service.rerank.selection.method import Selection

_WEIGHTS = "rerank.reward_weights"


def check_heads(selection: Selection, reward: RewardConfig) -> None:
    """Raises InvalidRequest where heads are to be compared and the reward model has a single output."""
    name = selection.heads.name
    if selection.heads.compares and len(reward.heads) < 2:
        param = "rerank.selection.heads"
        message = f"{param}: {name} compares the heads of a reward model; the one served has a single output"
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
    if selection.heads.compares:
        name = selection.heads.name
        message = f"{_WEIGHTS} cannot be combined with selection.heads {name}, which reads each head alone"
        raise InvalidRequest(message, param=_WEIGHTS)
