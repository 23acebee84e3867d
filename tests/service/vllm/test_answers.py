"""A candidate's thinking and tool calls are taken from its answer as vLLM takes them from a winner's."""

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types.responses import ToolChoiceFunction
from tokenizers import AddedToken
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionNamedToolChoiceParam

from reward.conversation import Answer
from service.vllm.answers import AnswerParsers
from training.labs.tokenizer import byte_tokenizer

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALLED = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def parsers(reasoning: str = "", tools: str | None = None, model_type: str = "llama") -> AnswerParsers:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken(f"<{slash}{name}>") for name in ("think", "tool_call") for slash in ("", "/")])
    args = Namespace(
        enable_auto_tool_choice=tools is not None,
        tool_call_parser=tools,
        structured_outputs_config=SimpleNamespace(reasoning_parser=reasoning),
    )
    return AnswerParsers(
        args, tokenizer, SimpleNamespace(model="policy", hf_config=SimpleNamespace(model_type=model_type))
    )


def read(made: AnswerParsers, text: str, *, finished: bool = True, tools: Any = (), choice: Any = None) -> Answer:
    reader = made.reader(tools, choice, {})
    assert reader is not None
    return reader(text, finished)


def test_without_parsers_or_anything_to_parse_a_text_is_all_answer() -> None:
    assert parsers().reader([TOOL], "auto", {}) is None
    assert parsers(tools="hermes").reader((), None, {}) is None


def test_a_parser_that_reads_token_ids_is_done_without() -> None:
    assert parsers("openai_gptoss", model_type="gpt_oss").reader((), None, {}) is None


@pytest.mark.parametrize("name", ["deepseek_r1", "qwen3"])
@pytest.mark.parametrize("finished", [True, False])
def test_thinking_is_no_part_of_the_answer(name: str, *, finished: bool) -> None:
    made = parsers(name)
    assert read(made, "<think>one and one</think>It is 2.", finished=finished) == Answer("It is 2.", "one and one")
    assert read(made, "<think>one and", finished=False) == Answer("", "one and")


def test_a_tool_call_is_taken_out_once_it_is_whole() -> None:
    made = parsers(tools="hermes")
    assert read(made, CALLED, tools=[TOOL], choice="auto") == Answer("", tool_calls=(CALL,))
    assert read(made, CALLED[:25], finished=False, tools=[TOOL], choice="auto") == Answer(CALLED[:25])
    assert read(made, "It is 2.", tools=[TOOL], choice="auto") == Answer("It is 2.")


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "add"}},
        ChatCompletionNamedToolChoiceParam.model_validate({"type": "function", "function": {"name": "add"}}),
        ToolChoiceFunction(type="function", name="add"),
    ],
    ids=["required", "as JSON", "chat's", "responses'"],
)
def test_a_call_that_is_forced_is_taken_out_too(choice: Any) -> None:
    assert read(parsers(tools="hermes"), CALLED, tools=[TOOL], choice=choice) == Answer("", tool_calls=(CALL,))


def test_thinking_before_a_tool_call_is_neither() -> None:
    made = parsers("deepseek_r1", "hermes")
    assert read(made, f"<think>hm</think>{CALLED}", tools=[TOOL], choice="auto") == Answer("", "hm", (CALL,))


def test_tools_of_another_shape_are_nothing_to_call() -> None:
    for tool, choice in (({"odd": 1}, "auto"), (TOOL, object())):
        assert read(parsers(tools="hermes"), CALLED, tools=[tool], choice=choice) == Answer(CALLED)


def test_an_answer_that_cannot_be_parsed_is_whole(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = parsers("deepseek_r1")

    def fail(*_: Any) -> Any:
        raise RuntimeError("odd text")

    monkeypatch.setattr(made._kind, "parse", fail)
    assert read(made, "<think>") == Answer("<think>")
    assert "odd text" in caplog.text


def test_a_parser_that_cannot_be_made_leaves_answers_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    made = parsers("deepseek_r1")

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such token")

    monkeypatch.setattr(made._kind, "__init__", refuse)
    assert made.reader((), None, {}) is None
