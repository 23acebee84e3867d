"""A conversation as text that a judge or a person reads."""

import json
from collections.abc import Mapping
from typing import Any

from training.data.records import Conversation


def transcript(conversation: Conversation) -> str:
    """The text of a single user message as it is; otherwise every message under its role in square brackets."""
    if len(conversation) == 1 and conversation[0]["role"] == "user":
        return _content(conversation[0])
    return "\n\n".join(f"[{message['role']}]\n{_content(message)}" for message in conversation)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "".join(map(_part, content))
    calls = message.get("tool_calls")
    return text + (json.dumps(calls, ensure_ascii=False) if calls else "")


def _part(part: Any) -> str:
    """Text as it is; an image or a sound by its kind, since a reader of text cannot be shown it."""
    if isinstance(part, str):
        return part
    text = part.get("text")
    return text if isinstance(text, str) else f"[{part.get('type', 'unknown part')}]"
