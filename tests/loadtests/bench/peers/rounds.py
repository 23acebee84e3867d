"""Rounds of three servers, for tests."""

from loadtests.bench.peers.summary import OURS, PLAIN, SetupRound


def measured(rate: float, p95_s: float) -> SetupRound:
    return SetupRound(10, 0, right=5, tokens=100, requests_per_second=rate, p50_s=1.0, p95_s=p95_s)


ROUNDS = [
    {OURS: [measured(8, 1), measured(12, 3)], PLAIN: [measured(20, 1)], "slow": [measured(5, 8)]},
    {OURS: [measured(20, 1), measured(20, 1)], PLAIN: [measured(25, 1)], "slow": [measured(4, 8)]},
]
