"""What a candidate answers, as the reward model reads it."""

from dataclasses import dataclass

from reward.template import Message


@dataclass(frozen=True)
class Conversation:
    """What the reward model reads, up to where a candidate goes on."""

    messages: tuple[Message, ...]  # up to the answer
    answer_start: str = ""  # what the client has written of the answer already
