"""What a candidate answers, as the reward model is told."""

from dataclasses import dataclass

from reward.template import Message


@dataclass(frozen=True)
class Conversation:
    """messages: up to the answer. answer_start: what the client has written of the answer already."""

    messages: tuple[Message, ...]
    answer_start: str = ""
