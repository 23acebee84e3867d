"""A template beside an event loop gives what it gives without one."""

import threading
from typing import Any

import pytest

from reward.conversation import Conversation
from reward.off_loop_template import OffLoopTemplate
from reward.template import ConversationTemplate
from training.labs.tokenizer import byte_tokenizer


@pytest.mark.parametrize("length", [10, 20_000])
async def test_it_renders_and_tokenises_as_the_template_does(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    template = ConversationTemplate(byte_tokenizer())
    conversation = Conversation(({"role": "user", "content": "x" * length},))
    prompt = conversation.prompt(template)
    expected = template.tokens(prompt, "2", finished=False)
    threads: set[int] = set()
    tokens = template.tokens

    def noted(*asked: Any, **options: Any) -> list[int]:
        threads.add(threading.get_ident())
        return tokens(*asked, **options)

    monkeypatch.setattr(template, "tokens", noted)
    beside = OffLoopTemplate(template)
    assert await beside.prompt(conversation) == prompt
    assert await beside.tokens(prompt, "2", finished=False) == expected
    assert (threads == {threading.get_ident()}) is (length == 10)
