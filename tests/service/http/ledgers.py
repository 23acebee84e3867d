"""The ledger of a request whose every stage has a length, and its context."""

from typing import Any

from service.rerank.context import RequestContext
from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.selection import Choice
from service.rerank.strategies import Candidate
from tests.service.fakes import make_ask, make_context, plan_for


def ledger_of_two() -> Ledger:
    """Of four candidates the second is returned; times are such that every stage has a length."""
    views = [
        Candidate(0, "finished", tokens=5, finish_reason="stop", finish_rank=0, reward=1.0),
        Candidate(1, "finished", tokens=7, finish_reason="length", finish_rank=1, reward=3.0, rewards={"helpful": 3.0}),
        Candidate(2, "aborted", tokens=2, finish_reason="abort"),
        Candidate(3, "failed", tokens=1),
    ]
    records = [CandidateRecord(view, pieces=[f"text {view.index}"]) for view in views]
    records[0].finished_s, records[1].finished_s = 11.0, 12.0
    records[3].error = RuntimeError("broken")
    return Ledger(
        plan_for(4),
        records=records,
        choice=Choice((1,)),
        stop_reason="complete",
        prompt_tokens=10,
        cached_prompt_tokens=4,
        scored_tokens=40,
        scored_cached_tokens=30,
        started_s=10.5,
        ended_s=12.25,
    )


def context_of(*ledgers: Ledger, endpoint: str = "chat", **rerank: Any) -> RequestContext:
    body = {"best_of": 4, "prompt": ["p"] * len(ledgers)} | ({"rerank": rerank} if rerank else {})
    context = make_context(*ledgers, ask=make_ask(body, endpoint=endpoint))
    context.started_s = 10.0
    return context
