"""What of a conversation and of a candidate the reward model reads."""

import pytest

from reward.conversation import Answer, Conversation, as_it_stands
from reward.template import ConversationTemplate

QUESTION = {"role": "user", "content": "What is 1+1?"}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
THOUGHT = Answer("2", reasoning="one and one")


def test_a_text_is_all_answer_unless_something_reads_it_otherwise() -> None:
    assert Conversation((QUESTION,)).read("so 2", True) == as_it_stands("so 2", True) == Answer("so 2")


@pytest.mark.parametrize(
    ("conversation", "answer", "reply"),
    [
        (Conversation((QUESTION,)), THOUGHT, "2"),
        (Conversation((QUESTION,), score_reasoning=True), THOUGHT, "<think>one and one</think>2"),
        (Conversation((QUESTION,), answer_start="It is "), THOUGHT, "It is 2"),
        (Conversation((QUESTION,)), Answer("", tool_calls=(CALL,)), {"content": "", "tool_calls": [CALL]}),
        (Conversation((QUESTION,)), Answer(""), ""),
    ],
    ids=["answer", "with thinking", "begun", "tool call", "no answer"],
)
def test_what_of_a_candidate_is_scored(conversation: Conversation, answer: Answer, reply: object) -> None:
    assert conversation.reply(answer, "<think>one and one</think>2") == reply


def test_messages_are_rendered_and_a_rendered_prompt_is_not_rendered_again(template: ConversationTemplate) -> None:
    def read(conversation: Conversation) -> str:
        return str(template.tokenizer.decode(template.tokens(conversation.prompt(template), "2")))

    asked = "<|user|>What is 1+1?<|end|><|assistant|>"
    assert read(Conversation((QUESTION,))) == f"{asked}2<|end|>"
    assert read(Conversation((), text=asked, scored_as="text")) == f"{asked}2<|end|>"


@pytest.mark.parametrize("conversation", [Conversation((QUESTION,)), Conversation((), text="a", scored_as="text")])
def test_the_salt_goes_with_the_prompt(conversation: Conversation, template: ConversationTemplate) -> None:
    salted = Conversation(**{**vars(conversation), "cache_salt": "mine"})
    assert (conversation.prompt(template).cache_salt, salted.prompt(template).cache_salt) == (None, "mine")


def test_its_length_is_about_that_of_all_that_is_rendered() -> None:
    short = Conversation((QUESTION, {"role": "assistant", "content": None}), text="abc")
    assert 15 <= short.characters < 100
    long = "x" * 100_000
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"description": long}}}}}
    calling = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": long}}]}
    for one in (
        Conversation((QUESTION,), tools=(tool,)),
        Conversation((QUESTION,), variables={"documents": [{"text": long}]}),
        Conversation((QUESTION, calling)),
        Conversation(({"role": "user", "content": [{"type": "text", "text": long}]},)),
        Conversation((), text=long),
    ):
        assert one.characters > 16_000
