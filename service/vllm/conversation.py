"""The one way from a request to the conversation that the reward model reads.

vLLM's application renders every chat through the engine client's `renderer`; ours is a proxy that lets each prompt
carry the conversation that it was made of. What comes without one is a prompt that the client wrote or rendered itself.
"""

import copy
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedTokenizerBase
from vllm.renderers.chat_utils import load_chat_template
from vllm.sampling_params import SamplingParams

from reward.conversation import Answer, Conversation
from reward.off_loop import OffLoop
from reward.rendered import RenderedPrompts
from reward.template import ConversationTemplate, Message, text_of
from service.rerank.errors import InvalidRequest
from service.rerank.request import Ask, Endpoint
from service.vllm.answers import AnswerParsers

_CONVERSATION = "bestofn_conversation"  # a key of the prompts that our renderer gives out
# Of what a chat template is called with, the part that is about how, and not about what.
_NOT_CONTENT = {
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
    "conversation",
    "return_dict",
    "tokenize",
    "tools",
}
_FIELDS: Mapping[Endpoint, str] = {"completions": "prompt", "responses": "input"}


@dataclass(frozen=True)
class _Rendered:
    """What the renderer knows of a prompt. tool_choice: of the request, None without tools."""

    conversation: Conversation
    tool_choice: Any
    plain: bool  # tokenised as it was rendered: whole, and with nothing added


class ConversationRenderer:
    """vLLM's renderer, through which every chat passes; each prompt carries the conversation that it was made of."""

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    async def render_chat_async(
        self, messages: Any, chat_params: Any, tok_params: Any = None, *args: Any, **options: Any
    ) -> Any:
        rendered = await self._renderer.render_chat_async(messages, chat_params, tok_params, *args, **options)
        conversations, prompts = rendered
        cut = getattr(tok_params, "truncate_prompt_tokens", None) is not None
        plain = tok_params is not None and not cut and not tok_params.add_special_tokens
        for conversation, prompt in zip(conversations, prompts, strict=True):
            kwargs = chat_params.chat_template_kwargs
            prompt[_CONVERSATION] = _Rendered(_conversation(conversation, kwargs), chat_params.tool_choice, plain)
        return rendered


def _conversation(messages: Sequence[Message], kwargs: Mapping[str, Any]) -> Conversation:
    """With `continue_final_message` the last message is how the answer begins, not a turn of its own."""
    last = messages[-1] if messages else {}
    continued = kwargs.get("continue_final_message") and last.get("role") == "assistant"
    return Conversation(
        tuple(messages[:-1] if continued else messages),
        answer_start=text_of(last) if continued else "",
        tools=tuple(kwargs.get("tools") or ()),
        variables={name: value for name, value in kwargs.items() if name not in _NOT_CONTENT},
    )


def wants_whole(prompt: Mapping[str, Any], params: SamplingParams) -> bool:
    """An answer that was cut off is worth nothing: a schema, a grammar or a tool call is asked for."""
    rendered = prompt.get(_CONVERSATION)
    offered = rendered is not None and bool(rendered.conversation.tools) and rendered.tool_choice != "none"
    return params.structured_outputs is not None or offered


class Conversations:
    """What the requests of one server are about.

    engine: the generator. template: the reward model's, where there is one. args: of vLLM's command line; None: as they
    are by default.
    """

    def __init__(self, engine: Any, template: ConversationTemplate | None, args: Namespace | None = None) -> None:
        self._tokenizer = copy.deepcopy(engine.get_tokenizer())  # vLLM's threads have theirs
        self._template = template
        self._answers = None if args is None else AnswerParsers(args, engine.get_tokenizer(), engine.model_config)
        self._off_loop = OffLoop()
        is_known = isinstance(self._tokenizer, PreTrainedTokenizerBase)
        own_template = load_chat_template(args.chat_template) if args is not None else None
        self._prompts = RenderedPrompts(self._tokenizer, own_template) if is_known else None
        self._same_ids = is_known and template is not None and template.reads_as(self._tokenizer)

    async def of(self, prompt: Mapping[str, Any], ask: Ask) -> Conversation:
        """The conversation that a prompt of a request belongs to. Raises InvalidRequest for one that holds no text."""
        rendered = prompt.get(_CONVERSATION)
        if ask.options.conversation is not None:
            conversation, tool_choice = _given([one.model_dump() for one in ask.options.conversation]), None
        elif rendered is not None:
            conversation, tool_choice = rendered.conversation, rendered.tool_choice
            if self._same_ids and rendered.plain and prompt.get("type") == "token" and prompt.get("prompt"):
                conversation = replace(conversation, rendered=(prompt["prompt"], prompt["prompt_token_ids"]))
        else:
            conversation, tool_choice = await self._off_loop.run(lambda: self._read(prompt), _size(prompt)), None
        if self._answers is not None and not conversation.bare:
            reads = self._answers.reader(conversation.tools, tool_choice, conversation.variables)
            if reads is not None:
                reads = reads if rendered is not None else _or_all(reads)
                conversation = replace(conversation, read=reads)
        return replace(
            conversation,
            param=_FIELDS.get(ask.endpoint, "messages"),
            cache_salt=prompt.get("cache_salt"),
            score_reasoning=ask.options.score_reasoning,
        )

    def _read(self, prompt: Mapping[str, Any]) -> Conversation:
        """Of a prompt that came as text or as token ids."""
        text = prompt.get("prompt")
        if text is None:
            if "prompt_token_ids" not in prompt:
                raise InvalidRequest("a prompt given as embeddings cannot be scored", param="prompt_embeds")
            text = self._tokenizer.decode(prompt["prompt_token_ids"])
        if self._prompts is not None and (read := self._prompts.read(text)) is not None:
            return Conversation(read.messages, answer_start=read.answer_start, scored_as="rendered")
        if self._prompts is not None and self._prompts.looks_rendered(text):
            return Conversation((), text=text, scored_as="text")
        return Conversation(({"role": "user", "content": text},), bare=True)


def _given(messages: Sequence[Message]) -> Conversation:
    """As `rerank.conversation` has it; where an assistant has the last word, the answer goes on from there."""
    return _conversation(messages, {"continue_final_message": True})


def _or_all(reads: Callable[[str, bool], Answer]) -> Callable[[str, bool], Answer]:
    """A prompt that came as text may have ended the thinking already, which no parser can know: then all is answer."""

    def read(text: str, finished: bool) -> Answer:
        answer = reads(text, finished)
        return answer if answer.content or answer.tool_calls or not finished else Answer(text)

    return read


def _size(prompt: Mapping[str, Any]) -> int:
    return len(prompt.get("prompt") or prompt.get("prompt_token_ids") or ())
