from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from reward.template import ConversationTemplate
from training.labs.tokenizer import byte_tokenizer

BYTES = byte_tokenizer()
TEXT = st.one_of(
    st.text(max_size=30), st.sampled_from(["<|end|>", "<|assistant|>", "a<|en", "</s>x", "  hi \n", "é日"])
)
MESSAGES = st.lists(
    st.builds(
        lambda role, text: {"role": role, "content": text}, st.sampled_from(["system", "user", "assistant"]), TEXT
    ),
    min_size=1,
    max_size=4,
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content | trim) + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"


def trained_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer with merges, so that where a text is split can change its tokens."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    if kind == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<|im_start|>", "<|im_end|>", "<|im"])
    corpus = ["user assistant system hello there : \n\n the answer is 12 \n What is it? " * 5]
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        unk_token="<unk>",
        additional_special_tokens=["<|im_start|>", "<|im"],
        chat_template=PLAIN if kind == "no markers" else CHATML,
    )


QUESTION = [{"role": "user", "content": "What is 1+1?"}]
TOKENIZERS = {"bytes": BYTES} | {kind: trained_tokenizer(kind) for kind in ("bpe", "metaspace", "no markers")}
TEMPLATES = {kind: ConversationTemplate(tokenizer) for kind, tokenizer in TOKENIZERS.items()}


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(messages=MESSAGES, response=TEXT)
def test_tokens_are_those_of_apply_chat_template(kind: str, messages: list[dict[str, str]], response: str) -> None:
    conversation = [*messages, {"role": "assistant", "content": response}]
    expected = TOKENIZERS[kind].apply_chat_template(conversation, tokenize=True, return_dict=False)
    template = TEMPLATES[kind]
    prompt = template.prompt(messages)
    assert template.tokens(prompt, response) == expected
    for finished in (True, False):
        tokens = template.tokens(prompt, response, finished=finished)
        shared = template.prompt_tokens(prompt)
        assert tokens[: len(shared)] == shared


@pytest.mark.parametrize("kind", ["bytes", "bpe", "metaspace"])
def test_the_prompt_is_tokenised_once(kind: str) -> None:
    template = TEMPLATES[kind]
    prompt = template.prompt([{"role": "user", "content": "hello there"}])
    assert prompt.marker in ("<|assistant|>", "<|im_start|>")
    assert len(template.prompt_tokens(prompt)) > 3


def test_without_special_tokens_nothing_is_shared() -> None:
    template = TEMPLATES["no markers"]
    assert template.prompt_tokens(template.prompt([{"role": "user", "content": "hello"}])) == []


@given(response=st.text(max_size=20))
def test_an_unfinished_answer_lacks_only_the_end_of_turn(response: str) -> None:
    template = TEMPLATES["bytes"]
    prompt = template.prompt([{"role": "user", "content": "hi"}])
    assert template.tokens(prompt, response, finished=False) == template.tokens(prompt, response)[:-1]


def test_parts_none_and_tool_calls() -> None:
    template = TEMPLATES["bytes"]
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    prompt = template.prompt(
        [
            {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None, "tool_calls": iter([call])},
            {"role": "tool", "tool_call_id": "1", "content": "3"},
        ]
    )
    text = str(BYTES.decode(template.tokens(prompt, "three")))
    assert text.startswith("<|user|>one two<|end|><|assistant|>[{")
    assert text.endswith("<|tool|>3<|end|><|assistant|>three<|end|>")
    assert template.tokens(prompt, "three") == template.tokens(prompt, "three")


def test_no_chat_template_is_an_error() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        ConversationTemplate(tokenizer)


def test_a_refused_conversation_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unknown role: narrator"):
        TEMPLATES["bytes"].prompt([{"role": "narrator", "content": "x"}])


@given(text=st.text(max_size=50))
def test_the_byte_tokenizer_loses_nothing(text: str) -> None:
    assert BYTES.decode(BYTES(text)["input_ids"]) == text


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(messages=MESSAGES)
def test_ids_that_an_equal_tokenizer_gave_are_taken_over_exactly(kind: str, messages: list[dict[str, str]]) -> None:
    tokenizer, template = TOKENIZERS[kind], TEMPLATES[kind]
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert template.prompt(messages, rendered=(text, ids)) == template.prompt(messages)
    assert template.prompt(messages, rendered=(text, [ids[0], *ids])) == template.prompt(messages)
    assert template.prompt(messages, rendered=("other", ids)) == template.prompt(messages)


def test_only_a_tokenizer_that_gives_the_same_ids_reads_alike() -> None:
    assert TEMPLATES["bytes"].reads_as(byte_tokenizer())
    assert not TEMPLATES["bytes"].reads_as(TOKENIZERS["bpe"])


def test_tools_and_variables_are_rendered_where_the_template_reads_them_and_named_where_not() -> None:
    tool = {"type": "function", "function": {"name": "add"}}
    prompt = TEMPLATES["bytes"].prompt(QUESTION, tools=[tool], variables={"documents": [{"text": "a"}], "mood": "kind"})
    assert str(BYTES.decode(TEMPLATES["bytes"].tokens(prompt, "2"))).startswith('<|system|>Tools: [{"type"')
    assert prompt.left_out == ("documents",)
    without = TEMPLATES["bpe"].prompt(QUESTION, tools=[tool])
    assert without.left_out == ("tools",)
    assert without.shared_tokens == TEMPLATES["bpe"].prompt(QUESTION).shared_tokens


def test_a_template_that_fails_on_tools_does_without_them() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% if tools %}{{ raise_exception('none') }}{% endif %}" + PLAIN
    assert ConversationTemplate(tokenizer).prompt(QUESTION, tools=[{"name": "a"}]).left_out == ("tools",)


def test_pictures_are_left_out_and_named() -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    assert TEMPLATES["bytes"].prompt([{"role": "user", "content": parts}]).left_out == ("media",)


def test_tool_calls_of_an_answer_are_rendered() -> None:
    prompt = TEMPLATES["bytes"].prompt(QUESTION)
    text = BYTES.decode(TEMPLATES["bytes"].tokens(prompt, {"content": "", "tool_calls": [{"name": "add"}]}))
    assert text == '<|user|>What is 1+1?<|end|><|assistant|>[{"name": "add"}]<|end|>'


def test_answers_follow_a_rendered_prompt_as_they_are() -> None:
    for kind in ("bytes", "bpe", "no markers"):
        template = TEMPLATES[kind]
        text = template.prompt(QUESTION)
        prompt = template.text_prompt("odd turns")
        tokens = template.tokens(prompt, "2", finished=False)
        assert tokens == template._encode("odd turns2")
        assert template.tokens(prompt, "2") == template._encode(f"odd turns2{text.end_of_turn}")


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_least_length_is_known_before_there_is_an_answer(kind: str) -> None:
    template = TEMPLATES[kind]
    prompt = template.prompt(QUESTION)
    assert 0 < prompt.least_tokens < len(template.tokens(prompt, "2"))


def test_variables_that_the_template_refuses_are_left_out() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% if mood %}{{ raise_exception('none') }}{% endif %}" + BYTES.chat_template
    template, tool = ConversationTemplate(tokenizer), {"name": "add"}
    prompt = template.prompt(QUESTION, tools=[tool], variables={"mood": "kind"})
    assert (prompt.variables, prompt.left_out) == ({"tools": [tool]}, ())


def test_many_variables_take_no_more_renderings(monkeypatch: pytest.MonkeyPatch) -> None:
    template, calls = ConversationTemplate(BYTES), list[None]()
    render = template._render

    def counted(*args: Any) -> str:
        calls.append(None)
        return render(*args)

    monkeypatch.setattr(template, "_render", counted)
    template.prompt(QUESTION, variables={f"name{number}": number for number in range(1000)})
    assert len(calls) <= 6
