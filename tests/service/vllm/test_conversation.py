"""The one way from a request to the conversation that the reward model reads: one test for each shape of a request.

Requests are rendered by vLLM's own application code, over the bundled policy's tokenizer; no engine is started.
"""

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.renderers import renderer_from_config
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.sampling_params import SamplingParams, StructuredOutputsParams

from reward.conversation import Answer, Conversation
from reward.template import ConversationTemplate
from service.rerank.errors import InvalidRequest
from service.vllm.conversation import ConversationRenderer, Conversations, _or_all, wants_whole
from tests.service.fakes import make_ask
from training.labs import checkpoint

SYSTEM: Any = {"role": "system", "content": "Show your steps."}
QUESTION: Any = {"role": "user", "content": "What is 1+1?"}
ANSWER: Any = {"role": "assistant", "content": "It is 2."}
TOOL: Any = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {"type": "object"}}}
NO_TOOLS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"


def parts(*texts: str) -> list[Mapping[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


@dataclass(frozen=True)
class Door:
    """Everything between a request and `RerankingEngine.generate`."""

    online: OnlineRenderer
    conversations: Conversations
    tokenizer: PreTrainedTokenizerBase

    async def prompt(self, endpoint: str, body: Mapping[str, Any]) -> Any:
        """What vLLM's application makes of a request."""
        if endpoint == "completions":
            rendered: Any = await self.online.render_completion(CompletionRequest(**body))
        elif endpoint == "responses":
            rendered = [(await self.online.render_responses(ResponsesRequest(**body))).engine_input]  # type: ignore[union-attr]
        elif endpoint == "messages":
            request = AnthropicServingMessages.to_chat_completion_request(AnthropicMessagesRequest(**body))
            _, rendered = cast(Any, await self.online.render_chat(request))
        else:
            _, rendered = cast(
                Any, await self.online.render_chat(ChatCompletionRequest(max_completion_tokens=9, **body))
            )
        return rendered[0]

    async def read(
        self, endpoint: str, body: Mapping[str, Any], rerank: Mapping[str, Any] | None = None
    ) -> Conversation:
        ask = make_ask({**body, "rerank": dict(rerank or {})}, endpoint=endpoint)
        return await self.conversations.of(await self.prompt(endpoint, body), ask)

    async def text(self, endpoint: str, body: Mapping[str, Any], rerank: Mapping[str, Any] | None = None) -> str:
        """What the reward model reads where a candidate says "X"."""
        conversation = await self.read(endpoint, body, rerank)
        return scored_text(conversation, ConversationTemplate(self.tokenizer))


def scored_text(conversation: Conversation, template: ConversationTemplate, candidate: str = "X") -> str:
    prompt = conversation.prompt(template)
    answer = conversation.read(candidate, True)
    text: Any = template.tokenizer.decode(template.tokens(prompt, conversation.reply(answer, candidate)))
    return str(text)


@pytest.fixture(scope="module")
def renderer() -> Any:
    args = AsyncEngineArgs(model=str(checkpoint("arithmetic-sft")), enforce_eager=True)
    return renderer_from_config(args.create_engine_config())


def door_over(renderer: Any, template: ConversationTemplate, args: Namespace | None = None) -> Door:
    online = OnlineRenderer(
        renderer.model_config,
        cast(Any, ConversationRenderer(renderer)),
        request_logger=None,
        chat_template=None,
        chat_template_content_format="auto",
        enable_auto_tools=True,
        tool_parser="hermes",
    )
    engine = SimpleNamespace(get_tokenizer=renderer.get_tokenizer, model_config=renderer.model_config)
    return Door(online, Conversations(engine, template, args), template.tokenizer)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(checkpoint("arithmetic-reward")))


@pytest.fixture(scope="module")
def door(renderer: Any, tokenizer: PreTrainedTokenizerBase) -> Door:
    return door_over(renderer, ConversationTemplate(tokenizer))


ASKED = "<|user|>What is 1+1?<|end|><|assistant|>"
CONTINUED = {"continue_final_message": True, "add_generation_prompt": False}


# -- chat, and what is chat in other words


@pytest.mark.parametrize(
    ("endpoint", "body", "text"),
    [
        ("chat", {"messages": [QUESTION]}, f"{ASKED}X"),
        ("chat", {"messages": [SYSTEM, QUESTION]}, f"<|system|>Show your steps.<|end|>{ASKED}X"),
        ("chat", {"messages": [QUESTION, ANSWER, QUESTION]}, f"{ASKED}It is 2.<|end|>{ASKED}X"),
        ("chat", {"messages": [{"role": "user", "content": parts("What is ", "1+1?")}]}, f"{ASKED}X"),
        ("chat", {"messages": [QUESTION, ANSWER], **CONTINUED}, f"{ASKED}It is 2.X"),
        (
            "chat",
            {"messages": [QUESTION, {**ANSWER, "content": parts("It is ", "2.")}], **CONTINUED},
            f"{ASKED}It is 2.X",
        ),
        (
            "chat",
            {"messages": [QUESTION, ANSWER], "add_generation_prompt": False},
            f"{ASKED}It is 2.<|end|><|assistant|>X",
        ),
        (
            "chat",
            {"messages": [QUESTION, {**ANSWER, "reasoning": "One and one."}, QUESTION]},
            f"{ASKED}It is 2.<|end|>{ASKED}X",
        ),
        ("chat", {"messages": [QUESTION], "tools": [TOOL], "tool_choice": "auto"}, None),
        ("responses", {"input": "What is 1+1?"}, f"{ASKED}X"),
        (
            "responses",
            {"input": "What is 1+1?", "instructions": "Show your steps."},
            f"<|system|>Show your steps.<|end|>{ASKED}X",
        ),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "What is 1+1?"}]}]},
            f"{ASKED}X",
        ),
        ("messages", {"model": "a", "max_tokens": 9, "messages": [QUESTION]}, f"{ASKED}X"),
        (
            "messages",
            {"model": "a", "max_tokens": 9, "messages": [QUESTION], "system": "Show your steps."},
            f"<|system|>Show your steps.<|end|>{ASKED}X",
        ),
    ],
    ids=[
        "question",
        "system",
        "turns",
        "parts",
        "prefix",
        "prefix in parts",
        "after an answer",
        "reasoning",
        "tools",
        "responses",
        "instructions",
        "responses in parts",
        "messages",
        "messages with a system",
    ],
)
async def test_the_reward_model_reads_what_was_asked(
    door: Door, endpoint: str, body: Mapping[str, Any], text: str | None
) -> None:
    tools = f"<|system|>Tools: {json.dumps([TOOL])}<|end|>"
    conversation = await door.read(endpoint, body)
    assert (conversation.scored_as, conversation.bare) == ("conversation", False)
    read = await door.text(endpoint, body)
    if text is None:
        name, _, asked = read.partition("<|end|>")
        offered = json.loads(name.removeprefix("<|system|>Tools: "))
        assert [tool["function"]["name"] for tool in offered] == ["add"], tools
        assert asked == f"{ASKED}X<|end|>"
    else:
        assert read == f"{text}<|end|>"


@pytest.mark.parametrize(
    ("endpoint", "param"),
    [("chat", "messages"), ("responses", "input"), ("messages", "messages"), ("completions", "prompt")],
)
async def test_the_field_that_it_came_from_is_known(door: Door, endpoint: str, param: str) -> None:
    bodies: dict[str, Any] = {
        "chat": {"messages": [QUESTION]},
        "responses": {"input": "hi"},
        "messages": {"model": "a", "max_tokens": 9, "messages": [QUESTION]},
        "completions": {"prompt": "hi"},
    }
    assert (await door.read(endpoint, bodies[endpoint])).param == param


async def test_a_tenants_salt_comes_along(door: Door) -> None:
    for endpoint, body in (("chat", {"messages": [QUESTION]}), ("completions", {"prompt": "hi"})):
        assert (await door.read(endpoint, body)).cache_salt is None
        assert (await door.read(endpoint, {**body, "cache_salt": "mine"})).cache_salt == "mine"


async def test_the_tokens_of_the_generator_are_the_reward_models_where_both_read_alike(door: Door) -> None:
    template = ConversationTemplate(door.tokenizer)
    for body in ({"messages": [SYSTEM, QUESTION]}, {"messages": [QUESTION], "tools": [TOOL], "tool_choice": "auto"}):
        conversation = await door.read("chat", body)
        assert conversation.rendered is not None
        shared = conversation.prompt(template).shared_tokens
        encode, template._encode = template._encode, None  # type: ignore[method-assign, assignment]
        assert conversation.prompt(template).shared_tokens == shared
        template._encode = encode  # type: ignore[method-assign]
    assert (await door.read("chat", {"messages": [QUESTION], "truncate_prompt_tokens": 5})).rendered is None
    assert (await door.read("chat", {"messages": [QUESTION], "add_special_tokens": True})).rendered is None


# -- tools and documents that the reward model's template has no place for


async def test_tools_that_its_template_does_not_render_are_left_out_and_named(door: Door) -> None:
    body = {"messages": [QUESTION], "tools": [TOOL], "tool_choice": "auto"}
    conversation = await door.read("chat", body)
    assert [tool["function"]["name"] for tool in conversation.tools] == ["add"]
    assert conversation.prompt(ConversationTemplate(door.tokenizer)).left_out == ()
    plain = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(checkpoint("arithmetic-reward")))
    plain.chat_template = NO_TOOLS
    template = ConversationTemplate(plain)
    assert conversation.prompt(template).left_out == ("tools",)
    assert scored_text(conversation, template) == f"{ASKED}X<|end|>"
    documents = await door.read("chat", {"messages": [QUESTION], "documents": [{"title": "a", "text": "b"}]})
    assert documents.prompt(template).left_out == ("documents",)


async def test_what_the_client_gives_its_template_reaches_the_reward_models(door: Door) -> None:
    conversation = await door.read("chat", {"messages": [QUESTION], "chat_template_kwargs": {"mood": "kind", "x": 1}})
    moody = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(checkpoint("arithmetic-reward")))
    moody.chat_template = "{% if mood %}<|system|>{{ mood }}<|end|>{% endif %}" + NO_TOOLS
    assert scored_text(conversation, ConversationTemplate(moody)) == f"<|system|>kind<|end|>{ASKED}X<|end|>"


# -- completions


@pytest.mark.parametrize("as_ids", [False, True], ids=["text", "ids"])
@pytest.mark.parametrize(
    ("messages", "begun"),
    [
        ([QUESTION], ""),
        ([SYSTEM, QUESTION], ""),
        ([QUESTION, ANSWER, QUESTION], ""),
        ([QUESTION, ANSWER, {"role": "tool", "content": "2"}], ""),
        ([QUESTION], "It is"),
    ],
    ids=["question", "system", "turns", "tool", "begun"],
)
async def test_a_rendered_chat_is_the_conversation_that_it_was_made_of(
    door: Door, messages: Any, begun: str, *, as_ids: bool
) -> None:
    text = str(door.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)) + begun
    prompt: Any = door.tokenizer(text, add_special_tokens=False)["input_ids"] if as_ids else text
    conversation = await door.read("completions", {"prompt": prompt})
    assert (list(conversation.messages), conversation.answer_start) == (messages, begun)
    assert (conversation.scored_as, conversation.bare) == ("rendered", False)
    assert await door.text("completions", {"prompt": prompt}) == f"{text}X<|end|>"


@pytest.mark.parametrize("prompt", ["What is 1+1?", [87, 104]], ids=["text", "ids"])
async def test_a_bare_prompt_is_one_message_of_a_user(door: Door, prompt: Any) -> None:
    conversation = await door.read("completions", {"prompt": prompt})
    text = prompt if isinstance(prompt, str) else door.tokenizer.decode(prompt)
    assert conversation.messages == ({"role": "user", "content": text},)
    assert (conversation.scored_as, conversation.bare) == ("conversation", True)


async def test_a_prompt_with_turns_that_no_conversation_renders_into_is_read_as_it_stands(door: Door) -> None:
    for prompt in ("<|user|>a<|user|>b<|end|><|assistant|>", f"{ASKED}It is 2.<|end|>", "<|tool|>b<|end|>"):
        assert (await door.read("completions", {"prompt": prompt})).scored_as == "text"
        assert await door.text("completions", {"prompt": prompt}) == f"{prompt}X<|end|>"


async def test_the_request_may_give_the_conversation(door: Door) -> None:
    rerank = {"conversation": [SYSTEM, QUESTION]}
    conversation = await door.read("completions", {"prompt": "whatever it was rendered into"}, rerank)
    assert (list(conversation.messages), conversation.scored_as) == ([SYSTEM, QUESTION], "conversation")
    begun = await door.text("completions", {"prompt": "x"}, {"conversation": [QUESTION, ANSWER]})
    assert begun == f"{ASKED}It is 2.X<|end|>"


@pytest.mark.parametrize(
    ("endpoint", "body"), [("chat", {"messages": [QUESTION]}), ("completions", {"prompt": ["a", "b"]})]
)
def test_a_request_that_has_its_conversation_may_not_give_another(endpoint: str, body: Any) -> None:
    with pytest.raises(InvalidRequest, match="one prompt of /v1/completions") as caught:
        make_ask({**body, "rerank": {"conversation": [QUESTION]}}, endpoint=endpoint)
    assert caught.value.param == "rerank.conversation"


async def test_embeddings_cannot_be_scored(door: Door) -> None:
    with pytest.raises(InvalidRequest, match="cannot be scored") as caught:
        await door.conversations.of({"prompt_embeds": object()}, make_ask({"rerank": {}}, endpoint="completions"))
    assert caught.value.param == "prompt_embeds"


# -- what is worth nothing when it is cut off


async def test_a_schema_a_grammar_or_a_tool_call_wants_a_whole_answer(door: Door) -> None:
    chat = await door.prompt("chat", {"messages": [QUESTION]})
    tools = await door.prompt("chat", {"messages": [QUESTION], "tools": [TOOL], "tool_choice": "auto"})
    declined = await door.prompt("chat", {"messages": [QUESTION], "tools": [TOOL], "tool_choice": "none"})
    plain, schema = (
        SamplingParams(),
        SamplingParams(structured_outputs=StructuredOutputsParams(json={"type": "object"})),
    )
    assert [wants_whole(prompt, plain) for prompt in (chat, tools, declined, {"prompt": "hi"})] == [
        False,
        True,
        False,
        False,
    ]
    assert wants_whole(chat, schema)


# -- answers


async def test_answers_are_read_by_the_parsers_of_the_server(renderer: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    args = Namespace(
        chat_template=None,
        enable_auto_tool_choice=True,
        tool_call_parser="hermes",
        structured_outputs_config=SimpleNamespace(reasoning_parser=""),
    )
    door = door_over(renderer, ConversationTemplate(tokenizer), args)
    body = {"messages": [QUESTION], "tools": [TOOL], "tool_choice": "auto"}
    conversation = await door.read("chat", body)
    called = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    text = scored_text(conversation, ConversationTemplate(tokenizer), called)
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    assert text.endswith(f"{ASKED}{json.dumps([call])}<|end|>")
    assert conversation.read(called[:30], False).content == called[:30]
    bare = await door.read("completions", {"prompt": "hi"})
    assert bare.read(called, True).content == called


def test_an_answer_to_a_prompt_that_ended_the_thinking_is_no_thought() -> None:
    reads = _or_all(lambda text, finished: Answer("", reasoning=text))
    assert reads("The answer is 2.", True) == Answer("The answer is 2.")
    assert reads("The answer", False) == Answer("", reasoning="The answer")
