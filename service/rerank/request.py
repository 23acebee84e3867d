"""What a client may say beside OpenAI's own fields, read once per request into an `Ask`.

`best_of` can come from four places; the first that speaks wins: body, header `x-best-of`, model alias
`<name>:best-of-<N>`, server default.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from reward.config import PLAIN, RewardConfig
from service.rerank.errors import SHOWN_CHARACTERS, InvalidRequest
from service.rerank.options import DEFAULT_STRATEGY, RerankOptions, read_options
from service.rerank.selection import ARGMAX, Selection
from service.rerank.selection.served_heads import check_heads, check_weights

Reason = Literal["greedy", "slo"]  # temperature 0 would make all candidates one; the latency target
Reranked = Literal["chat", "completions", "responses", "messages"]
PassedOn = Literal[
    "batch", "generate", "cohere", "generative_scoring", "systemone", "transcriptions", "translations", "other"
]
Endpoint = Reranked | PassedOn

ENDPOINTS: Mapping[str, Reranked] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}
# These generate too. They are admitted and accounted for, and asked for a best of N they refuse.
PASSED_ON: Mapping[str, PassedOn] = {
    "/v1/chat/completions/batch": "batch",
    "/inference/v1/generate": "generate",
    "/cohere/v2/chat": "cohere",
    "/generative_scoring": "generative_scoring",
    "/v1/systemone": "systemone",
    "/v1/audio/transcriptions": "transcriptions",
    "/v1/audio/translations": "translations",
}
INVOCATIONS = "/invocations"  # takes the bodies of the first two endpoints
GENERATING = frozenset((*ENDPOINTS, *PASSED_ON, INVOCATIONS))
BEST_OF_HEADER = "x-best-of"
_HUGE = 10**18
_INTEGER = TypeAdapter(int)
_ALIAS = re.compile(r"(?P<model>.+):best-of-(?P<best_of>\d+)")


@dataclass(frozen=True)
class Limits:
    """The server's own bounds and defaults for a request. reward: what the checkpoint records about itself.

    Raises ValueError where the default selection asks for heads that the reward model does not have.
    """

    default_best_of: int
    max_best_of: int
    max_candidates: int  # at work at once, and so the most for a prompt
    default_strategy: str = DEFAULT_STRATEGY
    selection: Selection = ARGMAX
    reward: RewardConfig = PLAIN

    def __post_init__(self) -> None:
        try:
            check_heads(self.selection, self.reward)
        except InvalidRequest as error:
            raise ValueError(f"--selection: {error}") from None


@dataclass(frozen=True)
class Ask:
    """One request, as far as reranking goes.

    N is admitted here, and decided by the plan: a model whose own temperature is 0 makes it smaller still.
    """

    endpoint: Endpoint
    best_of: int  # candidates for each prompt, at most
    asked_best_of: int  # by the client, or by the server's default
    fewer_because: Reason | None  # why `best_of` is below it
    n: int  # to return
    prompts: int  # that the request holds
    max_tokens: int | None  # of an answer
    explicit: bool  # the client spoke of best_of or rerank
    wants_reward: bool
    background: bool
    beam: bool  # a beam search, which generates one token at a time
    options: RerankOptions
    selection: Selection  # the client's, or the server's
    reward: RewardConfig  # see `Limits`
    body: bytes  # JSON for vLLM, without our fields
    model: str | None  # as vLLM knows it

    @property
    def candidates(self) -> int:
        """The most candidates that this request can have; a beam search is `n` wide."""
        return max(self.best_of, self.n) * self.prompts


def plain_ask(endpoint: Endpoint, body: bytes = b"") -> Ask:
    """A request that is not ranked: whatever it generates is passed on."""
    return Ask(
        endpoint=endpoint,
        best_of=1,
        asked_best_of=1,
        fewer_because=None,
        n=1,
        prompts=1,
        max_tokens=None,
        explicit=False,
        wants_reward=False,
        background=False,
        beam=False,
        options=RerankOptions(),
        selection=ARGMAX,
        reward=PLAIN,
        body=body,
        model=None,
    )


def endpoint_of(path: str, body: bytes) -> Endpoint:
    """Of a path in `GENERATING`. A body for /invocations is meant for the first endpoint that can read it."""
    if path == INVOCATIONS:
        return "completions" if b'"messages"' not in body else "chat"
    return ENDPOINTS[path] if path in ENDPOINTS else PASSED_ON[path]


def read_ask(endpoint: Endpoint, body: bytes, header: str | None, limits: Limits) -> Ask:
    """Read a request body and the value of the `x-best-of` header.

    Raises:
        InvalidRequest: naming the field, when our part of the request cannot be honoured. vLLM's own fields are
            left for vLLM to judge.
    """
    if endpoint not in ENDPOINTS.values():
        _refuse_reranking(body, header)
        return plain_ask(endpoint, body)
    request = _object(body)
    if request.get("messages") == []:
        raise InvalidRequest("messages must hold at least one message", param="messages")
    _check_items(request.get("input"))
    rerank_given = request.get("rerank") is not None
    options = read_options(request.get("rerank"), limits.default_strategy)
    if options.progress and not request.get("stream"):
        raise InvalidRequest("rerank.progress needs a stream: set stream to true", param="rerank.progress")
    selection = options.selection or limits.selection
    check_heads(selection, limits.reward)
    if options.reward_weights is not None:
        check_weights(options.reward_weights, selection, limits.reward)
    asked = _asked_best_of(request, header)
    if rerank_given or asked is not None:
        _refuse_what_cannot_be_reranked(request, asked)
    n = _count(request.get("n")) if endpoint in ("chat", "completions") else 1
    if options.stop_after is not None and options.stop_after < n:
        message = f"rerank.stop_after is {options.stop_after}, fewer than n = {n} to return"
        raise InvalidRequest(message, param="rerank.stop_after")
    asked_best_of = _resolve_best_of(asked, n, request, limits)
    if n > limits.max_candidates:
        message = f"n is {n}; this server runs at most {limits.max_candidates} candidates at once (--max-candidates)"
        raise InvalidRequest(message, param="n")
    greedy = request.get("temperature") == 0
    best_of = min(n, asked_best_of) if greedy else asked_best_of
    prompts = _prompt_count(request) if endpoint == "completions" else 1
    if options.conversation is not None and (endpoint != "completions" or prompts > 1):
        message = "rerank.conversation is for one prompt of /v1/completions; elsewhere the request has its own"
        raise InvalidRequest(message, param="rerank.conversation")
    forwarded = _without_ours(request)
    return Ask(
        endpoint=endpoint,
        best_of=best_of,
        asked_best_of=asked_best_of,
        fewer_because="greedy" if best_of < asked_best_of else None,
        n=n,
        prompts=prompts,
        max_tokens=_max_tokens(request),
        explicit=asked is not None or rerank_given,
        wants_reward=rerank_given,
        background=bool(request.get("background")),
        beam=bool(request.get("use_beam_search")),
        options=options,
        selection=selection,
        reward=limits.reward,
        body=body if forwarded == request else json.dumps(forwarded).encode(),
        model=model if isinstance(model := forwarded.get("model"), str) else None,
    )


def _check_items(items: Any) -> None:
    """Of an earlier answer in the input of /v1/responses vLLM takes the first part's text, and fails without."""
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if not isinstance(item, dict) or item.get("role") != "assistant" or not isinstance(item.get("content"), list):
            continue
        field, first = f"input.{index}.content", next(iter(item["content"]), None)
        if first is None:
            raise InvalidRequest(f"{field}: must hold at least one part", param=field)
        if isinstance(first, dict) and first.get("type") == "refusal":
            raise InvalidRequest(f"{field}.0: a refusal cannot be read; give it as output_text", param=f"{field}.0")


def _refuse_reranking(body: bytes, header: str | None) -> None:
    """For an endpoint that is passed on. Raises InvalidRequest, naming the field, where a client asks for more."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        request = None  # a form with a recording, or nonsense, which vLLM refuses
    request = request if isinstance(request, dict) else {}
    asked = _asked_best_of(request, header)
    param = asked[1] if asked else "rerank" if request.get("rerank") is not None else None
    if param is not None:
        message = f"{param}: this endpoint is not reranked; use one of {', '.join(ENDPOINTS)}"
        raise InvalidRequest(message, param=param)


def _object(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}", param="body") from None
    if not isinstance(request, dict):
        raise InvalidRequest(f"the request body must be a JSON object, not {type(request).__name__}", param="body")
    return request


def _asked_best_of(request: Mapping[str, Any], header: str | None) -> tuple[int, str] | None:
    """(value, the field it came from), or None where the client does not speak of it."""
    if (value := request.get("best_of")) is not None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidRequest(f"best_of must be an integer, not {_shown(value)}", param="best_of")
        return value, "best_of"
    if header is not None:
        if not header.strip().isascii() or not header.strip().isdigit():
            raise InvalidRequest(
                f"the header {BEST_OF_HEADER} must be an integer, not {_shown(header)}", param=BEST_OF_HEADER
            )
        return _bounded_int(header.strip()), BEST_OF_HEADER
    if alias := _alias(request):
        return _bounded_int(alias["best_of"]), "model"
    return None


def _bounded_int(digits: str) -> int:
    """The number, or one above every limit where it has too many digits to be meant."""
    return int(digits) if len(digits) <= 18 else _HUGE


def _alias(request: Mapping[str, Any]) -> re.Match[str] | None:
    model = request.get("model")
    return _ALIAS.fullmatch(model) if isinstance(model, str) else None


def model_behind(model: str, max_best_of: int) -> str:
    """What a model alias stands for, or the name itself. Raises InvalidRequest where its N is out of bounds."""
    alias = _ALIAS.fullmatch(model)
    if alias is None:
        return model
    _check_best_of(_bounded_int(alias["best_of"]), "model", max_best_of)
    return alias["model"]


def _check_best_of(best_of: int, field: str, max_best_of: int) -> None:
    if not 1 <= best_of <= max_best_of:
        shown = best_of if abs(best_of) < _HUGE else "far too many"
        message = f"{field} asks for {shown} candidates; it must be between 1 and {max_best_of}"
        raise InvalidRequest(message, param=field)


def _resolve_best_of(asked: tuple[int, str] | None, n: int, request: Mapping[str, Any], limits: Limits) -> int:
    if asked is None:
        return 1 if _generates_elsewhere(request) else max(n, limits.default_best_of)
    best_of, field = asked
    _check_best_of(best_of, field, limits.max_best_of)
    if best_of < n:
        raise InvalidRequest(f"{field} asks for {best_of} candidates, fewer than n = {n} to return", param=field)
    return best_of


def _generates_elsewhere(request: Mapping[str, Any]) -> bool:
    """Beam search samples by its own rule; a background request is answered before it is generated."""
    return bool(request.get("use_beam_search") or request.get("background"))


def _refuse_what_cannot_be_reranked(request: Mapping[str, Any], asked: tuple[int, str] | None) -> None:
    if _generates_elsewhere(request):
        message = "best_of and rerank cannot be combined with use_beam_search or background"
        raise InvalidRequest(message, param="rerank" if asked is None else asked[1])


def _without_ours(request: Mapping[str, Any]) -> dict[str, Any]:
    forwarded = {key: value for key, value in request.items() if key not in ("best_of", "rerank")}
    if alias := _alias(request):
        forwarded["model"] = alias["model"]
    return forwarded


def _count(value: Any) -> int:
    """`n` as vLLM reads it; what is no number vLLM refuses with its own message."""
    try:
        n = _INTEGER.validate_python(value)
    except ValidationError:
        return 1
    if not 1 <= n < _HUGE:
        raise InvalidRequest("n must be at least 1" if n < 1 else "n is far too large", param="n")
    return n


def _max_tokens(request: Mapping[str, Any]) -> int | None:
    """By the name that the endpoint has for it; what is no number vLLM refuses with its own message."""
    given = (request.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    return next((value for value in given if isinstance(value, int)), None)


def _shown(value: Any) -> str:
    """A client's value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def _prompt_count(request: Mapping[str, Any]) -> int:
    prompt = request.get("prompt")
    is_batch = isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list)
    return len(prompt) if is_batch and prompt else 1
