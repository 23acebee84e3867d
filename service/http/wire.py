"""What goes back to the client: vLLM's answer, with the whole bill in `usage` and one `rerank` object added.

Each endpoint keeps its own shape; `Dialect` says where usage and `rerank` go. Nothing else of vLLM's answer is
touched, and an answer that was not reranked is passed on byte for byte.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reward.bounds import kl_bound_nats, kl_bound_of_choice_nats
from service.rerank.context import RequestContext
from service.rerank.errors import ServiceError, error_body
from service.rerank.ledger import Ledger, Record, Tokens, count_tokens
from service.rerank.request import Ask, Endpoint
from service.rerank.selection import ARGMAX

Json = dict[str, Any]


@dataclass(frozen=True)
class Dialect:
    """usage: finds the usage object in an answer or event. completion_key: its name for generated tokens.

    carrier: in an event of a stream, the object that takes `rerank`, if the event is one that may carry it.
    """

    usage: Callable[[Json], Json | None]
    completion_key: str
    carrier: Callable[[Json], Json | None]


def _usage(event: Json) -> Json | None:
    return event.get("usage")


def _response(event: Json) -> Json | None:
    """A Responses stream carries the whole response in its last event; a plain answer is the response."""
    ends = ("response.completed", "response.incomplete", "response.failed")
    return event.get("response") if event.get("type") in ends else None


def _response_usage(event: Json) -> Json | None:
    return (_response(event) or event).get("usage")


def _final_chunk(event: Json) -> Json | None:
    """A chunk that could be the last: it ends a choice, or carries the usage behind all of them."""
    choices = event.get("choices")
    ends = choices == [] or any(choice.get("finish_reason") for choice in choices or [])
    return event if ends else None


_OPENAI = Dialect(_usage, "completion_tokens", _final_chunk)

DIALECTS: Mapping[Endpoint, Dialect] = {
    "chat": _OPENAI,
    "completions": _OPENAI,
    "responses": Dialect(_response_usage, "output_tokens", _response),
    "messages": Dialect(_usage, "output_tokens", lambda event: event if event.get("type") == "message_delta" else None),
}


def patch_answer(body: bytes, context: RequestContext) -> bytes:
    """A whole JSON answer with usage and `rerank` filled in; anything but an object comes back as it was."""
    answer = json.loads(body)
    if not isinstance(answer, dict) or not context.ledgers:
        return body
    _bill(DIALECTS[context.ask.endpoint], answer, count_tokens(context.ledgers))
    answer["rerank"] = rerank_object(context)
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


class StreamPatcher:
    """Rewrites a server-sent event stream.

    Holds each event that could be the last to carry `rerank`, and what follows it, until a later one comes or the
    stream ends.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._dialect = DIALECTS[context.ask.endpoint]
        self._rest = b""
        self._held: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """The events that can be sent on now."""
        *events, self._rest = (self._rest + chunk).split(b"\n\n")
        return b"".join(part for event in events for part in self._pass(event + b"\n\n"))

    def _pass(self, event: bytes) -> Iterator[bytes]:
        payload = _payload(event)
        if payload is not None and self._context.error is not None and _is_error(payload):
            event = _with_payload(event, _our_error(payload, self._context.error))
        if payload is not None and self._dialect.carrier(payload) is not None:
            yield from self._held
            self._held = [event]
        elif _is_end(event, payload):
            yield self.flush()
            yield event
        elif self._held and (payload is None or _is_error(payload)):
            self._held.append(event)
        else:
            yield from self._held
            self._held = []
            yield event

    def flush(self) -> bytes:
        """What is held, completed; empty when nothing is."""
        held, self._held = self._held, []
        if not held or not self._context.ledgers:
            return b"".join(held)
        event, *rest = held
        payload = _payload(event)
        assert payload is not None
        _bill(self._dialect, payload, count_tokens(self._context.ledgers))
        carrier = self._dialect.carrier(payload)
        assert carrier is not None
        carrier["rerank"] = rerank_object(self._context)
        return _with_payload(event, payload) + b"".join(rest)


def _payload(event: bytes) -> Json | None:
    """The JSON object of an event; None for comments, [DONE] and anything else."""
    data = next((line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")), b"")
    if not data.startswith(b"{"):
        return None
    payload = json.loads(data)
    return payload if isinstance(payload, dict) else None


def _with_payload(event: bytes, payload: Json) -> bytes:
    """The event with other data and its own type line."""
    data = b"data: " + json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    lines = [data if line.startswith(b"data:") else line for line in event.rstrip(b"\n").split(b"\n")]
    return b"\n".join(lines) + b"\n\n"


def _is_error(payload: Json) -> bool:
    return payload.get("error") is not None or payload.get("type") == "error"


def _our_error(payload: Json, error: ServiceError) -> Json:
    """An error event with our cause in it, in the shape that its endpoint has."""
    ours = error_body(error)["error"]
    return payload | ({"error": ours} if "error" in payload else ours | {"type": "error"})


def _is_end(event: bytes, payload: Json | None) -> bool:
    is_done = event.startswith(b"data: [DONE]")
    return is_done or (payload is not None and payload.get("type") == "message_stop")


def _bill(dialect: Dialect, answer: Json, tokens: Tokens) -> None:
    usage = dialect.usage(answer)
    if not usage:
        return
    extra = tokens.generated - (usage.get(dialect.completion_key) or 0)
    usage[dialect.completion_key] = tokens.generated
    if "total_tokens" in usage:
        usage["total_tokens"] += extra


def rerank_object(context: RequestContext) -> Json:
    """The answer's `rerank`: for one prompt its own object, for several the totals and one object each."""
    each = [_of_prompt(ledger, context) for ledger in context.ledgers]
    if len(each) == 1:
        return each[0]
    totals = _totals(context.ledgers, context)
    return totals | {"prompts": each}


def _of_prompt(ledger: Ledger, context: RequestContext) -> Json:
    rewards = ledger.rewards
    mean = sum(rewards) / len(rewards) if rewards else None
    candidates = ledger.candidates
    return {
        "strategy": ledger.plan.strategy.name,
        **_best_of(context.ask),
        "sampled": len(candidates),
        "finished": sum(candidate.state == "finished" for candidate in candidates),
        "aborted": sum(candidate.state == "aborted" for candidate in candidates),
        "failed": sum(candidate.state == "failed" for candidate in candidates),
        "selected": list(ledger.selected),
        "candidates": [_candidate(ledger, index, context) for index in range(len(candidates))],
        "reward": ledger.reward,
        "reward_mean": mean,
        "reward_std": None if mean is None else _std(rewards, mean),
        "kl_bound_nats": _kl_bound_nats(ledger) if candidates else None,
        "stop_reason": ledger.stop_reason,
        **_selection(ledger),
        **_totals([ledger], context),
    }


def _best_of(ask: Ask) -> Json:
    """The N that was used, and where it is not the N that was asked for, that one and why."""
    if ask.best_of >= ask.asked_best_of:
        return {"best_of": ask.best_of}
    return {"best_of": ask.best_of, "asked_best_of": ask.asked_best_of, "best_of_reason": "slo"}


def _kl_bound_nats(ledger: Ledger) -> float | None:
    """Of plain best-of-N its own bound; of anything cleverer the one that holds for every choice among as many.

    None with `min_reward`: an answer that may be refused is bounded by how rare such answers are.
    """
    plan = ledger.plan
    if plan.min_reward is not None:
        return None
    plain = plan.waits_for_all and plan.selection == ARGMAX
    return kl_bound_nats(len(ledger.records)) if plain else kl_bound_of_choice_nats(plan.best_of)


def _selection(ledger: Ledger) -> Json:
    """How the candidates were chosen, where it was not simply by the highest reward."""
    choice, plan = ledger.choice, ledger.plan
    if not (choice.weights or choice.utilities):
        return {}
    seed = {"seed": plan.seed} if plan.selection.draws else {}
    return {"selection": plan.selection.described() | seed}


def _totals(ledgers: Sequence[Ledger], context: RequestContext) -> Json:
    tokens = count_tokens(ledgers)
    return {
        "tokens": {
            "prompt": tokens.prompt,
            "cached_prompt": tokens.cached_prompt,
            "generated": tokens.generated,
            "returned": tokens.returned,
            "scored": tokens.scored,
            "scored_cached": tokens.scored_cached,
        },
        "timing": _timing(ledgers, context),
        **_cost(ledgers, context),
    }


def _cost(ledgers: Sequence[Ledger], context: RequestContext) -> Json:
    """Dollars, where the server knows prices."""
    cost = context.cost(ledgers)
    return {} if cost is None else {"cost": cost | {"total": sum(cost.values())}}


def _timing(ledgers: Sequence[Ledger], context: RequestContext) -> Json:
    """queue: before generation began. generate: to the last candidate's end. score: what scoring added after it."""
    began = min(ledger.started_s for ledger in ledgers)
    generated = max(ledger.last_finish_s for ledger in ledgers)
    ended = max(ledger.end_s for ledger in ledgers)
    return {
        "queue_ms": _ms(began - context.started_s),
        "generate_ms": _ms(generated - began),
        "score_ms": _ms(ended - generated),
        "total_ms": _ms(ended - context.started_s),
    }


def _ms(seconds: float) -> float:
    return round(max(seconds, 0.0) * 1000, 3)


def _candidate(ledger: Ledger, index: int, context: RequestContext) -> Json:
    record = ledger.records[index]
    view = record.view
    described: Json = {
        "index": index,
        "reward": view.reward,
        "completion_tokens": view.tokens,
        "finish_reason": view.finish_reason,
    }
    if view.rewards:
        described["rewards"] = {head: json_number(value) for head, value in view.rewards.items()}
    for name, values in (("utility", ledger.choice.utilities), ("weight", ledger.choice.weights)):
        if index in values:
            described[name] = values[index]
    if view.state == "aborted":
        described["aborted_at_tokens"] = view.tokens
    if record.error is not None:
        described["error"] = str(record.error)
    if context.ask.options.trace:
        described |= {"growth_ms": growth_ms(ledger, record), "prefix_rewards": view.prefix_rewards}
    if context.ask.options.return_candidates:
        described["text"] = record.text
    return described


def growth_ms(ledger: Ledger, record: Record) -> list[tuple[int, float]]:
    """(tokens, milliseconds since generation began) of a candidate's first piece, checkpoints and end."""
    return [(tokens, _ms(at_s - ledger.started_s)) for tokens, at_s in record.growth]


def json_number(value: float | None) -> float | None:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return value if value is not None and math.isfinite(value) else None


def _std(values: Sequence[float], mean: float) -> float:
    """Population standard deviation."""
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return float(variance**0.5)
