"""The one way from a request to the conversation that the reward model reads.

vLLM's application renders every chat through the engine client's `renderer`; ours is a proxy that lets each prompt
carry the conversation that it was made of. What comes without one is a bare prompt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reward.conversation import Conversation
from reward.template import Message, text_of
from service.rerank.errors import InvalidRequest

_CONVERSATION = "bestofn_conversation"  # a key of the prompts that our renderer gives out


class ConversationRenderer:
    """vLLM's renderer, through which every chat passes; each prompt carries the conversation that it was made of."""

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    async def render_chat_async(self, messages: Any, chat_params: Any, *args: Any, **options: Any) -> Any:
        conversations, prompts = await self._renderer.render_chat_async(messages, chat_params, *args, **options)
        for conversation, prompt in zip(conversations, prompts, strict=True):
            prompt[_CONVERSATION] = _conversation(conversation, chat_params.chat_template_kwargs)
        return conversations, prompts


def conversation_of(prompt: Mapping[str, Any], tokenizer: Any) -> Conversation:
    """The conversation that was rendered into the prompt, or a bare prompt as one user message.

    tokenizer: the generator's. Raises InvalidRequest for a prompt that holds no text.
    """
    if (conversation := prompt.get(_CONVERSATION)) is not None:
        assert isinstance(conversation, Conversation)
        return conversation
    text = prompt.get("prompt")
    if text is None:
        if "prompt_token_ids" not in prompt:
            raise InvalidRequest("a prompt given as embeddings cannot be scored", param="prompt_embeds")
        text = tokenizer.decode(prompt["prompt_token_ids"])
    return Conversation(({"role": "user", "content": text},))


def _conversation(messages: Sequence[Message], template_options: Mapping[str, Any]) -> Conversation:
    """With `continue_final_message` the last message is how the answer begins, not a turn of its own."""
    last = messages[-1] if messages else {}
    if template_options.get("continue_final_message") and last.get("role") == "assistant":
        return Conversation(tuple(messages[:-1]), answer_start=text_of(last))
    return Conversation(tuple(messages))
