"""What the candidates of a request have become since somebody last asked: `rerank.progress`."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.rerank.context import RequestContext
from service.rerank.ledger import CandidateRecord

_State = tuple[str, int, float | None]


class CandidateProgress:
    """Compares the candidates of a request with what was last reported of them."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._reported: dict[tuple[int, int], tuple[_State, int]] = {}

    def changes(self) -> Sequence[Mapping[str, Any]]:
        """An object for each candidate that has changed: index, state, tokens, reward.

        delta: the text that it grew by, where the request asks for the candidates' text. prompt: index of its prompt,
        where the request holds several.
        """
        return [
            change
            for prompt, ledger in enumerate(self._context.ledgers)
            for record in ledger.records
            if (change := self._change(prompt, record))
        ]

    def _change(self, prompt: int, record: CandidateRecord) -> Mapping[str, Any] | None:
        view = record.view
        now = (view.state, view.tokens, view.reward)
        before, pieces = self._reported.get((prompt, view.index), (None, 0))
        if now == before:
            return None
        self._reported[prompt, view.index] = now, len(record.pieces)
        change: dict[str, Any] = {
            "index": view.index,
            "state": view.state,
            "tokens": view.tokens,
            "reward": view.reward,
        }
        if self._context.ask.options.return_candidates:
            change["delta"] = "".join(record.pieces[pieces:])
        if self._context.ask.prompts > 1:
            change["prompt"] = prompt
        return change
