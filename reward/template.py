"""The one place where a conversation becomes the reward model's tokens; training and serving share it.

A prompt is rendered and tokenised once; every candidate then adds only its own tail. Tokenizers split text on their
special tokens before anything else, so tokenising the text on either side of one separately is exact.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]

# Two answers that share neither their first nor their last character: what their renderings share belongs to the
# prompt (in front) and to the end of the turn (behind).
_PROBES = ("Qx", "Zy")
_CHECK = ({"role": "user", "content": "What is 1+1?"},)
_CHECK_RESPONSES = (" 1+1 = 2. ", "\n\nTwo", "")


@dataclass(frozen=True)
class Prompt:
    """A conversation up to the assistant's turn, rendered once per request."""

    messages: tuple[Message, ...]
    shared_text: str  # what every candidate's rendering starts with, cut before its last special token, the marker
    marker: str  # empty where nothing can be split off exactly
    shared_tokens: tuple[int, ...]  # ids of the shared text and the marker together
    end_of_turn: str  # the text that follows a finished answer


class ConversationTemplate:
    """Renders conversations with the tokenizer's chat template and turns them into token ids.

    Raises ValueError when the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        if not tokenizer.chat_template:
            raise ValueError(
                f"the tokenizer {tokenizer.name_or_path!r} has no chat template: a reward model reads conversations "
                "in the format it was trained on; save the tokenizer with that chat_template"
            )
        self.tokenizer = tokenizer
        self._marker_pattern = _marker_pattern(tokenizer)
        if self._marker_pattern and not self._split_is_exact():
            self._marker_pattern = None

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """Render the part that all candidates share. Raises ValueError when the template refuses the conversation."""
        plain = tuple(_plain(message) for message in messages)
        first, second = (self._render(plain, probe) for probe in _PROBES)
        shared = first[: common_length(first, second)]
        end_of_turn = first[len(first) - common_length(first[::-1], second[::-1]) :]
        markers = list(self._marker_pattern.finditer(shared)) if self._marker_pattern else []
        if not markers:
            return Prompt(plain, "", "", (), end_of_turn)
        start, end = markers[-1].span()
        return Prompt(plain, shared[:start], shared[start:end], tuple(self._encode(shared[:end])), end_of_turn)

    def prompt_tokens(self, prompt: Prompt) -> list[int]:
        """The ids at the start of `tokens(prompt, response)` for every response: what can be prefilled."""
        return list(prompt.shared_tokens)

    def tokens(self, prompt: Prompt, response: str, *, finished: bool = True) -> list[int]:
        """The ids of the conversation answered with `response`.

        Equal to `tokenizer.apply_chat_template(messages + [assistant message], tokenize=True)`; an unfinished
        response leaves out the text that ends the turn. Raises ValueError when the template refuses it.
        """
        text = self._render(prompt.messages, response)
        if not finished:
            text = text.removesuffix(prompt.end_of_turn)
        if not prompt.marker or not text.startswith(prompt.shared_text + prompt.marker):
            return self._encode(text)
        # The marker opens the tail as well, because some tokenizers treat the first piece of a text in a special way.
        tail = self._encode(text[len(prompt.shared_text) :])
        return [*prompt.shared_tokens, *tail[1:]]

    def _render(self, messages: Sequence[Message], response: str) -> str:
        conversation: Any = [*messages, {"role": "assistant", "content": response}]
        try:
            return str(self.tokenizer.apply_chat_template(conversation, tokenize=False))
        except TemplateError as error:
            raise ValueError(f"the reward model's chat template refuses this conversation: {error}") from error

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _split_is_exact(self) -> bool:
        prompt = self.prompt(_CHECK)
        return all(
            self.tokens(prompt, response) == self._encode(self._render(_CHECK, response))
            for response in _CHECK_RESPONSES
        )


def common_length(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many items two sequences share at their beginning."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _marker_pattern(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str] | None:
    """Finds special tokens as the tokenizer does: leftmost, then longest. None where splitting is not known to be safe.

    A token that begins another one is left out: whether it matches depends on the text that follows.
    """
    if not tokenizer.is_fast:
        return None
    added = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    special = {str(t) for t in tokenizer.added_tokens_decoder.values() if t.special and not t.normalized}
    safe = [t for t in special if t and not any(other != t and other.startswith(t) for other in added)]
    return re.compile("|".join(map(re.escape, sorted(safe, key=len, reverse=True)))) if safe else None


def _plain(message: Message) -> Message:
    """The message with its content as one string (parts are joined, None is empty) and its tool calls as a list."""
    plain = {**message, "content": text_of(message)}
    if message.get("tool_calls") is not None:
        plain["tool_calls"] = list(message["tool_calls"])
    return plain


def text_of(message: Message) -> str:
    """What a message says, its parts joined; pictures and the like say nothing."""
    content = message.get("content")
    return content if isinstance(content, str) else "".join(_part_text(part) for part in content or ())


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    return str(part.get("text") or "") if isinstance(part, Mapping) else ""
