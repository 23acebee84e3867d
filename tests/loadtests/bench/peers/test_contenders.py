"""The chat template that vLLM gets for optillm."""

from pathlib import Path

from jinja2 import Environment

from loadtests.bench.peers import contenders
from training.labs import checkpoint

TEMPLATE = Path(contenders.__file__).parent / "optillm_chat_template.jinja"


def _render(path: Path, messages: list[dict[str, str]]) -> str:
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(path.read_text(encoding="utf-8"))
    return template.render(messages=messages, add_generation_prompt=True)


def test_a_question_through_optillm_looks_like_a_question_without_it() -> None:
    own = checkpoint("arithmetic-sft") / "chat_template.jinja"
    question = {"role": "user", "content": "What is 35+21+81?"}
    wrapped = [{"role": "system", "content": ""}, question | {"content": "User: What is 35+21+81?"}]
    assert _render(TEMPLATE, wrapped) == _render(TEMPLATE, [question]) == _render(own, [question])


def test_a_rating_starts_with_the_rated_answer() -> None:
    rated = {"role": "assistant", "content": "35+21=56\nAnswer: 56"}
    asked = {"role": "user", "content": "Rate the above response:"}
    text = _render(TEMPLATE, [rated, asked])
    assert text.endswith("<|user|>Rate the above response:<|end|><|assistant|>35+21=56\nAnswer: 56")
