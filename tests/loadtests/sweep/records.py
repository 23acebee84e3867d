"""A record of a sweep, for tests."""

from dataclasses import replace

from loadtests.sweep.measure import order
from loadtests.sweep.record import Cell, Request, SweepRecord, SweepSettings

SETTINGS = SweepSettings(
    best_of=(1, 8),
    clients=(1, 4),
    requests=3,
    repeats=2,
    warm_up=1,
    seed=0,
    model="",
    best_of_field="best_of",
    workload={"prompts": "arithmetic", "max_tokens": 8},
    prompts_sha256="a",
)


def cell(best_of: int, clients: int, repeat: int, turn: int, **last: object) -> Cell:
    """Three requests of 1, 2 and 3 seconds times N; `last` changes the last one."""
    requests = [
        Request(200, 0.0, seconds * best_of, 0.1, generated_tokens=10 * best_of, returned_tokens=10, reward=0.5)
        for seconds in (1.0, 2.0, 3.0)
    ]
    requests[-1] = replace(requests[-1], **last)  # type: ignore[arg-type]
    return Cell(best_of, clients, repeat, turn, wall_s=2.0 + repeat, requests=tuple(requests))


def record(**last: object) -> SweepRecord:
    cells = tuple(cell(p.best_of, p.clients, p.repeat, p.order, **last) for p in order(SETTINGS))
    machine = {"machine": {"processor": "some <CPU>", "cores": 2, "memory_gib": 4.0}, "versions": "Python 3"}
    server = {"models": ["arithmetic"], "versions": {}, "build_info": 'version="1"'}
    return SweepRecord(SETTINGS, server, machine, "bestofn sweep", "http://there", "2026-01-01T00:00:00+00:00", cells)
