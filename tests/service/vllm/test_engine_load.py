"""How busy an engine is, from vLLM's own statistics."""

import math
import time

import pytest
from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.v1.metrics.stats import SchedulerStats

from service.vllm.engine_load import EngineLoad, Unregistered


def stats(waiting: int, skipped: int, usage: float) -> SchedulerStats:
    return SchedulerStats(num_waiting_reqs=waiting, num_skipped_waiting_reqs=skipped, kv_cache_usage=usage)


def test_before_the_first_step_an_engine_is_idle() -> None:
    load = EngineLoad()
    load.logger("config", 0).log_engine_initialized()
    assert (load.waiting, load.kv_cache_usage) == (0, 0.0)


def test_the_last_step_of_each_rank_counts() -> None:
    load = EngineLoad()
    first, second = load.logger("config", 0), load.logger("config", 1)
    first.record(stats(9, 9, 0.9), None)
    first.record(stats(2, 1, 0.25), None, engine_idx=0)
    second.record(stats(4, 0, 0.5), None, engine_idx=1)
    assert (load.waiting, load.kv_cache_usage) == (7, 0.5)


def test_a_step_without_statistics_changes_nothing() -> None:
    load = EngineLoad()
    logger = load.logger()
    logger.record(stats(2, 0, 0.25), None)
    logger.record(None, None)
    assert load.waiting == 2


def test_a_step_is_a_sign_of_life() -> None:
    load = EngineLoad()
    assert load.stepped_s == -math.inf
    before_s = time.monotonic()
    load.logger().record(None, None)
    assert load.stepped_s == -math.inf
    load.logger().record(stats(0, 0, 0.0), None)
    assert before_s <= load.stepped_s <= time.monotonic()


def test_engines_do_not_share_their_load() -> None:
    busy, idle = EngineLoad(), EngineLoad()
    busy.logger().record(stats(2, 0, 0.25), None)
    assert idle.waiting == 0


def test_what_takes_the_place_of_vllms_logger_registers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def register(*_: object) -> None:
        raise AssertionError("a second logger takes the first one's metrics away")

    monkeypatch.setattr("vllm.v1.metrics.prometheus.unregister_vllm_metrics", register)
    monkeypatch.setattr("vllm.v1.metrics.loggers.unregister_vllm_metrics", register)
    logger = Unregistered("config", [0])
    assert isinstance(logger, PrometheusStatLogger)
    logger.record(stats(2, 0, 0.25), None)
    logger.record_sleep_state(1, 0)
    logger.record_admission_rejection("queue_full")
    logger.log_engine_initialized()
    assert vars(logger) == {}
