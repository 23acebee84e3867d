"""What a chat template has rendered is read back, whatever the template, and nothing else is taken for it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.rendered import Read, RenderedPrompts
from training.labs.tokenizer import byte_tokenizer

QWEN = (
    "{%- if messages[0].role == 'system' %}{{ '<|im_start|>system\n' + messages[0].content + '<|end|>\n' }}"
    "{%- else %}{{ '<|im_start|>system\nYou are a model.<|end|>\n' }}{%- endif %}"
    "{%- for m in messages %}{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|end|>\n' }}{%- elif m.role == 'assistant' %}"
    "{{ '<|im_start|>assistant\n' + m.content.split('</think>')[-1].lstrip('\n') + '<|end|>\n' }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('alternate') }}{% endif %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
PLAIN = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|user|>' + m.role + '<|tool|>\n\n' + m.content | trim + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|user|>assistant<|tool|>\n\n' }}{% endif %}"
)
TOKENIZER: Any = byte_tokenizer()
TOKENIZER.bos_token = "<|system|>"
LAB: Any = byte_tokenizer()
READERS = {
    "lab": (LAB, None, RenderedPrompts(LAB)),
    **{
        name: (TOKENIZER, template, RenderedPrompts(TOKENIZER, template))
        for name, template in {"qwen": QWEN, "mistral": MISTRAL, "llama": LLAMA}.items()
    },
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map(str.strip).filter(bool)
USER, ANSWER = {"role": "user", "content": "What is 1+1?"}, {"role": "assistant", "content": "It is 2."}
SYSTEM = {"role": "system", "content": "Be kind."}


def rendered(kind: str, messages: list[Any], **options: Any) -> str:
    tokenizer, template, _ = READERS[kind]
    return str(
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, chat_template=template, **options
        )
    )


@pytest.mark.parametrize("begun", ["", "The answer"])
@pytest.mark.parametrize("kind", READERS)
@given(st.lists(TEXT, min_size=1, max_size=5).filter(lambda texts: len(texts) % 2 == 1))
def test_a_conversation_that_was_rendered_is_read_back(kind: str, begun: str, texts: list[str]) -> None:
    messages = [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(texts)]
    assert READERS[kind][2].read(rendered(kind, messages) + begun) == Read(tuple(messages), begun)


@pytest.mark.parametrize("kind", ["lab", "qwen", "llama"])
def test_a_system_message_is_read_back(kind: str) -> None:
    for messages in ([SYSTEM, USER], [SYSTEM, USER, ANSWER, USER]):
        assert READERS[kind][2].read(rendered(kind, messages)) == Read(tuple(messages), "")


def test_a_generation_prompt_without_thinking_is_no_part_of_the_answer() -> None:
    prompt = rendered("qwen", [USER], enable_thinking=False)
    assert READERS["qwen"][2].read(prompt) == Read((USER,), "")


@pytest.mark.parametrize("kind", ["mistral", "llama"])
def test_the_token_that_tokenizers_put_in_front_may_be_there_or_not(kind: str) -> None:
    prompt = rendered(kind, [USER])
    assert prompt.startswith("<|system|>")
    reader = READERS[kind][2]
    assert reader.read(prompt) == reader.read(prompt.removeprefix("<|system|>")) == Read((USER,), "")


def test_a_template_without_special_tokens_is_read_and_its_text_looks_like_any_other() -> None:
    reader = RenderedPrompts(LAB, PLAIN)
    assert reader.read("user: hi\nassistant: ") == Read(({"role": "user", "content": "hi"},), "")
    assert not reader.looks_rendered("user: hi\nassistant: ")


@pytest.mark.parametrize("kind", READERS)
@given(TEXT)
def test_other_text_is_not_taken_for_it(kind: str, text: str) -> None:
    reader = READERS[kind][2]
    assert reader.read(text) is None
    assert not reader.looks_rendered(text)


@pytest.mark.parametrize(
    "text", ["<|user|>a<|user|>b<|end|><|assistant|>", "<|user|>a<|end|><|assistant|>b<|end|>", "<|user|>a", "<|end|>"]
)
def test_turns_that_no_conversation_renders_into_are_seen_to_be_turns(text: str) -> None:
    reader = READERS["lab"][2]
    assert reader.read(text) is None
    assert reader.looks_rendered(text)


def test_a_tokenizer_without_a_template_reads_nothing() -> None:
    bare = byte_tokenizer()
    bare.chat_template = None
    reader = RenderedPrompts(bare)
    assert reader.read("<|user|>a<|end|><|assistant|>") is None
    assert not reader.looks_rendered("<|user|>a<|end|><|assistant|>")


def test_many_turns_are_read_in_time_that_grows_with_them() -> None:
    messages = [USER, ANSWER] * 5000 + [USER]
    assert READERS["lab"][2].read(rendered("lab", messages)) == Read(tuple(messages), "")
