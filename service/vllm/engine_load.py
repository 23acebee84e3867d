"""How busy an engine is, from the statistics that it sends with every step."""

import math
import time
from typing import Any

from vllm.v1.metrics.loggers import PrometheusStatLogger, StatLoggerBase
from vllm.v1.metrics.stats import SchedulerStats


class EngineLoad:
    """The last statistics of one engine, over all its data-parallel ranks."""

    def __init__(self) -> None:
        self._ranks: dict[int, SchedulerStats] = {}
        self.stepped_s = -math.inf  # monotonic: when it last finished a step, a piece of a long prompt for one

    def note(self, rank: int, stats: SchedulerStats) -> None:
        """A step's statistics."""
        self._ranks[rank], self.stepped_s = stats, time.monotonic()

    @property
    def waiting(self) -> int:
        """Sequences that wait for a place in the batch."""
        return sum(rank.num_waiting_reqs + rank.num_skipped_waiting_reqs for rank in self._ranks.values())

    @property
    def kv_cache_usage(self) -> float:
        """Share of the KV cache in use, 0 to 1; of the fullest rank."""
        return max((rank.kv_cache_usage for rank in self._ranks.values()), default=0.0)

    def logger(self, *_: Any, **__: Any) -> StatLoggerBase:
        """For `AsyncLLM(stat_loggers=[...])`, which calls it once for each rank."""
        return _Logger(self)


class _Logger(StatLoggerBase):
    def __init__(self, load: EngineLoad) -> None:
        self._load = load

    def record(self, scheduler_stats: SchedulerStats | None, *_: Any, engine_idx: int = 0, **__: Any) -> None:
        if scheduler_stats is not None:
            self._load.note(engine_idx, scheduler_stats)

    def log_engine_initialized(self) -> None:
        pass


class Unregistered(PrometheusStatLogger):
    """Takes the place of vLLM's own logger: a second one of those in a process unregisters the first one's metrics."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def record(self, *_: Any, **__: Any) -> None:
        pass

    def record_sleep_state(self, *_: Any, **__: Any) -> None:
        pass

    def record_admission_rejection(self, reason: str) -> None:
        pass

    def log_engine_initialized(self) -> None:
        pass
