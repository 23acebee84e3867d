"""The one place where a conversation becomes the reward model's tokens; training and serving share it.

A prompt is rendered and tokenised once; every candidate then adds only its own tail. Tokenizers split text on their
special tokens before anything else, so tokenising the text on either side of one separately is exact.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]
Reply = str | Mapping[str, Any]  # an answer's text, or the fields of an assistant's message

# Two answers that share neither their first nor their last character: what their renderings share belongs to the
# prompt (in front) and to the end of the turn (behind).
_PROBES = ("Qx", "Zy")
_CHECK = ({"role": "user", "content": "What is 1+1?"},)
_NOTHING: Mapping[str, Any] = {}
_CONTENT = ("tools", "documents")  # variables that hold what an answer is about
_CHECK_RESPONSES = (" 1+1 = 2. ", "\n\nTwo", "")


@dataclass(frozen=True)
class Prompt:
    """A conversation up to the assistant's turn, rendered once per request."""

    messages: tuple[Message, ...]
    shared_text: str  # what every candidate's rendering starts with, cut before its last special token, the marker
    marker: str  # empty where nothing can be split off exactly
    shared_tokens: tuple[int, ...]  # ids of the shared text and the marker together
    end_of_turn: str  # the text that follows a finished answer
    least_tokens: int = 0  # of any conversation that begins so
    characters: int = 0  # of what every candidate's rendering starts with
    text: str | None = None  # in place of messages: answers follow it as they are
    variables: Mapping[str, Any] = field(default_factory=dict)  # of the template, beside messages
    left_out: tuple[str, ...] = ()  # what the template has no place for
    cache_salt: str | None = None  # who shares what is computed of it


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
        markers = _markers(tokenizer)
        self._marker_ids = {marker: tokenizer.get_vocab()[marker] for marker in markers}
        self._marker_pattern = re.compile("|".join(map(re.escape, markers))) if markers else None
        if self._marker_pattern and not self._split_is_exact():
            self._marker_pattern = None

    def prompt(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
        cache_salt: str | None = None,
        rendered: tuple[str, Sequence[int]] | None = None,
    ) -> Prompt:
        """Render the part that all candidates share. Raises ValueError when the template refuses the conversation.

        tools, variables: what else the policy's template was given; what makes no difference here is left out.
        rendered: a text that begins alike, and its ids by an equal tokenizer.
        """
        plain = tuple(_plain(message) for message in messages)
        offered = {**(variables or {}), **({"tools": list(tools)} if tools else {})}
        used = self._used(plain, offered)
        left_out = [name for name in _CONTENT if offered.get(name) and name not in used]
        if any(_has_other_parts(message) for message in messages):
            left_out.append("media")
        first, second = (self._render(plain, probe, used) for probe in _PROBES)
        shared = first[: common_length(first, second)]
        end_of_turn = first[len(first) - common_length(first[::-1], second[::-1]) :]
        prompt = self._split(Prompt(plain, shared, "", (), end_of_turn), rendered)
        return replace(prompt, variables=used, left_out=tuple(left_out), cache_salt=cache_salt)

    def text_prompt(self, text: str, *, cache_salt: str | None = None) -> Prompt:
        """A prompt that is rendered already: answers follow it as they are, and end as the template ends a turn."""
        end_of_turn = self.prompt(_CHECK).end_of_turn
        return replace(self._split(Prompt((), text, "", (), end_of_turn), None), text=text, cache_salt=cache_salt)

    def reads_as(self, other: "PreTrainedTokenizerBase") -> bool:
        """Whether another tokenizer gives the same ids for every text."""
        ours, theirs = (getattr(one, "backend_tokenizer", None) for one in (self.tokenizer, other))
        return ours is not None and theirs is not None and ours.to_str() == theirs.to_str()

    def prompt_tokens(self, prompt: Prompt) -> list[int]:
        """The ids at the start of `tokens(prompt, response)` for every response: what can be prefilled."""
        return list(prompt.shared_tokens)

    def tokens(self, prompt: Prompt, response: Reply, *, finished: bool = True) -> list[int]:
        """The ids of the conversation answered with `response`.

        Equal to `tokenizer.apply_chat_template(messages + [assistant message], tokenize=True)`; an unfinished
        response leaves out the text that ends the turn. Raises ValueError when the template refuses it.
        """
        text = self._answered(prompt, response)
        if not finished:
            text = text.removesuffix(prompt.end_of_turn)
        if not prompt.marker or not text.startswith(prompt.shared_text + prompt.marker):
            return self._encode(text)
        # The marker opens the tail as well, because some tokenizers treat the first piece of a text in a special way.
        tail = self._encode(text[len(prompt.shared_text) :])
        return [*prompt.shared_tokens, *tail[1:]]

    def _answered(self, prompt: Prompt, response: Reply) -> str:
        if prompt.text is None:
            return self._render(prompt.messages, response, prompt.variables)
        return prompt.text + (response if isinstance(response, str) else text_of(response)) + prompt.end_of_turn

    def _split(self, prompt: Prompt, rendered: tuple[str, Sequence[int]] | None) -> Prompt:
        """The prompt with its shared text cut at the last marker, and tokenised up to there."""
        shared = prompt.shared_text
        prompt = replace(prompt, characters=len(shared))
        markers = list(self._marker_pattern.finditer(shared)) if self._marker_pattern else []
        if not markers:
            return replace(prompt, shared_text="", least_tokens=len(self._encode(shared)))
        start, end = markers[-1].span()
        tokens = self._known(shared[:end], [marker[0] for marker in markers], rendered)
        tokens = tuple(self._encode(shared[:end])) if tokens is None else tokens
        # what follows the marker, a role's name say, adds few tokens or none
        return replace(
            prompt, shared_text=shared[:start], marker=shared[start:end], shared_tokens=tokens, least_tokens=len(tokens)
        )

    def _known(
        self, text: str, markers: Sequence[str], rendered: tuple[str, Sequence[int]] | None
    ) -> tuple[int, ...] | None:
        """The ids of `text`, which ends with the last of its markers, from those of a text that begins with it."""
        if rendered is None or not rendered[0].startswith(text):
            return None
        wanted, ids = [self._marker_ids[marker] for marker in markers], rendered[1]
        marking = frozenset(self._marker_ids.values())
        places = list(islice((place for place, token in enumerate(ids) if token in marking), len(wanted)))
        same = [ids[place] for place in places] == wanted
        return tuple(ids[: places[-1] + 1]) if same else None

    def _used(self, plain: Sequence[Message], offered: Mapping[str, Any]) -> dict[str, Any]:
        """The variables to render with: all, but for content that makes no difference, and what the template refuses.

        How many renderings that takes does not depend on how many a client offers.
        """
        if not offered:
            return {}
        others = {name: value for name, value in offered.items() if name not in _CONTENT}
        without = self._render(plain, _PROBES[0])
        used: dict[str, Any] = {}
        for name in _CONTENT:
            with suppress(ValueError):
                if name in offered and self._render(plain, _PROBES[0], {name: offered[name]}) != without:
                    used[name] = offered[name]
        with suppress(ValueError):
            self._render(plain, _PROBES[0], others | used)
            return others | used
        return used

    def _render(self, messages: Sequence[Message], response: Reply, variables: Mapping[str, Any] = _NOTHING) -> str:
        answer = {"content": response} if isinstance(response, str) else response
        conversation: Any = [*messages, {"role": "assistant", **answer}]
        try:
            return str(self.tokenizer.apply_chat_template(conversation, tokenize=False, **variables))
        except (TemplateError, TypeError, KeyError) as error:
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


def _markers(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Special tokens in the order in which the tokenizer finds them at one place: longest first. Empty where splitting
    is not known to be safe.

    A token that begins another one is left out: whether it matches depends on the text that follows.
    """
    if not tokenizer.is_fast:
        return []
    added = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    special = {str(t) for t in tokenizer.added_tokens_decoder.values() if t.special and not t.normalized}
    safe = [t for t in special if t and not any(other != t and other.startswith(t) for other in added)]
    return sorted(safe, key=len, reverse=True)


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


def _has_other_parts(message: Message) -> bool:
    """Whether parts of it are no text."""
    content = message.get("content")
    return not isinstance(content, str | None) and any(
        isinstance(part, Mapping) and part.get("text") is None for part in content
    )
