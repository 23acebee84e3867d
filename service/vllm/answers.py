"""From what a candidate has written to its answer: without its thinking, and with its tool calls taken out.

The parsers are those with which vLLM's own application reads the winner.
"""

import json
import logging
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from vllm.entrypoints.generate.base.protocol import FunctionCall
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser import ParserManager

from reward.conversation import Answer

_NOBODY: Any = [{"role": "user", "content": ""}]
_logger = logging.getLogger(__name__)


class AnswerParsers:
    """args: of vLLM's command line. model_config: the generator's.

    gpt-oss' parser reads token ids and not text, so its answers are left whole.
    """

    def __init__(self, args: Namespace, tokenizer: Any, model_config: Any) -> None:
        self._tokenizer, self._model_config = tokenizer, model_config
        self._calls_tools = bool(args.enable_auto_tool_choice)
        by_ids = model_config.hf_config.model_type == "gpt_oss"
        self._kind = (
            None
            if by_ids
            else ParserManager.get_parser(
                tool_parser_name=args.tool_call_parser,
                reasoning_parser_name=args.structured_outputs_config.reasoning_parser,
                enable_auto_tools=self._calls_tools,
                model_name=model_config.model,
            )
        )

    def reader(
        self, tools: Sequence[Mapping[str, Any]], tool_choice: Any, variables: Mapping[str, Any]
    ) -> Callable[[str, bool], Answer] | None:
        """How a text, of which all or the beginning is there, is read; None where it is all answer."""
        if self._kind is None or not (tools or self._kind.reasoning_parser_cls):
            return None
        request = _request(tools, tool_choice)
        options = {"model_config": self._model_config, "chat_template_kwargs": dict(variables)}
        try:
            parser = self._kind(self._tokenizer, cast(Any, request.tools), **options)
        except Exception as error:  # a parser of whoever wrote it: vLLM's application says the same of the request
            _logger.warning("answers are scored whole, since the parser cannot be made: %s", error)
            return None
        growing = _request(tools, "none")

        def read(text: str, finished: bool) -> Answer:
            try:
                parsed = parser.parse(text, request if finished else growing, self._calls_tools and finished)
            except Exception as error:
                _logger.warning("an answer is scored whole, since it cannot be parsed: %s", error)
                return Answer(text)
            reasoning, content, calls = parsed
            return Answer(content or "", reasoning or "", tuple(_call(call) for call in calls or ()))

        return read


def _request(tools: Sequence[Mapping[str, Any]], tool_choice: Any) -> ChatCompletionRequest:
    """What a parser wants to know of a request; tools, or a choice, of an odd shape are nothing that it could call."""
    try:
        called = {"tools": list(tools), "tool_choice": _choice(tool_choice)} if tools else {}
        return ChatCompletionRequest.model_validate({"messages": _NOBODY, **called})
    except Exception:  # vLLM's own errors are no ValueErrors
        return ChatCompletionRequest.model_validate({"messages": _NOBODY})


def _choice(tool_choice: Any) -> Any:
    """As chat says it: a word, or an object that names a function; responses name it one level higher."""
    if tool_choice is None or isinstance(tool_choice, str):
        return tool_choice or "auto"
    named = tool_choice if isinstance(tool_choice, Mapping) else tool_choice.model_dump()
    return {"type": "function", "function": {"name": named["name"]}} if "name" in named else named


def _call(call: FunctionCall) -> Mapping[str, Any]:
    """As a chat template takes it: with its arguments as an object, where they are one."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    return {"type": "function", "function": {"name": call.name, "arguments": arguments}}
