"""What a plan reads of a candidate beside its text, out of vLLM's log-probabilities; nothing of it reaches the client.

They are the policy's own, before temperature and penalties, unless `--logprobs-mode` has it otherwise.
"""

from collections.abc import Mapping
from typing import Any

from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput
from vllm.sampling_params import SamplingParams

from service.rerank.selection.picks.self_certainty import from_top
from service.rerank.strategies.base import Quantity

_TOP = 20  # vLLM's default of --max-logprobs


class Quantities:
    """wanted: by the plan. params: of the client's request. model_config: the generator's, where anything is wanted."""

    def __init__(self, wanted: frozenset[Quantity], params: SamplingParams, model_config: Any) -> None:
        self._wanted = wanted
        self._asked: int | None = params.num_logprobs  # by the client
        self._fixed = params.logprob_token_ids is not None or params.logprobs == -1  # leaves no room for more
        self._vocabulary, self._top = 0, 0
        if "self_certainty" in wanted:
            self._vocabulary = model_config.get_vocab_size()
            most = _TOP if model_config.max_logprobs == -1 else model_config.max_logprobs
            self._top = min(most, self._vocabulary)
        self._has_top = self._top > 0 and params.logprob_token_ids is None

    def ask(self, params: SamplingParams) -> None:
        """Let a candidate's parameters ask for as much as the client and the plan want together."""
        if self._wanted and not self._fixed:
            params.logprobs = max(self._asked or 0, self._top)

    def read(self, completion: CompletionOutput, known_tokens: int, known_logprob: float) -> dict[Quantity, float]:
        """Of the tokens that are new in `completion`. known_tokens: at its beginning that are not new."""
        found: dict[Quantity, float] = {}
        if self._wanted and completion.cumulative_logprob is not None:
            found["logprob"] = completion.cumulative_logprob - known_logprob
        if self._has_top and completion.logprobs:
            tokens = list(completion.logprobs)[known_tokens:]
            certainties = [self._self_certainty(token) for token in tokens if token]
            if certainties:
                found["self_certainty"] = sum(certainties) / len(certainties)
        return found

    def _self_certainty(self, token: Mapping[int, Logprob]) -> float:
        known = sorted((one.logprob for one in token.values()), reverse=True)
        return from_top(known if self._fixed else known[: self._top], self._vocabulary)

    def leave_out(self, completion: CompletionOutput) -> None:
        """Leave in a copy of a completion what the engine would have given to the client alone."""
        if not self._wanted or self._fixed:
            return
        if self._asked is None:
            completion.logprobs = completion.cumulative_logprob = None
        elif completion.logprobs is not None and self._asked < self._top:
            pairs = zip(completion.token_ids, completion.logprobs, strict=True)
            completion.logprobs = [_shortened(token, drawn, self._asked) for drawn, token in pairs]


def _shortened(token: Mapping[int, Logprob] | None, drawn: int, top: int) -> dict[int, Logprob]:
    """The token that was drawn, and the most likely `top`."""
    return {one: of for one, of in (token or {}).items() if one == drawn or (of.rank is not None and of.rank <= top)}
