"""What is kept of a request once everything that it started has ended: metrics, what the load teaches, candidates."""

from dataclasses import dataclass

from service.load.latency_controller import SloController
from service.observe.metrics import Metrics
from service.records.candidate_log import CandidateLog
from service.rerank.context import RequestContext


@dataclass(frozen=True)
class Recorder:
    """One server's books; None for what it does not keep."""

    metrics: Metrics
    candidate_log: CandidateLog | None = None
    slo: SloController | None = None

    def record(self, context: RequestContext, outcome: str) -> None:
        """outcome: ok, cancelled, or what went wrong."""
        self.metrics.record(context, outcome)
        if self.slo is not None and outcome == "ok" and context.as_admitted:
            # not until it was read: a client that reads slowly is not the server's load
            now_s = max(ledger.end_s for ledger in context.ledgers)
            self.slo.answered(context.ask, context.in_flight, admitted_s=context.started_s, now_s=now_s)
        if self.candidate_log is not None:
            self.candidate_log.record(context, outcome)
