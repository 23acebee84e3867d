"""What the official clients see when something goes wrong, and on the way there, at each endpoint."""

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest

from tests.server import ALLOWED_ORIGIN, API_KEY, Server

pytestmark = pytest.mark.engine

MESSAGES: Any = [{"role": "user", "content": "What is 35+21+81?"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "What is 35+21+81?"},
    "/v1/responses": {"input": "What is 35+21+81?"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 50, "model": "arithmetic"},
}
TOO_HIGH = {"best_of": 2, "rerank": {"min_reward": 1e9}}
# So long that a comment has begun the stream before the choice fails.
LONG = {"best_of": 8, "rerank": {"min_reward": 1e9, "progress": True}}
TOO_SOON = {"best_of": 2, "rerank": {"deadline_ms": 1}}


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def claude(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, auth_token=API_KEY, max_retries=0) as made:
        yield made


Ask = Callable[[dict[str, Any], bool], Any]


@pytest.fixture(params=["chat", "completions", "responses", "messages"])
def endpoint(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def ask(endpoint: str, client: openai.OpenAI, claude: anthropic.Anthropic) -> Ask:
    """Sends one request by an endpoint's official client, and reads the answer to its end."""

    def send(body: dict[str, Any], stream: bool) -> Any:
        more: Any = {"model": "arithmetic", "stream": stream, "extra_body": body}
        match endpoint:
            case "chat":
                answer = client.chat.completions.create(messages=MESSAGES, **more)
            case "completions":
                answer = client.completions.create(prompt="What is 35+21+81?", **more)
            case "responses":
                answer = client.responses.create(input="What is 35+21+81?", **more)
            case _:
                answer = claude.messages.create(messages=MESSAGES, max_tokens=600, **more)
        return list(answer) if stream else answer

    return send


def body_of(error: Any) -> dict[str, Any]:
    """The error's own object; openai's clients take it out, anthropic's give the whole body."""
    found: dict[str, Any] = error.body.get("error", error.body)
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "status", "code"), [(TOO_HIGH, 424, "below_min_reward"), (TOO_SOON, 504, "deadline_exceeded")]
)
def test_a_refusal_of_ours_has_its_status(
    ask: Ask, endpoint: str, asked: dict[str, Any], status: int, code: str, stream: bool, server: Server
) -> None:
    before = server.log.stat().st_size
    with pytest.raises((openai.APIError, anthropic.APIStatusError)) as caught:
        ask(asked, stream)
    begins_at_once = endpoint == "responses" and stream
    assert getattr(caught.value, "status_code", None) == (None if begins_at_once else status)
    error = body_of(caught.value)
    assert (error["code"], error["param"]) == (code, f"rerank.{next(iter(asked['rerank']))}")
    assert b"Traceback" not in server.log.read_bytes()[before:]


@pytest.mark.parametrize("stream", [False, True])
def test_one_refusal_of_several_prompts_is_that_of_the_request(
    client: openai.OpenAI, stream: bool, server: Server
) -> None:
    before = server.log.stat().st_size
    with pytest.raises(openai.APIStatusError) as caught:
        client.completions.create(model="arithmetic", prompt=["1+2=", "3+4="], stream=stream, extra_body=TOO_HIGH)
    assert (caught.value.status_code, caught.value.code) == (424, "below_min_reward")
    assert b"Traceback" not in server.log.read_bytes()[before:]


def test_a_refusal_in_a_stream_that_has_begun_is_an_error_of_the_client(ask: Ask, server: Server) -> None:
    before = server.log.stat().st_size
    long = {"ignore_eos": True, "min_tokens": 400}
    limits = {"max_tokens": 400, "max_output_tokens": 400}
    with pytest.raises((openai.APIError, anthropic.APIStatusError)) as caught:
        ask({**LONG, **long, **limits}, True)
    if isinstance(caught.value, openai.APIStatusError):
        pytest.fail(f"the stream had not begun: {caught.value}")
    error = body_of(caught.value)
    assert (error["code"], error["type"]) == ("below_min_reward", "quality_error")
    assert "asks for at least 1e+09" in error["message"]
    assert b"Traceback" not in server.log.read_bytes()[before:]


def test_errors_of_messages_are_anthropics(server: Server, claude: anthropic.Anthropic) -> None:
    wrong: list[tuple[dict[str, Any], int, str]] = [
        (TOO_HIGH, 424, "quality_error"),
        (TOO_SOON, 504, "timeout_error"),
        ({"best_of": 0}, 400, "invalid_request_error"),
        ({"model": "nothing"}, 404, "not_found_error"),
        ({"max_tokens": "many"}, 400, "invalid_request_error"),
    ]
    for body, status, kind in wrong:
        found, answer = server.post("/v1/messages", BODIES["/v1/messages"] | body)
        assert (found, answer["type"], answer["error"]["type"]) == (status, "error", kind), answer
        assert answer["error"]["message"]
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.count_tokens(model="nothing", messages=MESSAGES)


def test_a_failed_response_ends_as_openais_does(server: Server) -> None:
    asked = {**BODIES["/v1/responses"], **LONG, "stream": True, "ignore_eos": True, "max_output_tokens": 400}
    with raw(server, "POST", "/v1/responses", asked) as answer:
        assert answer.status == 200
        text = answer.read().decode()
    events = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]
    *_, told, failed = events
    assert (told["type"], told["code"]) == ("error", "below_min_reward")
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"]["code"] == "below_min_reward"
    assert failed["response"]["id"] == events[0]["response"]["id"]
    assert failed["response"]["rerank"]["sampled"] == 8
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


# -- what cannot be read


@pytest.mark.parametrize("path", [*BODIES, "/tokenize", "/v1/messages/count_tokens", "/v1/chat/completions/batch"])
@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_that_is_not_called_json_is_refused_in_vllms_words(server: Server, path: str, kind: str | None) -> None:
    with raw(server, "POST", path, BODIES.get(path, {}), {"content-type": kind}) as answer:
        status, body = answer.status, json.loads(answer.read())
    assert status == 400
    assert body["error"]["message"] == "Unsupported Media Type: Only 'application/json' is allowed"


@pytest.mark.parametrize(
    ("path", "body", "param", "message"),
    [
        ("/v1/chat/completions", {"stop": list("abcde")}, "stop", "at most 4"),
        ("/v1/completions", {"stop": list("abcde")}, "stop", "at most 4"),
        ("/v1/chat/completions", {"stop": [1]}, "stop.0", "valid string"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": 5}]}, "messages.0.content", "valid string"),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input.0.content.0.text",
            "",
        ),
        ("/v1/chat/completions", {"stop": ["\ud800"]}, "stop.0", "surrogate"),
        ("/v1/chat/completions", {"bad_words": ["a", "\udc00"]}, "bad_words.1", "surrogate"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "\ud800"}]},
            "messages.0.content",
            "surrogate",
        ),
        ("/v1/completions", {"prompt": "\ud800"}, "prompt", "surrogate"),
        ("/v1/responses", {"input": "\ud800", "best_of": 2}, "input", "surrogate"),
        ("/v1/messages", {"stop_sequences": ["\ud800"]}, "stop_sequences.0", "surrogate"),
        ("/tokenize", {"prompt": "\ud800"}, "prompt", "surrogate"),
    ],
)
def test_what_cannot_be_meant_is_told_of_by_its_cause(
    server: Server, path: str, body: dict[str, Any], param: str, message: str
) -> None:
    status, answer = server.post(path, BODIES.get(path, {}) | body)
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert message in answer["error"]["message"]


# -- usage, headers, names


@pytest.mark.parametrize(
    "asked", [{"best_of": 8}, {"best_of": 4, "n": 2}, {"best_of": 8, "rerank": {"strategy": "prune"}}]
)
def test_usage_on_the_way_never_falls_and_ends_at_the_bill(client: openai.OpenAI, asked: dict[str, Any]) -> None:
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    stream = client.chat.completions.create(
        model="arithmetic", messages=MESSAGES, stream=True, stream_options=options, extra_body=asked
    )
    chunks = list(stream)
    usages = [chunk.usage for chunk in chunks]
    totals = [usage.completion_tokens for usage in usages if usage is not None]
    assert len(totals) == len(chunks) > 2
    assert totals == sorted(totals)
    rerank: Any = (chunks[-1].model_extra or {})["rerank"]
    assert totals[-1] == rerank["tokens"]["generated"] > rerank["tokens"]["returned"]
    assert all(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens for usage in usages if usage)


def test_tokens_that_are_not_returned_stand_where_costs_trackers_look(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(model="arithmetic", messages=MESSAGES, extra_body={"best_of": 4})
    tokens: Any = (chat.model_extra or {})["rerank"]["tokens"]
    assert chat.usage is not None
    assert chat.usage.completion_tokens_details is not None
    assert (
        chat.usage.completion_tokens_details.rejected_prediction_tokens == tokens["generated"] - tokens["returned"] > 0
    )
    response = client.responses.create(model="arithmetic", input="What is 1+2+3?", extra_body={"best_of": 4})
    tokens = (response.model_extra or {})["rerank"]["tokens"]
    assert response.usage is not None
    details = response.usage.output_tokens_details
    assert (details.model_extra or {})["rejected_prediction_tokens"] == tokens["generated"] - tokens["returned"]


@pytest.mark.parametrize("stream", [False, True])
def test_headers_tell_what_was_chosen(client: openai.OpenAI, stream: bool) -> None:
    asking: Any = {"model": "arithmetic", "messages": MESSAGES, "stream": stream, "extra_body": {"best_of": 3}}
    with client.chat.completions.with_streaming_response.create(**asking) as answer:
        text, headers = answer.read().decode(), answer.headers
    last = json.loads(text if not stream else text.split("data: ")[-2])["rerank"]
    assert float(headers["x-bestofn-reward"]) == last["reward"]
    assert int(headers["x-bestofn-best-of"]) == int(headers["x-bestofn-sampled"]) == 3
    assert int(headers["x-bestofn-generated-tokens"]) == last["tokens"]["generated"]
    if stream:
        assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-cache")


def test_a_page_of_another_origin_may_read_our_headers(server: Server) -> None:
    with raw(server, "GET", "/v1/models", headers={"origin": ALLOWED_ORIGIN}) as answer:
        answer.read()
        assert answer.getheader("vary") == "Origin"
        exposed = (answer.getheader("access-control-expose-headers") or "").split(", ")
    assert {"x-request-id", "retry-after", "x-bestofn-reward"} <= set(exposed)


@pytest.mark.parametrize("name", ["arithmetic", "arithmetic:best-of-8", "arithmetic:best-of-12"])
def test_a_model_and_its_aliases_are_known_everywhere(
    client: openai.OpenAI, claude: anthropic.Anthropic, server: Server, name: str
) -> None:
    assert client.models.retrieve(name).id == name
    assert server.post("/tokenize", {"model": name, "prompt": "1+2"})[1]["count"] > 0
    assert server.post("/detokenize", {"model": name, "tokens": [50]})[0] == 200
    assert claude.messages.count_tokens(model=name, messages=MESSAGES).input_tokens > 0


@pytest.mark.parametrize("name", ["nothing", "arithmetic:best-of-65", "a/b", "nothing:best-of-4"])
def test_a_model_that_is_not_served_is_not_found(client: openai.OpenAI, name: str) -> None:
    with pytest.raises((openai.NotFoundError, openai.BadRequestError)) as caught:
        client.models.retrieve(name)
    assert caught.value.param == "model"


@pytest.mark.parametrize("path", ["/health", "/ready", "/version", "/ping", "/v1/models", "/metrics", "/"])
def test_head_answers_as_get(server: Server, path: str) -> None:
    found = []
    for method in ("GET", "HEAD"):
        with raw(server, method, path) as answer:
            found.append((answer.status, answer.getheader("content-type"), bool(answer.read())))
    assert found[1] == (200, found[0][1], False)


class raw:
    """One request, with no more headers than are given."""

    def __init__(self, server: Server, method: str, path: str, body: Any = None, headers: Any = None) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=120)
        given = {name.lower(): value for name, value in server.headers.items()} | (headers or {})
        kept = {name: value for name, value in given.items() if value is not None}
        self._connection.request(method, path, None if body is None else json.dumps(body), kept)

    def __enter__(self) -> http.client.HTTPResponse:
        return self._connection.getresponse()

    def __exit__(self, *_: object) -> None:
        self._connection.close()
