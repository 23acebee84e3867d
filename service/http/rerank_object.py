"""The `rerank` object of an answer: what was done for the request, from its ledgers."""

from collections.abc import Sequence
from typing import Any

from reward.bounds import kl_bound_nats, kl_bound_of_choice_nats
from service.rerank.context import RequestContext
from service.rerank.ledger import Ledger, count_tokens, finite, milliseconds
from service.rerank.plan import Plan
from service.rerank.selection import ARGMAX

Json = dict[str, Any]

RERANK_HEADERS = ("x-bestofn-reward", "x-bestofn-best-of", "x-bestofn-sampled", "x-bestofn-generated-tokens")


def rerank_object(context: RequestContext) -> Json:
    """The answer's `rerank`: for one prompt its own object, for several the totals and one object each."""
    each = [_of_prompt(ledger, context) for ledger in context.ledgers]
    if len(each) == 1:
        return each[0]
    totals = _totals(context.ledgers, context)
    return totals | {"prompts": each}


def rerank_headers(context: RequestContext) -> dict[str, str]:
    """The gist of `rerank` for clients that drop the object; nothing while any of it can still change.

    Without a reward, and for several prompts, which have several, there is no header of one.
    """
    ledgers = context.ledgers
    if len(ledgers) < context.ask.prompts or any(ledger.ended_s is None for ledger in ledgers):
        return {}
    reward = ledgers[0].reward if len(ledgers) == 1 else None
    sampled = sum(len(ledger.candidates) for ledger in ledgers)
    values = (reward, context.best_of, sampled, count_tokens(ledgers).generated)
    return {name: str(value) for name, value in zip(RERANK_HEADERS, values, strict=True) if value is not None}


def _of_prompt(ledger: Ledger, context: RequestContext) -> Json:
    rewards = ledger.rewards
    mean = sum(rewards) / len(rewards) if rewards else None
    candidates = ledger.candidates
    return {
        "strategy": ledger.plan.strategy.name,
        **_best_of(ledger.plan),
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
        **_scored_as(ledger),
        **_selection(ledger),
        **_totals([ledger], context),
    }


def _best_of(plan: Plan) -> Json:
    """The N that was used, and where it is not the N that was asked for, that one and why."""
    if plan.asked_best_of is None:
        return {"best_of": plan.best_of}
    return {"best_of": plan.best_of, "asked_best_of": plan.asked_best_of, "best_of_reason": plan.fewer_because}


def _kl_bound_nats(ledger: Ledger) -> float | None:
    """Of plain best-of-N its own bound; of anything cleverer the one that holds for every choice among as many.

    None with `min_reward`: an answer that may be refused is bounded by how rare such answers are; and with the greedy
    answer among the candidates, which is no sample of the policy.
    """
    plan = ledger.plan
    if plan.min_reward is not None or plan.include_greedy:
        return None
    plain = plan.waits_for_all and plan.selection == ARGMAX
    return kl_bound_nats(len(ledger.records)) if plain else kl_bound_of_choice_nats(plan.best_of)


def _scored_as(ledger: Ledger) -> Json:
    """What the reward model read of the request, where it was asked."""
    if (conversation := ledger.conversation) is None:
        return {}
    return {"scored_as": conversation.scored_as} | (
        {"left_out": conversation.left_out} if conversation.left_out else {}
    )


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
        "queue_ms": milliseconds(began - context.started_s),
        "generate_ms": milliseconds(generated - began),
        "score_ms": milliseconds(ended - generated),
        "total_ms": milliseconds(ended - context.started_s),
    }


def _candidate(ledger: Ledger, index: int, context: RequestContext) -> Json:
    record = ledger.records[index]
    view = record.view
    described: Json = {
        "index": index,
        "reward": view.reward,
        "completion_tokens": view.tokens,
        "finish_reason": view.finish_reason,
    }
    for name, value in (("logprob", view.logprob), ("self_certainty", view.self_certainty)):
        if value is not None:
            described[name] = finite(value)
    if index == 0 and ledger.plan.include_greedy:
        described["greedy"] = True
    if view.rewards:
        described["rewards"] = {head: finite(value) for head, value in view.rewards.items()}
    for name, values in (("utility", ledger.choice.utilities), ("weight", ledger.choice.weights)):
        if index in values:
            described[name] = values[index]
    if view.state == "aborted":
        described["aborted_at_tokens"] = view.tokens
    if record.error is not None:
        described["error"] = str(record.error)
    if context.ask.options.trace:
        described |= {"growth_ms": ledger.growth_ms(record), "prefix_rewards": view.prefix_rewards}
    if context.ask.options.return_candidates:
        described["text"] = record.text
    return described


def _std(values: Sequence[float], mean: float) -> float:
    """Population standard deviation."""
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return float(variance**0.5)
