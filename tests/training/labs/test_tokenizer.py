"""The labs' tokenizers."""

import os
import subprocess
import sys
from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from training.labs.reviews import Reviews

LAB = Reviews()


TOKENIZER = LAB.tokenizer()


@given(text=st.text())
def test_the_tokenizer_loses_nothing(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text, add_special_tokens=False)["input_ids"]) == text


def test_prompts_and_continuations_are_short_in_tokens() -> None:
    made = list(LAB.demonstrations(500, seed=9))
    prompts = [
        TOKENIZER.apply_chat_template(list(each.messages), add_generation_prompt=True, return_dict=False)
        for each in made
    ]
    answers = [TOKENIZER(each.completion)["input_ids"] for each in made]
    assert mean(map(len, prompts)) < 28
    assert max(map(len, prompts)) <= 32
    assert 20 < mean(map(len, answers)) < 40
    assert max(map(len, answers)) < LAB.answer_tokens
    assert all(TOKENIZER.decode(tokens) == each.completion for tokens, each in zip(answers, made, strict=True))
    assert len(TOKENIZER) <= 1024
    assert TOKENIZER.eos_token_id == TOKENIZER.convert_tokens_to_ids("<|end|>")


def test_the_tokenizer_is_the_same_whatever_the_options_and_the_hash_seed() -> None:
    show = "from training.labs.reviews import Reviews; print(Reviews(0.9).tokenizer().backend_tokenizer.to_str())"
    other = subprocess.run(
        [sys.executable, "-c", show],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == TOKENIZER.backend_tokenizer.to_str()
