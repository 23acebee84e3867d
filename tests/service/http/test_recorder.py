"""What is kept of a request."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from service.http.recorder import Recorder
from service.load.latency_controller import SloController
from service.observe.metrics import Metrics
from service.records.candidate_log import CandidateLog
from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.strategies.base import Candidate
from tests.service.fakes import CONVERSATION, make_ask, make_context, plan_for


def test_it_is_in_the_metrics_and_in_the_candidate_log(tmp_path: Path) -> None:
    registry, written = CollectorRegistry(), []
    with CandidateLog(tmp_path, 10**6, lambda outcome, records: written.append((outcome, records))) as log:
        ledger = Ledger(plan_for(2), [CandidateRecord(Candidate(0))], CONVERSATION, ended_s=1.0)
        Recorder(Metrics(registry, "0"), log).record(make_context(ledger), "ok")
    labels = {"endpoint": "chat", "strategy": "best_of_n", "outcome": "ok"}
    assert registry.get_sample_value("bestofn_requests_total", labels) == 1
    assert sum(records for outcome, records in written if outcome == "written") == 1
    assert sum(records for outcome, records in written if outcome != "written") == 0


def test_only_answers_teach_how_long_they_take() -> None:
    slo = SloController(1e-9)
    recorder, ask = Recorder(Metrics(CollectorRegistry(), "0"), slo=slo), make_ask({"best_of": 2})
    context = make_context(Ledger(plan_for(2), ended_s=1e9), ask=ask)
    recorder.record(context, "error")
    assert slo.fit(ask, room=512, now_s=0.0).best_of == 2
    recorder.record(context, "ok")
    assert slo.fit(ask, room=512, now_s=0.0).best_of == 1
