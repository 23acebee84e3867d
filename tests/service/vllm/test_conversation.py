"""The one way from a request to the conversation that the reward model reads."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from reward.conversation import Conversation
from service.rerank.errors import InvalidRequest
from tests.service.fakes import says
from tests.service.vllm.fake_engine import FakeEngine
from tests.service.vllm.test_client import QUESTION, params, read, request, reranking, two

BEGUN = {"role": "assistant", "content": "It is "}


@pytest.mark.parametrize(
    ("messages", "options", "conversation"),
    [
        ([QUESTION], {}, Conversation((QUESTION,))),
        ([QUESTION, BEGUN], {}, Conversation((QUESTION, BEGUN))),
        ([QUESTION, BEGUN], {"continue_final_message": True}, Conversation((QUESTION,), answer_start="It is ")),
        (
            [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
            {"continue_final_message": True},
            Conversation(({"role": "user", "content": [{"type": "text", "text": "hi"}]},)),
        ),
        (
            [
                QUESTION,
                {"role": "assistant", "content": [{"type": "text", "text": "It "}, {"type": "text", "text": "is "}]},
            ],
            {"continue_final_message": True},
            Conversation((QUESTION,), answer_start="It is "),
        ),
        ([], {"continue_final_message": True}, Conversation(())),
    ],
    ids=["question", "turns", "begun", "parts", "begun in parts", "empty"],
)
async def test_a_rendered_prompt_says_what_it_was_made_of(
    messages: Sequence[Any], options: Mapping[str, Any], conversation: Conversation
) -> None:
    engine = two()
    reranked = reranking(engine)
    chat = SimpleNamespace(chat_template_kwargs=options)
    conversations, (prompt,) = await reranked.renderer.render_chat_async([messages], chat, None)
    assert (conversations, prompt["prompt"]) == ([messages], "rendered 0")
    with request({"best_of": 2}) as context:
        await read(reranked.generate(prompt, params(), "id"))
    assert context.ledgers[0].conversation == conversation


async def test_prompts_that_are_rendered_together_keep_their_own_conversations() -> None:
    reranked = reranking(FakeEngine(*[says("a")] * 4))
    chat = SimpleNamespace(chat_template_kwargs={})
    _, prompts = await reranked.renderer.render_chat_async([[QUESTION], [QUESTION, BEGUN]], chat)
    with request({"best_of": 2}) as context:
        for prompt in prompts:
            await read(reranked.generate(prompt, params(), "id"))
    assert [len(ledger.conversation.messages) for ledger in context.ledgers] == [1, 2]


@pytest.mark.parametrize("prompt", [{"prompt": "hi", "prompt_token_ids": [1]}, {"prompt_token_ids": [104, 105]}])
async def test_a_bare_prompt_is_one_message_of_a_user(prompt: Mapping[str, Any]) -> None:
    with request({"best_of": 2}, endpoint="completions") as context:
        await read(reranking(two()).generate(prompt, params(), "id"))
    assert context.ledgers[0].conversation == Conversation(({"role": "user", "content": "hi"},))


async def test_embeddings_are_refused_by_name_and_only_where_they_would_be_scored() -> None:
    embeddings, engine = {"prompt_embeds": object()}, two()
    with request({"best_of": 2}, endpoint="completions") as context:
        with pytest.raises(InvalidRequest, match="cannot be scored") as caught:
            await read(reranking(engine).generate(embeddings, params(), "id"))
        assert (caught.value.param, context.error, engine.calls) == ("prompt_embeds", caught.value, [])
    with request({}, endpoint="completions") as context:
        assert await read(reranking(engine).generate(embeddings, params(), "id")) == ["a"]
