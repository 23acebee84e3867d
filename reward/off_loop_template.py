"""A reward model's template beside an event loop: long conversations are rendered and tokenised off it."""

from reward.conversation import Conversation
from reward.off_loop import OffLoop, characters
from reward.template import ConversationTemplate, Prompt, Reply


class OffLoopTemplate:
    """template: whose tokenizer is used in one other thread, and on the loop for what is short."""

    def __init__(self, template: ConversationTemplate) -> None:
        self._template = template
        self._off_loop = OffLoop()

    async def prompt(self, conversation: Conversation) -> Prompt:
        """The conversation in the template. Raises ValueError when the template refuses it."""
        return await self._off_loop.run(lambda: conversation.prompt(self._template), conversation.characters)

    async def tokens(self, prompt: Prompt, response: Reply, *, finished: bool) -> list[int]:
        """See `ConversationTemplate.tokens`."""
        size = prompt.characters + characters(response)
        return await self._off_loop.run(lambda: self._template.tokens(prompt, response, finished=finished), size)
