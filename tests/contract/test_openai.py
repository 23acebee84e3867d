"""What OpenAI's own client sees: every feature it asks of `vllm serve`, with and without reranking."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server import ALLOWED_ORIGIN, API_KEY, Server

pytestmark = pytest.mark.engine

QUESTION: Any = [{"role": "user", "content": "What is 35+21+81?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
ANSWER_SCHEMA: Any = {
    "type": "object",
    "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 999}, "sure": {"type": "boolean"}},
    "required": ["sum", "sure"],
    "additionalProperties": False,
}


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0) as client:
        yield client


def rerank_of(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.model_extra["rerank"]
    return found


def test_plain_chat_is_untouched(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="arithmetic", messages=QUESTION)
    assert answer.choices[0].message.content
    assert answer.model_extra is not None
    assert "rerank" not in answer.model_extra


def test_a_draw_says_what_it_drew_from_and_is_repeated_by_its_seed(client: openai.OpenAI) -> None:
    selection = {"pick": "pessimistic", "beta": 0.5}
    asked: Any = {"best_of": 8, "rerank": {"selection": selection, "return_candidates": True}}
    answers = [
        client.chat.completions.create(model="arithmetic", messages=QUESTION, seed=7, extra_body=asked)
        for _ in range(2)
    ]
    for answer in answers:
        rerank = rerank_of(answer)
        weights = [candidate["weight"] for candidate in rerank["candidates"]]
        (winner,) = rerank["selected"]
        assert rerank["selection"] == {**selection, "seed": 7}
        assert sum(weights) == pytest.approx(1.0)
        assert weights[winner] > 0
        assert answer.choices[0].message.content == rerank["candidates"][winner]["text"]
    first, again = map(rerank_of, answers)
    assert [one["text"] for one in first["candidates"]] == [one["text"] for one in again["candidates"]]
    assert first["selected"] == again["selected"]


@pytest.mark.parametrize(
    "asking",
    [
        {"extra_body": {"best_of": 4}},
        {"extra_headers": {"x-best-of": "4"}},
        {"model": "arithmetic:best-of-4"},
        {"extra_body": {"best_of": 4}, "extra_headers": {"x-best-of": "2"}, "model": "arithmetic:best-of-3"},
    ],
    ids=["body", "header", "alias", "body wins"],
)
def test_best_of_in_each_of_its_places(client: openai.OpenAI, asking: dict[str, Any]) -> None:
    answer = client.chat.completions.create(**{"model": "arithmetic", "messages": QUESTION, **asking})
    rerank = rerank_of(answer)
    assert rerank["best_of"] == rerank["sampled"] == len(rerank["candidates"]) == 4
    assert answer.model == "arithmetic"


def test_the_winner_has_the_highest_reward_and_the_bill_holds_all(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="arithmetic", messages=QUESTION, extra_body={"best_of": 8, "rerank": {"return_candidates": True}}
    )
    rerank = rerank_of(answer)
    best = max(rerank["candidates"], key=lambda candidate: candidate["reward"])
    assert rerank["selected"] == [best["index"]]
    assert rerank["reward"] == best["reward"]
    assert answer.choices[0].message.content == best["text"]
    assert answer.usage is not None
    generated = sum(candidate["completion_tokens"] for candidate in rerank["candidates"])
    assert answer.usage.completion_tokens == rerank["tokens"]["generated"] == generated
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + generated
    assert rerank["tokens"]["returned"] == best["completion_tokens"]


def test_n_answers_come_best_first(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="arithmetic", messages=QUESTION, n=3, extra_body={"best_of": 6, "rerank": {"return_candidates": True}}
    )
    rerank = rerank_of(answer)
    rewards = [rerank["candidates"][index]["reward"] for index in rerank["selected"]]
    texts = [rerank["candidates"][index]["text"] for index in rerank["selected"]]
    assert rewards == sorted(rewards, reverse=True)
    assert [choice.message.content for choice in answer.choices] == texts
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_n_without_best_of_is_plain(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="arithmetic", messages=QUESTION, n=3)
    assert len(answer.choices) == 3


def test_one_candidate_is_scored_when_its_reward_is_asked_for(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="arithmetic", messages=QUESTION, extra_body={"rerank": {}})
    rerank = rerank_of(answer)
    assert rerank["sampled"] == 1
    assert isinstance(rerank["reward"], float)


@pytest.mark.parametrize("best_of", [1, 4])
def test_stream_with_usage_and_logprobs(client: openai.OpenAI, best_of: int) -> None:
    stream = client.chat.completions.create(
        model="arithmetic",
        messages=QUESTION,
        stream=True,
        stream_options={"include_usage": True},
        logprobs=True,
        top_logprobs=2,
        extra_body={"best_of": best_of},
    )
    chunks = list(stream)
    rerank = rerank_of(chunks[-1])
    logprobs = [
        token
        for chunk in chunks
        for choice in chunk.choices
        if choice.logprobs and choice.logprobs.content
        for token in choice.logprobs.content
    ]
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == rerank["tokens"]["generated"]
    assert len(logprobs) == rerank["tokens"]["returned"]
    assert all(len(token.top_logprobs) == 2 for token in logprobs)
    assert sum("rerank" in (chunk.model_extra or {}) for chunk in chunks) == 1


def test_a_stream_and_a_whole_answer_with_one_seed_are_the_same(client: openai.OpenAI) -> None:
    asking: Any = {"model": "arithmetic", "messages": QUESTION, "seed": 7, "extra_body": {"best_of": 4}}
    whole = client.chat.completions.create(**asking).choices[0].message.content
    pieces = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(stream=True, **asking)]
    assert "".join(pieces) == whole


def test_a_stream_without_usage_carries_rerank_in_its_last_chunk(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="arithmetic", messages=QUESTION, stream=True, extra_body={"best_of": 2})
    )
    assert chunks[-1].choices[0].finish_reason
    assert rerank_of(chunks[-1])["sampled"] == 2


def test_seed_is_reproducible(client: openai.OpenAI) -> None:
    def texts(seed: int) -> list[str]:
        answer = client.chat.completions.create(
            model="arithmetic",
            messages=QUESTION,
            seed=seed,
            extra_body={"best_of": 4, "rerank": {"return_candidates": True}},
        )
        return [candidate["text"] for candidate in rerank_of(answer)["candidates"]]

    assert texts(11) == texts(11)
    assert len(set(texts(11))) > 1


def test_temperature_0_samples_once(client: openai.OpenAI) -> None:
    answers = [
        client.chat.completions.create(model="arithmetic", messages=QUESTION, temperature=0, extra_body={"best_of": 8})
        for _ in range(2)
    ]
    assert rerank_of(answers[0])["sampled"] == 1
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_end_every_candidate(client: openai.OpenAI, stream: bool) -> None:
    asking: Any = {"model": "arithmetic", "messages": QUESTION, "stop": ["="], "extra_body": {"best_of": 4}}
    if stream:
        chunks = list(client.chat.completions.create(stream=True, **asking))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        text = client.chat.completions.create(**asking).choices[0].message.content or ""
    assert "=" not in text


@pytest.mark.parametrize("best_of", [1, 3])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_forced_tools_are_called(client: openai.OpenAI, best_of: int, choice: Any, stream: bool) -> None:
    asking: Any = {
        "model": "arithmetic",
        "messages": QUESTION,
        "tools": [WEATHER],
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "max_tokens": 400,
        "extra_body": {"best_of": best_of},
    }
    if stream:
        deltas = [
            call.function
            for chunk in client.chat.completions.create(stream=True, **asking)
            for call in chunk.choices[0].delta.tool_calls or []
        ]
        name = "".join(delta.name or "" for delta in deltas)
        arguments = "".join(delta.arguments or "" for delta in deltas)
    else:
        (call,) = client.chat.completions.create(**asking).choices[0].message.tool_calls
        name, arguments = call.function.name, call.function.arguments
    assert name == "weather"
    assert json.loads(arguments)["city"] in {"Rome", "Oslo"}


def test_auto_tools_are_accepted(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="arithmetic", messages=QUESTION, tools=[WEATHER], tool_choice="auto", extra_body={"best_of": 3}
    )
    assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


def test_tool_results_are_rendered_for_both_models(client: openai.OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    conversation: Any = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    answer = client.chat.completions.create(model="arithmetic", messages=conversation, extra_body={"best_of": 3})
    assert rerank_of(answer)["finished"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_json_schema_parses(client: openai.OpenAI, stream: bool) -> None:
    asking: Any = {
        "model": "arithmetic",
        "messages": QUESTION,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER_SCHEMA}},
        "max_tokens": 200,
        "extra_body": {"best_of": 4},
    }
    if stream:
        chunks = client.chat.completions.create(stream=True, **asking)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        text = client.chat.completions.create(**asking).choices[0].message.content or ""
    assert set(json.loads(text)) == {"sum", "sure"}


@pytest.mark.parametrize("stream", [False, True])
def test_completions_with_two_prompts(client: openai.OpenAI, stream: bool) -> None:
    asking: Any = {
        "model": "arithmetic",
        "prompt": ["What is 1+2+3?", "What is 4+5+6?"],
        "max_tokens": 16,
        "n": 2,
        "extra_body": {"best_of": 4},
    }
    if stream:
        chunks = list(client.completions.create(stream=True, stream_options={"include_usage": True}, **asking))
        indices = {choice.index for chunk in chunks for choice in chunk.choices}
        usage, rerank = chunks[-1].usage, rerank_of(chunks[-1])
    else:
        answer = client.completions.create(**asking)
        indices = {choice.index for choice in answer.choices}
        usage, rerank = answer.usage, rerank_of(answer)
    assert indices == {0, 1, 2, 3}
    assert [prompt["sampled"] for prompt in rerank["prompts"]] == [4, 4]
    assert usage.completion_tokens == rerank["tokens"]["generated"]
    assert rerank["tokens"]["generated"] == sum(prompt["tokens"]["generated"] for prompt in rerank["prompts"])


def test_completions_take_token_ids(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="arithmetic", prompt=[87, 104, 97, 116], max_tokens=8, extra_body={"best_of": 2}
    )
    assert rerank_of(answer)["tokens"]["prompt"] == 4


@pytest.mark.parametrize("best_of", [1, 4])
def test_responses(client: openai.OpenAI, best_of: int) -> None:
    answer = client.responses.create(
        model="arithmetic",
        input="What is 35+21+81?",
        instructions="Show your steps.",
        extra_body={"best_of": best_of, "rerank": {"return_candidates": True}},
    )
    rerank = rerank_of(answer)
    assert answer.output_text == rerank["candidates"][rerank["selected"][0]]["text"]
    assert answer.usage is not None
    assert answer.usage.output_tokens == rerank["tokens"]["generated"]
    assert rerank["sampled"] == best_of


def test_responses_stream(client: openai.OpenAI) -> None:
    events = list(
        client.responses.create(model="arithmetic", input="What is 35+21+81?", stream=True, extra_body={"best_of": 4})
    )
    last: Any = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage.output_tokens == last.response.model_extra["rerank"]["tokens"]["generated"]


@pytest.mark.parametrize("stream", [False, True])
def test_messages_of_anthropics_client(server: Server, stream: bool) -> None:
    import anthropic

    asking: Any = {
        "model": "arithmetic",
        "max_tokens": 100,
        "messages": QUESTION,
        "system": "Show your steps.",
        "extra_body": {"best_of": 4},
    }
    with anthropic.Anthropic(base_url=server.url, auth_token=API_KEY, max_retries=0) as client:
        if stream:
            events: list[Any] = list(client.messages.create(stream=True, **asking))
            last = next(event for event in events if event.type == "message_delta")
            usage, rerank = last.usage, last.model_extra["rerank"]
            assert events[-1].type == "message_stop"
        else:
            answer: Any = client.messages.create(**asking)
            usage, rerank = answer.usage, answer.model_extra["rerank"]
            assert answer.content[0].text
    assert usage.output_tokens == rerank["tokens"]["generated"]
    assert rerank["sampled"] == 4


def test_models_are_listed_with_aliases(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"arithmetic", "arithmetic:best-of-1", "arithmetic:best-of-8", "arithmetic:best-of-64"} <= names


def test_a_wrong_key_is_401(server: Server) -> None:
    wrong = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong")
    with wrong, pytest.raises(openai.AuthenticationError) as caught:
        wrong.models.list()
    assert caught.value.body is not None


def test_an_unknown_model_is_404(client: openai.OpenAI) -> None:
    for model in ("nothing", "nothing:best-of-4"):
        with pytest.raises(openai.NotFoundError, match="nothing"):
            client.chat.completions.create(model=model, messages=QUESTION)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"best_of": 0}, "best_of"),
        ({"best_of": 10**9}, "best_of"),
        ({"best_of": "four"}, "best_of"),
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"rerank": {"stratgy": "best_of_n"}}, "rerank.stratgy"),
        ({"rerank": {"deadline_ms": -5}}, "rerank.deadline_ms"),
        ({"rerank": 3}, "rerank"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 3000}]}, "input_tokens"),
        ({"temperature": "warm"}, "temperature"),
        ({"n": 0}, "n"),
        ({"model": "arithmetic:best-of-100000"}, "model"),
    ],
)
def test_bad_input_is_400_and_names_the_field(server: Server, body: Any, param: str) -> None:
    status, answer = server.post("/v1/chat/completions", {"model": "arithmetic", "messages": QUESTION, **body})
    assert status == 400, answer
    assert answer["error"]["param"] == param, answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert server.get("/health")[0] == 200


@pytest.mark.parametrize("body", [b"no json", b'"text"', b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_400(server: Server, body: bytes) -> None:
    status, answer = server.post("/v1/chat/completions", body)
    assert status == 400
    assert answer["error"]["param"] == "body"


def test_request_ids_are_echoed_and_time_is_told(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="arithmetic", messages=QUESTION, extra_headers={"x-request-id": "mine"}
    )
    assert raw.headers["x-request-id"] == "mine"
    assert int(raw.headers["openai-processing-ms"]) >= 0


@pytest.mark.parametrize(("origin", "told"), [(ALLOWED_ORIGIN, ALLOWED_ORIGIN), ("http://other.example", None)])
def test_a_page_of_an_allowed_origin_may_read_our_refusals(server: Server, origin: str, told: str | None) -> None:
    headers = {**server.headers, "origin": origin}
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", b'{"best_of": 0}', headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as answer:
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (400, told)


def test_operations_pages(server: Server) -> None:
    assert server.get("/health")[0] == 200
    assert json.loads(server.get("/ready")[1]) == {"status": "ready"}
    assert set(json.loads(server.get("/version")[1])) == {"version", "bestofn"}
    metrics = server.get("/metrics")[1]
    assert "bestofn_reward_model_up 1.0" in metrics
    assert "vllm:generation_tokens_total" in metrics


def test_another_path_is_404_in_openais_shape(server: Server) -> None:
    status, answer = server.post("/v1/nothing", {})
    assert status == 404
    assert answer["error"]["message"] == "Not Found"
