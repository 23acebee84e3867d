import math

from loadtests.bench.peers.report import table, verdict
from loadtests.bench.peers.summary import OURS, PLAIN, Setup, SetupRound, summarise
from tests.loadtests.bench.peers.rounds import ROUNDS


def test_the_verdict_names_the_best_server_that_ranks() -> None:
    names = {OURS: True, PLAIN: False, "slow": True}
    sentence = verdict([summarise(Setup(name, "", {}, ranks), ROUNDS) for name, ranks in names.items()])
    assert "keeps 0.65 (0.5 - 0.8) of the throughput" in sentence
    assert "3.5 (2 - 5) times as many requests as slow" in sentence


def test_a_server_that_answered_nothing_is_no_rival() -> None:
    gone = SetupRound(10, 10, right=0, tokens=0, requests_per_second=0, p50_s=math.nan, p95_s=math.nan)
    rounds = [one | {"gone": [gone]} for one in ROUNDS]
    summaries = [
        summarise(Setup(name, "", {}, ranks), rounds)
        for name, ranks in ((OURS, True), (PLAIN, False), ("gone", True), ("slow", True))
    ]
    assert "gone" not in verdict(summaries)
    assert "p95 of slow" in verdict(summaries)
    assert "half the cores" in verdict(summaries)
    assert "goal" not in verdict(summaries[:3])


def test_the_table_compares_every_server_but_bestofn_with_bestofn() -> None:
    shown = table([summarise(Setup(name, "", {}), ROUNDS) for name in (OURS, PLAIN)], "title")
    assert list(shown.columns[-2].cells) == ["", "0.65 (0.5 - 0.8)"]
