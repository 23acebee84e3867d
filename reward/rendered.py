"""Reads a prompt that a chat template has rendered back into the messages that it was made of.

Agents and trainers render chats themselves and send text or token ids. What stands between the turns is learned from
the template by probes; what is read is believed only where the template renders it into the same prompt again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reward.template import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBES = ("Qx", "Zy", "Kj", "Wv")  # contents that no template holds, or changes
_START = ""  # stands for no role: what a prompt begins with leads from it
# The turns whose neighbours show what stands between two roles, each as templates like to have them.
_TURNS: Sequence[Sequence[str]] = (
    ("user", "assistant", "user"),
    ("system", "user", "assistant"),
    ("user", "assistant", "user", "assistant"),
    ("user", "user"),
    ("user", "assistant", "assistant", "user"),
    ("system", "assistant", "user"),
    ("user", "system", "user"),
    ("user", "assistant", "system", "user"),
    ("user", "assistant", "tool", "assistant"),
)
# What a template may be told of the generation prompt, which a client that renders has told it.
_VARIANTS: Sequence[Mapping[str, Any]] = ({}, {"enable_thinking": False}, {"enable_thinking": True})


@dataclass(frozen=True)
class Read:
    """answer_start: what follows the prompt for an answer: of the answer, its beginning."""

    messages: tuple[Message, ...]
    answer_start: str


@dataclass(frozen=True)
class _Leads:
    """What may end a turn of some role, and whose turn it leads to."""

    pattern: re.Pattern[str]
    to: Mapping[str, str]


class RenderedPrompts:
    """tokenizer: of the model that the prompts are for. chat_template: in place of its own."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", chat_template: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._template = chat_template
        self._bos = str(tokenizer.bos_token or "")
        self._between = self._learn() if chat_template or tokenizer.chat_template else {}
        self._leads = {role: self._leads_from(role) for role, _ in self._between}
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special} - {self._bos}
        markers = {token for texts in self._between.values() for text in texts for token in special if token in text}
        self._markers = re.compile("|".join(map(re.escape, sorted(markers)))) if markers else None

    def looks_rendered(self, text: str) -> bool:
        """It holds special tokens that the template puts between turns."""
        return self._markers is not None and self._markers.search(text) is not None

    def read(self, text: str) -> Read | None:
        """None where no conversation renders into it, or only one whose contents hold turns of their own."""
        text = self._without_bos(text)
        for messages in self._parses(text):
            renderings = [one for variant in _VARIANTS if text.startswith(one := self._prompt(messages, variant))]
            if any(renderings):
                read = Read(tuple(messages), text[max(map(len, renderings)) :])
                contents = [*(message["content"] for message in messages), read.answer_start]
                return None if any(map(self.looks_rendered, contents)) else read
        return None

    def _prompt(self, messages: Sequence[Message], variant: Mapping[str, Any]) -> str:
        """Empty where the template refuses the messages."""
        try:
            return self._without_bos(self._render(messages, add_generation_prompt=True, **variant)) if messages else ""
        except ValueError:
            return ""

    def _learn(self) -> dict[tuple[str, str], list[str]]:
        """What stands between the content of one role and that of the next, by both; the longest first."""
        between: dict[tuple[str, str], set[str]] = {}
        for roles in _TURNS:
            contents = _PROBES[: len(roles)]
            messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
            with suppress(ValueError):
                pieces = re.split("|".join(contents), self._render(messages, add_generation_prompt=False))
                if len(pieces) == len(roles) + 1:
                    for pair, text in zip(zip((_START, *roles), roles, strict=False), pieces, strict=False):
                        between.setdefault(pair, set()).add(self._without_bos(text) if pair[0] == _START else text)
        return {pair: sorted(filter(None, texts), key=len, reverse=True) for pair, texts in between.items()}

    def _leads_from(self, role: str) -> "_Leads":
        ways = [(lead, after) for (before, after), texts in self._between.items() if before == role for lead in texts]
        to = dict(sorted(ways, key=lambda way: way[1] == "assistant"))  # where two begin alike: an assistant's
        return _Leads(re.compile("|".join(map(re.escape, sorted(to, key=len, reverse=True)))), to)

    def _parses(self, text: str) -> Iterator[list[dict[str, str]]]:
        """What the text may have been made of, by where it starts; an assistant's last turn may be the answer's."""
        starts = [(start, role) for (before, role), texts in self._between.items() if not before for start in texts]
        for start, role in sorted(starts, key=lambda one: -len(one[0])):
            if text.startswith(start):
                messages = self._turns(text, len(start), role)
                yield messages
                if messages[-1]["role"] == "assistant":
                    yield messages[:-1]

    def _turns(self, text: str, begins: int, role: str) -> list[dict[str, str]]:
        """Messages from the content of the first on: a turn lasts until the next text that leads to another."""
        messages = []
        while True:
            leads = self._leads.get(role)
            found = leads.pattern.search(text, begins) if leads else None
            messages.append({"role": role, "content": text[begins : found.start() if found else None]})
            if leads is None or found is None:
                return messages
            begins, role = found.end(), leads.to[found[0]]

    def _render(self, messages: Sequence[Message], **options: Any) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    list(messages),  # type: ignore[arg-type]
                    tokenize=False,
                    chat_template=self._template,
                    **options,
                )
            )
        except Exception as error:  # templates may raise anything; this one is not to be learned from
            raise ValueError(str(error)) from error

    def _without_bos(self, text: str) -> str:
        return text.removeprefix(self._bos)
