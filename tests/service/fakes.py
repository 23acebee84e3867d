"""Stand-ins with real asynchronous behaviour: a scripted engine, a scripted reward model, vLLM's application, a client.

Nothing sleeps on a clock: candidates wait for turns of the event loop, for `release`, or for an abort.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reward.config import PLAIN, RewardConfig
from reward.conversation import Conversation
from reward.scorer import RewardUnavailable, Score, Scorer
from reward.template import ConversationTemplate, Prompt
from reward.template import Message as ChatMessage
from reward.template import Reply as Answered
from service.rerank.busy_time import BusyMeter
from service.rerank.context import RequestContext, current_request
from service.rerank.errors import ServiceError, error_body
from service.rerank.ledger import Ledger
from service.rerank.plan import Plan, make_plan
from service.rerank.prices import Prices
from service.rerank.protocols import Draft, Place, Places
from service.rerank.request import Ask, Limits, read_ask
from service.rerank.run import Run
from service.rerank.strategies import Strategy
from service.rerank.supervised_scorer import OnRewardFailure, SupervisedScorer

LIMITS = Limits(default_best_of=1, max_best_of=64, max_candidates=512)
QUESTION: tuple[ChatMessage, ...] = ({"role": "user", "content": "What is 1+1?"},)
CONVERSATION = Conversation(QUESTION)
CHAT = "/v1/chat/completions"
PATIENCE_S = 2.0
METER = BusyMeter()


class FreePlaces:
    """A place for everybody."""

    @dataclass(frozen=True)
    class Free:
        @property
        def granted(self) -> "asyncio.Future[bool]":
            granted = asyncio.get_running_loop().create_future()
            granted.set_result(True)
            return granted

    def ask(self) -> Place:
        return self.Free()

    def leave(self, place: Place) -> None:
        pass


FREE = FreePlaces()


@dataclass(frozen=True)
class Script:
    """What one candidate does; each letter is a token.

    reason: with the last piece; None ends the stream without one. error: raised after the pieces instead.
    held: the last piece waits for `FakeSampler.release`. turns: of the event loop before each piece.
    """

    pieces: tuple[str, ...] = ("answer",)
    reason: str | None = "stop"
    error: Exception | None = None
    held: bool = False
    turns: int = 0


def says(text: str, **changes: Any) -> Script:
    return Script(pieces=(text,), **changes)


class FakeSampler:
    """Follows one script per candidate. Aborts take effect once `may_abort` is set, as it is at first."""

    def __init__(self, *scripts: Script, abort_error: Exception | None = None) -> None:
        self.scripts = scripts
        self.abort_error = abort_error
        self.may_abort = asyncio.Event()
        self.may_abort.set()
        self.aborted: list[int] = []
        self.running: set[int] = set()
        self.tokens = 0
        self.prompt_tokens = self.cached_prompt_tokens = 0
        self._released: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    def release(self, index: int) -> None:
        self._released[index].set()

    async def sample(self, index: int) -> AsyncIterator[Draft]:
        script = self.scripts[index]
        self.running.add(index)
        try:
            for number, piece in enumerate(script.pieces, start=1):
                last = number == len(script.pieces)
                await self._until(index, script, held=script.held and last)
                self.prompt_tokens, self.cached_prompt_tokens = 5, 2
                if index in self.aborted:
                    yield Draft(0, "", "abort")
                    return
                self.tokens += len(piece)
                yield Draft(len(piece), piece, script.reason if last and script.error is None else None)
            if script.error is not None:
                raise script.error
        finally:
            self.running.discard(index)

    async def _until(self, index: int, script: Script, *, held: bool) -> None:
        await turns(script.turns)
        if held:
            await self._released[index].wait()

    async def abort(self, indices: list[int]) -> None:
        await self.may_abort.wait()
        if self.abort_error is not None:
            raise self.abort_error
        self.aborted += indices
        for index in indices:
            self.release(index)


class FakeTemplate(ConversationTemplate):
    """Renders nothing; refuses when told to."""

    def __init__(self, error: Exception | None = None, tokens: int = 0) -> None:
        self._error, self._tokens = error, tokens

    def reads_as(self, other: object) -> bool:
        return False

    def prompt(self, messages: Sequence[ChatMessage], **_: Any) -> Prompt:
        if self._error is not None:
            raise self._error
        return Prompt(tuple(messages), "", "", (), "", least_tokens=self._tokens)


class FakeScorer:
    """Rewards by text: a number, a whole Score, or an exception; 0 for any other text.

    Scores wait until `open` is set, as it is at first, and for `turns` of the event loop.
    """

    def __init__(
        self,
        rewards: Mapping[str, float | Score | Exception] | None = None,
        *,
        prefill_error: Exception | None = None,
        template_error: Exception | None = None,
        turns: int = 0,
        config: RewardConfig = PLAIN,
        prompt_tokens: int = 0,
    ) -> None:
        self.config = config
        self.max_tokens: int | None = None
        self.template: ConversationTemplate = FakeTemplate(template_error, prompt_tokens)
        self.rewards = dict(rewards or {})
        self.open = asyncio.Event()
        self.open.set()
        self.asked: list[tuple[Any, bool]] = []
        self.prefills = 0
        self.pending = 0
        self._prefill_error = prefill_error
        self._turns = turns
        self._failure: RewardUnavailable | None = None
        self._dead = asyncio.Event()

    def die(self, reason: str = "the reward engine died") -> None:
        self._failure = RewardUnavailable(reason)
        self._dead.set()

    async def prompt(self, conversation: Conversation) -> Prompt:
        return conversation.prompt(self.template)

    async def prefill(self, prompt: Prompt) -> None:
        self.prefills += 1
        await self.check_health()
        if self._prefill_error is not None:
            raise self._prefill_error

    async def score(self, prompt: Prompt, response: Answered, *, finished: bool = True) -> Score:
        self.asked.append((response, finished))
        self.pending += 1
        try:
            await turns(self._turns)
            await self.open.wait()
            await self.check_health()
        finally:
            self.pending -= 1
        given = self.rewards.get(response, 0.0) if isinstance(response, str) else 0.0
        if isinstance(given, Exception):
            raise given
        return given if isinstance(given, Score) else Score(given, {}, 10 + len(response), 10)

    async def check_health(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def wait_failed(self) -> None:
        await self._dead.wait()
        await self.check_health()

    async def close(self) -> None:
        self.die("closed")


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def settle() -> None:
    """Let everything run that does not wait for the test."""
    await turns(30)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  a test may wait for anything, not just for what sets an event
            await asyncio.sleep(0.001)


async def cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE_S)


def make_ask(body: Mapping[str, Any] | None = None, *, endpoint: str = "chat", limits: Limits = LIMITS) -> Ask:
    return read_ask(endpoint, json.dumps(body or {}).encode(), None, limits)  # type: ignore[arg-type]


def plan_for(best_of: int, n: int = 1, *, checkpoint_tokens: int | None = None, **rerank: Any) -> Plan:
    body: dict[str, Any] = {"best_of": best_of, "n": n} | ({"rerank": rerank} if rerank else {})
    return make_plan(make_ask(body), n=n, temperature=1.0, checkpoint_tokens=checkpoint_tokens)


def with_strategy(plan: Plan, strategy: Strategy) -> Plan:
    return replace(plan, strategy=strategy)


def supervised(
    scorer: Scorer,
    on_failure: OnRewardFailure = "error",
    timeout_s: float | None = None,
    hang_s: float = 10.0,
    **options: Any,
) -> SupervisedScorer:
    """As a server watches its scorer."""
    return SupervisedScorer(scorer, on_failure, timeout_s, hang_s, **options)


def make_run(
    sampler: FakeSampler,
    scorer: FakeScorer | SupervisedScorer | None = None,
    *,
    plan: Plan | None = None,
    on_reward_failure: OnRewardFailure = "error",
    places: Places = FREE,
) -> Run:
    watch = scorer if isinstance(scorer, SupervisedScorer) else supervised(scorer or FakeScorer(), on_reward_failure)
    return Run(plan or plan_for(len(sampler.scripts)), CONVERSATION, sampler, watch, METER, places)


@dataclass
class EndedRun:
    """A run that is over."""

    ledger: Ledger

    def close(self) -> "asyncio.Task[None]":
        return asyncio.create_task(asyncio.sleep(0))


def make_context(*ledgers: Ledger, ask: Ask | None = None, prices: Prices | None = None) -> RequestContext:
    runs = [cast(Run, EndedRun(ledger)) for ledger in ledgers]
    return RequestContext(ask or make_ask({"best_of": 2}), FREE, prices=prices, runs=runs)


@dataclass
class FakeVllm:
    """vLLM's application, with our handler of `ServiceError`, over a `Run` per request.

    sampler: makes the engine of one request. early: bytes of a stream that are sent before anything is generated.
    """

    sampler: Callable[[], FakeSampler]
    scorer: FakeScorer = field(default_factory=FakeScorer)
    on_reward_failure: OnRewardFailure = "error"
    early: bytes = b""
    requests: list[dict[str, Any]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = json.loads((await receive())["body"])
        self.requests.append(request)
        stream = request.get("stream") is True
        if stream:
            await send(_start(200, b"text/event-stream"))
            if self.early:
                await send({"type": "http.response.body", "body": self.early, "more_body": True})
        try:
            selected, run = await self._generate(request)
        except Exception as error:
            await self._fail(send, error, stream=stream)
            return
        texts = [run.ledger.records[index].text for index in selected]
        await (self._stream(send, texts) if stream else self._answer(send, texts))

    async def _generate(self, request: Mapping[str, Any]) -> tuple[tuple[int, ...], Run]:
        context = current_request.get()
        assert context is not None
        n, seed = request.get("n", 1), request.get("seed", 0)
        plan = make_plan(context.ask, n=n, temperature=1.0, checkpoint_tokens=None, seed=seed)
        sampler = self.sampler()
        reward = supervised(self.scorer, self.on_reward_failure)
        run = Run(plan, CONVERSATION, sampler, reward, METER, context.places)
        context.begin(run)
        self.runs.append(run)
        try:
            return await run.best(), run
        except ServiceError as error:
            context.error = error
            raise

    async def _answer(self, send: Send, texts: Sequence[str]) -> None:
        usage = {"prompt_tokens": 3, "completion_tokens": len(texts[0]), "total_tokens": 3 + len(texts[0])}
        answer = {"choices": [{"message": {"content": text}} for text in texts], "usage": usage}
        await send(_start(200, b"application/json"))
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def _stream(self, send: Send, texts: Sequence[str]) -> None:
        *others, last = list(texts[0])
        pieces = [*((letter, None) for letter in others), (last, "stop")]
        events = [{"choices": [{"delta": {"content": letter}, "finish_reason": end}]} for letter, end in pieces]
        for event in events:
            await send({"type": "http.response.body", "body": sse(event), "more_body": True})
        await send({"type": "http.response.body", "body": sse("[DONE]"), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _fail(self, send: Send, error: Exception, *, stream: bool) -> None:
        ours = isinstance(error, ServiceError) and not stream
        body = error_body(error) if ours else _vllm_error(error)  # type: ignore[arg-type]
        if stream:
            await send({"type": "http.response.body", "body": sse(body), "more_body": True})
            await send({"type": "http.response.body", "body": sse("[DONE]")})
            return
        await send(_start(error.status if isinstance(error, ServiceError) else 500, b"application/json"))
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def _vllm_error(error: Exception) -> dict[str, Any]:
    return {"error": {"message": str(error), "type": "InternalServerError", "param": None, "code": 500}}


def _start(status: int, content_type: bytes) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]}


def sse(payload: Mapping[str, Any] | str) -> bytes:
    data = payload if isinstance(payload, str) else json.dumps(payload)
    return f"data: {data}\n\n".encode()


def answers(
    status: int, body: bytes | Mapping[str, Any], content_type: str = "application/json", **headers: str
) -> ASGIApp:
    """An application that always gives this answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raw = [(b"content-type", content_type.encode())]
        raw += [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        await send({"type": "http.response.body", "body": content})

    return app


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer, checked against ASGI: one start, then bodies, the last of which ends it."""

    status: int
    headers: Mapping[str, str]
    chunks: Sequence[bytes]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> "Reply":
        start, *bodies = messages
        assert start["type"] == "http.response.start"
        assert all(message["type"] == "http.response.body" for message in bodies)
        assert [message.get("more_body", False) for message in bodies] == [True] * (len(bodies) - 1) + [False]
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        reply = cls(start["status"], headers, [message.get("body", b"") for message in bodies])
        assert int(headers.get("content-length", len(reply.body))) == len(reply.body)
        return reply

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of a stream's events, comments left out."""
        lines = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def call(
    app: ASGIApp,
    body: bytes | Mapping[str, Any] = b"",
    *,
    path: str = CHAT,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    messages: list[Message] | None = None,
    send: Callable[[Message], Awaitable[None]] | None = None,
) -> Reply:
    """One request. messages: filled while the answer comes in. send: takes its place."""
    sent: list[Message] = [] if messages is None else messages
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    half = len(content) // 2
    incoming: list[Message] = [
        {"type": "http.request", "body": content[:half], "more_body": True},
        {"type": "http.request", "body": content[half:], "more_body": False},
    ]

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def collect(message: Message) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "query_string": b"", "headers": raw}
    await app(scope, receive, send or collect)
    return Reply.of(sent)


def is_openai_error(answer: Any) -> bool:
    return set(answer) == {"error"} and set(answer["error"]) == {"message", "type", "param", "code"}


@dataclass(frozen=True)
class Told:
    """A candidate as it was recorded. lengths: tokens at each checkpoint. rewards: there, and of the end."""

    lengths: tuple[int, ...]
    rewards: tuple[float, ...]
    tokens: int


class LockstepSampler:
    """Candidates of a record that grow together, a token each at every step, once all work of the last step is done."""

    prompt_tokens = cached_prompt_tokens = 0

    def __init__(self, told: Sequence[Told]) -> None:
        self._told = told
        self._aborted: set[int] = set()
        self._steps: list[asyncio.Future[None]] = []
        self._ticker: asyncio.Task[None] | None = None

    async def sample(self, index: int) -> AsyncIterator[Draft]:
        told = self._told[index]
        for tokens in range(1, told.tokens + 1):
            await self._step()
            if index in self._aborted:
                yield Draft(0, "", "abort")
                return
            yield Draft(1, chr(0x4E00 + index), "stop" if tokens == told.tokens else None)

    async def abort(self, indices: list[int]) -> None:
        self._aborted.update(indices)

    async def _step(self) -> None:
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.create_task(self._tick())
        waiting = asyncio.get_running_loop().create_future()
        self._steps.append(waiting)
        await waiting

    async def _tick(self) -> None:
        await settle()
        steps, self._steps = self._steps, []
        self._ticker = None
        for waiting in steps:
            waiting.set_result(None)


class RecordScorer(FakeScorer):
    """Scores a text of `LockstepSampler` by the record."""

    def __init__(self, told: Sequence[Told]) -> None:
        super().__init__()
        self._told = told

    async def score(self, prompt: Prompt, response: Answered, *, finished: bool = True) -> Score:
        assert isinstance(response, str)
        told = self._told[ord(response[0]) - 0x4E00]
        place = len(told.lengths) if finished else told.lengths.index(len(response))
        return Score(told.rewards[place], {}, 10 + len(response), 10)
