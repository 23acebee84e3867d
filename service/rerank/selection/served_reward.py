"""Checks what a request asks of a reward model on a server that has none."""

from service.rerank.errors import InvalidRequest
from service.rerank.options import RerankOptions
from service.rerank.selection.method import Selection
from service.rerank.selection.picks import PICKS

_NONE = "needs a reward model, and this server was started without one (--reward-model)"


def check_free(options: RerankOptions, selection: Selection) -> None:
    """Raises InvalidRequest, naming the field, for what only a reward model can do."""
    for key in options.reading_reward:
        param = f"rerank.{key}"
        shown = f"{param}: {options.strategy.name}" if key == "strategy" else param
        raise InvalidRequest(f"{shown} {_NONE}", param=param)
    check_free_selection(selection)


def check_free_selection(selection: Selection) -> None:
    """Raises InvalidRequest for a selection that a server without a reward model does not have."""
    if not selection.pick.free:
        names = ", ".join(pick.name for pick in PICKS if pick.free)
        param = "rerank.selection"
        raise InvalidRequest(f"{param}: {selection.pick.name} {_NONE}; without one there are {names}", param=param)
    if selection.needs_reward:
        given = next(key for key in selection.described() if key in ("heads", "length_calibrated", "likelihood_weight"))
        param = f"rerank.selection.{given}"
        raise InvalidRequest(f"{param} {_NONE}", param=param)
