"""What is learned of a demonstration."""

import pytest

from reward.template import ConversationTemplate
from training.data.records import Demonstration, user
from training.labs.tokenizer import byte_tokenizer
from training.sft.data import IGNORED, SFTDataset

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def learned(record: Demonstration, template: ConversationTemplate) -> str:
    row = SFTDataset([record], template, 100)[0]
    tokens = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != IGNORED]
    return str(template.tokenizer.decode(tokens))


def test_the_answer_alone_is_learned() -> None:
    template = ConversationTemplate(byte_tokenizer())
    assert learned(Demonstration(user("Question"), "Answer"), template) == "Answer<|end|>"


def test_the_role_in_front_of_the_answer_is_not_learned() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    assert learned(Demonstration(user("Question"), "Answer"), ConversationTemplate(tokenizer)) == "Answer<|im_end|>\n"


@pytest.mark.parametrize("answer", ["Answer", "Qx", "Zy", "Question", ""])
def test_a_template_without_markers_puts_no_loss_on_the_prompt(answer: str) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    template = ConversationTemplate(tokenizer)
    assert learned(Demonstration(user("Question"), answer), template) == f"{answer}\n"


def test_plain_text_is_learned_to_its_end() -> None:
    template = ConversationTemplate(byte_tokenizer())
    assert learned(Demonstration((), "Once upon"), template) == "Once upon<|end|>"
