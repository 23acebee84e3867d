"""What a candidate answers, as the reward model reads it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from reward.off_loop import characters
from reward.template import ConversationTemplate, Message, Prompt, Reply

# conversation: messages, as the request gave them; a bare prompt is one message of a user. rendered: messages read back
# from a prompt that a chat template has made. text: prompt and answer as they stand.
ScoredAs = Literal["conversation", "rendered", "text"]


@dataclass(frozen=True)
class Answer:
    """What a candidate says, taken apart."""

    content: str
    reasoning: str = ""  # that came before it
    tool_calls: tuple[Mapping[str, Any], ...] = ()  # as a chat template takes them

    @property
    def only_thought(self) -> bool:
        """It has thought, and not come to an answer."""
        return bool(self.reasoning) and not self.content and not self.tool_calls


def as_it_stands(text: str, finished: bool) -> Answer:
    """The answer of a model whose text is all answer."""
    return Answer(text)


@dataclass(frozen=True)
class Conversation:
    """What the reward model reads, up to where a candidate goes on."""

    messages: tuple[Message, ...]  # up to the answer
    answer_start: str = ""  # what the client has written of the answer already
    tools: tuple[Mapping[str, Any], ...] = ()  # offered to the policy
    # Variables of the chat template beside messages and tools: `documents` and the like.
    variables: Mapping[str, Any] = field(default_factory=dict)
    scored_as: ScoredAs = "conversation"
    text: str = ""  # with "text": the prompt
    bare: bool = False  # its only message is a prompt that came as text
    param: str = "messages"  # the field of the request that it came from
    cache_salt: str | None = None  # who shares what is computed of it: see vLLM's field of this name
    # The generator's prompt and its ids, where the reward model's tokenizer would give the same ids.
    rendered: tuple[str, Sequence[int]] | None = field(default=None, compare=False)
    score_reasoning: bool = False  # the reward model reads what a candidate thinks too
    # Of a text, and whether all of it is there.
    read: Callable[[str, bool], Answer] = field(default=as_it_stands, compare=False)
    left_out: tuple[str, ...] = ()  # what the reward model's template has no place for

    @property
    def characters(self) -> int:
        """About how much there is to render."""
        return characters(self.text, self.messages, self.tools, self.variables)

    def prompt(self, template: ConversationTemplate) -> Prompt:
        """Rendered for the reward model. Raises ValueError when the template refuses it."""
        if self.scored_as == "text":
            return template.text_prompt(self.text, cache_salt=self.cache_salt)
        return template.prompt(
            self.messages,
            tools=self.tools,
            variables=self.variables,
            cache_salt=self.cache_salt,
            rendered=self.rendered,
        )

    def reply(self, answer: Answer, text: str) -> Reply:
        """What of a candidate is scored. text: all that it has written."""
        if self.score_reasoning:
            return self.answer_start + text
        if answer.tool_calls:
            return {"content": self.answer_start + answer.content, "tool_calls": list(answer.tool_calls)}
        return self.answer_start + answer.content
