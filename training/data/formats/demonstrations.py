"""Formats of answers to imitate, and of prompts alone."""

from training.data.formats.checks import Options, Row, answer, assistant, conversation, messages, text
from training.data.records import Conversation, Demonstration


def fits_messages(row: Row) -> bool:
    return isinstance(row.get("messages"), list)


def fits_completion(row: Row) -> bool:
    return "prompt" in row and "completion" in row and "label" not in row


def fits_text(row: Row) -> bool:
    return isinstance(row.get("text"), str)


def fits_prompt(row: Row) -> bool:
    return row.get("prompt") is not None


def parse_messages(row: Row, options: Options) -> Demonstration:
    """A conversation that ends with the assistant's message."""
    whole = messages(row.get("messages"), "messages")
    return Demonstration(whole[:-1], assistant(whole[-1], f"messages[{len(whole) - 1}]"))


def parse_completion(row: Row, options: Options) -> Demonstration:
    """`prompt` and `completion`, each text or messages."""
    return Demonstration(conversation(row.get("prompt"), "prompt"), answer(row.get("completion"), "completion"))


def parse_text(row: Row, options: Options) -> Demonstration:
    """Plain text: a completion of nothing."""
    return Demonstration((), text(row.get("text"), "text"))


def parse_prompt(row: Row, options: Options) -> Conversation:
    """`prompt` alone."""
    return conversation(row.get("prompt"), "prompt")
