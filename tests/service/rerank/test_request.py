"""What a client may say, and how what it may not say is refused."""

import json
import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reward.config import RewardConfig
from service.rerank.errors import InvalidRequest
from service.rerank.request import Ask, Endpoint, model_behind
from service.rerank.selection import Selection
from service.rerank.selection.heads import Worst
from service.rerank.selection.picks import Soft
from service.rerank.strategies.best_of_n import BestOfNOptions
from service.rerank.strategies.prune import PruneOptions
from tests.service.fakes import LIMITS, make_ask
from tests.service.rerank.asks import DEFAULT_4, ENSEMBLE, read, read_or_refusal, refusal

# -- where best_of comes from


@pytest.mark.parametrize(
    ("body", "header", "best_of"),
    [
        ({"best_of": 2, "model": "m:best-of-8"}, "3", 2),
        ({"model": "m:best-of-8"}, "3", 3),
        ({"model": "m:best-of-8"}, None, 8),
        ({"model": "m"}, None, 4),
        ({"best_of": None, "model": "m:best-of-8"}, None, 8),
        ({"best_of": None}, None, 4),
    ],
    ids=["body", "header", "alias", "default", "null-is-silence", "null-and-default"],
)
def test_the_first_place_that_speaks_of_best_of_wins(body: Any, header: str | None, best_of: int) -> None:
    assert read(body, header).best_of == best_of


def test_the_default_rises_to_n() -> None:
    assert read({"n": 7}).best_of == 7


def test_what_a_later_place_says_is_not_even_read() -> None:
    assert read({"best_of": 2, "model": "m:best-of-0"}, "nonsense").best_of == 2


@pytest.mark.parametrize("body", [{"best_of": 1}, {"model": "m:best-of-1"}, {"rerank": {}}])
def test_speaking_of_reranking_is_explicit(body: Any) -> None:
    assert read(body).explicit


@pytest.mark.parametrize("body", [{}, {"n": 3}, {"rerank": None}, {"best_of": None}, {"model": "m"}])
def test_silence_is_not_explicit(body: Any) -> None:
    assert not read(body).explicit


@pytest.mark.parametrize(("body", "wanted"), [({"rerank": {}}, True), ({"best_of": 1}, False), ({}, False)])
def test_a_rerank_object_asks_for_the_reward(body: Any, wanted: bool) -> None:
    assert read(body).wants_reward is wanted


# -- aliases


@pytest.mark.parametrize("best_of", [1, 3, 16])
def test_an_alias_may_name_any_n_within_the_maximum(best_of: int) -> None:
    ask = read({"model": f"org/m:v1:best-of-{best_of}"})
    assert (ask.best_of, json.loads(ask.body)["model"]) == (best_of, "org/m:v1")


@pytest.mark.parametrize("model", ["m:best-of-0", "m:best-of-17", "m:best-of-" + "9" * 5000])
def test_an_alias_out_of_bounds_is_refused(model: str) -> None:
    assert refusal({"model": model}) == "model"


@pytest.mark.parametrize("model", [":best-of-4", "m:best-of-", "m:best-of-x", "m:best-of--4", "m:BEST-OF-4", 7, None])
def test_what_is_no_alias_is_left_for_vllm_to_judge(model: Any) -> None:
    ask = read({"model": model})
    assert (ask.best_of, ask.explicit, json.loads(ask.body)["model"]) == (4, False, model)


def test_an_alias_is_taken_off_even_when_the_body_decides() -> None:
    assert json.loads(read({"model": "m:best-of-8", "best_of": 2}).body) == {"model": "m"}


# -- refusals


@pytest.mark.parametrize("value", [0, -1, 17, 10**9, 10**4000])
def test_best_of_out_of_bounds_is_refused(value: int) -> None:
    assert refusal({"best_of": value}) == "best_of"


@pytest.mark.parametrize("value", ["four", "4", 4.0, 4.5, True, False, [4], {"n": 4}, float("nan"), float("inf")])
def test_best_of_that_is_no_integer_is_refused(value: Any) -> None:
    assert refusal({"best_of": value}) == "best_of"


@pytest.mark.parametrize("header", ["", "four", "0", "17", "-1", "+4", "4.0", "1e1", "٤", "²", "9" * 5000])
def test_a_header_that_is_no_number_within_bounds_is_refused(header: str) -> None:
    assert refusal({}, header) == "x-best-of"


def test_spaces_around_the_header_are_forgiven() -> None:
    assert read({}, " 8 ").best_of == 8


@pytest.mark.parametrize(
    ("body", "header", "field"),
    [
        ({"best_of": 2, "n": 3}, None, "best_of"),
        ({"n": 3}, "2", "x-best-of"),
        ({"n": 3, "model": "m:best-of-2"}, None, "model"),
    ],
)
def test_fewer_candidates_than_answers_are_refused_where_they_were_asked_for(
    body: Any, header: str | None, field: str
) -> None:
    assert refusal(body, header) == field


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b'{"best_of": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
    ids=["empty", "cut", "text", "bytes", "list", "null", "number", "string", "digits", "lists", "objects", "nested"],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    assert refusal(body) == "body"


@pytest.mark.parametrize("place", [b'{"a":%s}', b'{"best_of":%s}', b'{"rerank":%s}', b'{"rerank":{"strategy":%s}}'])
@pytest.mark.parametrize("depth", [100, 500, *range(930, 1000, 3)])
def test_any_depth_of_nesting_is_read_or_refused(place: bytes, depth: int) -> None:
    body = place % (b"[" * depth + b"]" * depth)
    outcome = read_or_refusal(body)
    assert isinstance(outcome, Ask) or outcome.param


def test_empty_messages_are_refused() -> None:
    assert refusal({"messages": []}) == "messages"


_TEXT, _REFUSAL = {"type": "output_text", "text": "4"}, {"type": "refusal", "refusal": "no"}


@pytest.mark.parametrize(("parts", "field"), [([], "input.1.content"), ([_REFUSAL], "input.1.content.0")])
def test_an_earlier_answer_without_text_is_refused_by_name(parts: list[Any], field: str) -> None:
    items = [{"role": "user", "content": []}, {"role": "assistant", "content": parts}]
    assert refusal({"input": items}, endpoint="responses") == field


@pytest.mark.parametrize("answer", ["4", [_TEXT], [_TEXT, _REFUSAL], ["odd"], 7])
def test_an_earlier_answer_with_text_is_left_for_vllm_to_judge(answer: Any) -> None:
    assert read({"input": ["odd", {"role": "assistant", "content": answer}]}, endpoint="responses").best_of == 4


def test_the_servers_selection_is_used_where_a_request_does_not_say() -> None:
    limits = replace(ENSEMBLE, selection=Selection(pick=Soft(temperature=2), heads=Worst()))
    assert read({}, limits=limits).selection == limits.selection
    assert read({"rerank": {"selection": "argmax"}}, limits=limits).selection == Selection()
    with pytest.raises(ValueError, match=r"--selection: .*single output"):
        replace(limits, reward=RewardConfig())


@pytest.mark.parametrize("n", [0, -1])
def test_an_n_below_one_is_refused(n: int) -> None:
    assert refusal({"n": n}) == "n"


# -- how many candidates


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", 1), (["a"], 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([], 1), (None, 1)],
)
def test_completions_count_their_prompts(prompt: Any, prompts: int) -> None:
    ask = read({"prompt": prompt, "best_of": 2}, endpoint="completions")
    assert (ask.prompts, ask.candidates) == (prompts, 2 * prompts)


def test_a_list_of_prompts_means_nothing_elsewhere() -> None:
    assert read({"prompt": ["a", "b"]}, endpoint="chat").prompts == 1


def test_more_candidates_for_a_prompt_than_ever_run_at_once_are_refused() -> None:
    assert read({"n": 32}).candidates == 32
    assert refusal({"n": 33}) == "n"


def test_any_number_of_prompts_is_taken() -> None:
    assert read({"prompt": ["a"] * 1000, "best_of": 16}, endpoint="completions").candidates == 16_000


@pytest.mark.parametrize("n", ["three", 3.5, True, None, [3]])
def test_an_n_that_vllm_will_judge_counts_as_one_here(n: Any) -> None:
    assert read({"n": n}).n == 1


# -- beam search


def test_beam_search_is_not_reranked_by_default() -> None:
    assert read({"n": 3, "use_beam_search": True}).best_of == 1


def test_beam_search_refuses_best_of() -> None:
    with pytest.raises(InvalidRequest, match="use_beam_search") as caught:
        read({"n": 3, "use_beam_search": True, "best_of": 8})
    assert caught.value.param == "best_of"


# -- what is handed on


def test_a_request_without_our_fields_is_handed_on_byte_for_byte() -> None:
    body = b'{ "model":"m",  "messages":[{"role":"user","content":"\\u00e9"}] , "x": 1.0e2 }'
    assert read(body).body is body


def test_our_fields_are_taken_out() -> None:
    given_body = {"model": "m", "best_of": 2, "rerank": {"return_candidates": True}, "seed": 7, "stream": True}
    ask = read(given_body)
    assert json.loads(ask.body) == {"model": "m", "seed": 7, "stream": True}
    assert ask.options.return_candidates


FIELDS = st.sampled_from(
    [
        "best_of",
        "rerank",
        "n",
        "model",
        "prompt",
        "messages",
        "use_beam_search",
        "stream",
        "strategy",
        "deadline_ms",
        "selection",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 40)
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.builds("m:best-of-{}".format, st.text(string.digits, min_size=1, max_size=25))
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS | st.text(max_size=5), inner, max_size=5),
    max_leaves=12,
)
HEADERS = st.none() | st.integers(-1, 40).map(str) | st.text(max_size=5)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(FIELDS, JSON, max_size=6) | JSON,
    HEADERS,
    st.sampled_from(["chat", "completions", "responses", "messages"]),
)
@example({"best_of": 4, "rerank": {"deadline_ms": 10}}, None, "chat")
def test_any_json_is_an_ask_within_the_limits_or_a_refusal_that_names_a_field(
    body: Any, header: str | None, endpoint: Endpoint
) -> None:
    ask = read_or_refusal(body, header, endpoint)
    if isinstance(ask, InvalidRequest):
        assert ask.param
        return
    assert 1 <= ask.best_of <= max(DEFAULT_4.max_best_of, ask.n)
    assert ask.n <= ask.best_of or json.loads(ask.body)["use_beam_search"]
    assert ask.candidates <= DEFAULT_4.max_candidates * ask.prompts
    assert not {"best_of", "rerank"} & set(json.loads(ask.body))


# -- what once went wrong


@pytest.mark.parametrize("n", ["512", 3.0])
def test_an_n_that_vllm_coerces_is_counted_or_refused(n: Any) -> None:
    outcome = read_or_refusal({"n": n}, limits=LIMITS)
    assert outcome.param == "n" if isinstance(outcome, InvalidRequest) else outcome.n == int(n)


@pytest.mark.parametrize("endpoint", ["responses", "messages"])
def test_n_means_nothing_where_the_endpoint_has_no_such_field(endpoint: str) -> None:
    ask = make_ask({"n": 5}, endpoint=endpoint)
    assert (ask.n, ask.best_of) == (1, 1)


def test_n_alone_is_vllms_and_may_exceed_max_best_of() -> None:
    n = LIMITS.max_best_of + 1
    assert read({"n": n}, limits=LIMITS).best_of == n


@pytest.mark.parametrize("best_of", [0, -1, 1])
def test_beam_search_does_not_excuse_a_wrong_best_of(best_of: int) -> None:
    assert refusal({"n": 2, "use_beam_search": True, "best_of": best_of}) == "best_of"


def test_a_huge_n_times_prompts_is_refused() -> None:
    body = b'{"n": ' + b"9" * 4300 + b', "prompt": ["a", "b"]}'
    assert refusal(body, endpoint="completions") == "n"


# -- known bugs


@pytest.mark.parametrize("n", [" 512 ", "+512", "5_12", "512.00", 1e16])
def test_any_n_that_vllm_coerces_is_counted_or_refused(n: Any) -> None:
    outcome = read_or_refusal({"n": n}, limits=LIMITS)
    assert outcome.param == "n" if isinstance(outcome, InvalidRequest) else outcome.n == 512


def test_a_beam_search_takes_as_many_places_as_it_is_wide() -> None:
    assert read({"n": 3, "use_beam_search": True}).candidates == 3
    assert refusal({"n": 10_000, "use_beam_search": True}) == "n"


@pytest.mark.parametrize(
    ("body", "max_tokens", "best_of"),
    [
        ({}, None, 8),
        ({"max_tokens": 5, "temperature": 0}, 5, 1),
        ({"max_completion_tokens": 6, "max_tokens": 5, "temperature": 0.0}, 6, 1),
        ({"max_output_tokens": 7, "temperature": 0.5}, 7, 8),
        ({"max_tokens": "long", "temperature": "cold"}, None, 8),
    ],
)
def test_what_bears_on_the_latency_is_read(body: dict[str, Any], max_tokens: int | None, best_of: int) -> None:
    ask = make_ask({"best_of": 8, **body})
    assert (ask.max_tokens, ask.best_of, ask.asked_best_of) == (max_tokens, best_of, 8)


# -- strategies


def test_the_servers_strategy_is_used_where_a_request_does_not_say() -> None:
    limits = replace(DEFAULT_4, default_strategy="prune")
    bodies: list[dict[str, Any]] = [{}, {"rerank": {}}, {"best_of": 2}]
    assert [read(body, limits=limits).options.strategy for body in bodies] == [PruneOptions()] * 3
    assert read({"rerank": {"strategy": "best_of_n"}}, limits=limits).options.strategy == BestOfNOptions()
    assert read({"rerank": {"keep": 0.25}}, limits=limits).options.strategy == PruneOptions(keep=[0.25])


def test_fewer_than_are_returned_are_never_enough() -> None:
    assert refusal({"n": 3, "rerank": {"stop_after": 2}}) == "rerank.stop_after"
    assert read({"n": 3, "rerank": {"stop_after": 3}}).options.stop_after == 3


@pytest.mark.parametrize(
    ("name", "behind"), [("m:best-of-7", "m"), ("org/m:best-of-8", "org/m"), ("m", "m"), ("m:best-of-", "m:best-of-")]
)
def test_behind_an_alias_is_a_model(name: str, behind: str) -> None:
    assert model_behind(name, 8) == behind


@pytest.mark.parametrize("best_of", ["0", "9", "9" * 5000])
def test_an_alias_out_of_bounds_stands_for_nothing(best_of: str) -> None:
    with pytest.raises(InvalidRequest, match="between 1 and 8") as refused:
        model_behind(f"m:best-of-{best_of}", 8)
    assert refused.value.param == "model"
