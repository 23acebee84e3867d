"""Scores many whole conversations in one call, in the caller's own thread: for scripts and notebooks.

`torch_scorer` gives the same rewards to an event loop that asks for one answer at a time.
"""

from collections.abc import Sequence
from pathlib import Path

from reward.batching import score_sequences
from reward.config import RewardConfig, combine
from reward.model import load, max_positions, placement, refuse_too_long
from reward.scorer import Score
from reward.template import Message


class BatchScorer:
    """A reward model, loaded: an `AutoModelForSequenceClassification` checkpoint and its chat template.

    `device` and `dtype` "auto" mean bfloat16 on a GPU where there is one, float32 on the CPU otherwise.
    `max_batch_tokens` bounds the padded size of one forward pass; one that a GPU's memory does not hold is halved.
    Raises ValueError for a checkpoint that is no reward model, or a dtype that torch does not know, and OSError for a
    checkpoint that is not there.
    """

    def __init__(
        self, path: str | Path, device: str = "auto", dtype: str = "auto", max_batch_tokens: int = 16384
    ) -> None:
        self._model, self._template = load(path, *placement(device, dtype))
        self.config = RewardConfig.of(self._model.config)
        self._max_batch_tokens = max_batch_tokens

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[Score]:
        """One score for each conversation, in their order; the reward is normalised as the server normalises it.

        A conversation is a list of `{"role": ..., "content": ...}` that ends with the assistant's answer. A reward is
        nan or infinite where the model gave that. Raises ValueError, which names the conversation by its index, when
        one does not end with an answer, when the chat template refuses it, or when it is too long for the model.
        """
        sequences = [self._tokens(index, conversation) for index, conversation in enumerate(conversations)]
        outputs = score_sequences(self._model, sequences, self._max_batch_tokens)
        return [
            Score(*combine(raw, self.config), tokens=len(tokens), cached_tokens=0)
            for tokens, raw in zip(sequences, outputs, strict=True)
        ]

    def _tokens(self, index: int, conversation: Sequence[Message]) -> list[int]:
        try:
            prompt = self._template.prompt(conversation[:-1])
            tokens = self._template.tokens(prompt, _answer(conversation))
            refuse_too_long(tokens, max_positions(self._model.config))
        except ValueError as error:
            raise ValueError(f"conversations[{index}]: {error}") from error
        return tokens


def _answer(conversation: Sequence[Message]) -> str:
    last = conversation[-1] if conversation else {}
    content = last.get("content")
    if last.get("role") != "assistant" or not isinstance(content, str):
        raise ValueError("must end with a message of the role assistant whose content is text")
    return content
