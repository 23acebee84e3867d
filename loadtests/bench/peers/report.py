"""The comparison of servers as a table and in one sentence."""

from collections.abc import Sequence

from rich.table import Table

from loadtests.bench.peers.summary import OURS, PLAIN, SetupSummary


def table(summaries: Sequence[SetupSummary], title: str) -> Table:
    """A line for each; the last two columns are `SetupSummary.throughput` and `SetupSummary.p95`."""
    columns = ("server", "requests/s", "p50 s", "p95 s", "right [95 %]", "tokens", "failed")
    made = Table(*columns, "bestofn's requests/s over it", "bestofn's p95 over it", title=title)
    for one in summaries:
        gold = one.gold.text() if one.gold else "-"
        figures = (one.requests_per_second, one.p50_s, one.p95_s)
        beside = ("", "") if one.name == OURS else (str(one.throughput), str(one.p95))
        failed = f"{one.failed} of {one.requests}"
        made.add_row(one.name, *map(str, figures), gold, f"{one.tokens:.0f}", failed, *beside)
    return made


def verdict(summaries: Sequence[SetupSummary]) -> str:
    """The share of plain vLLM's throughput that bestofn keeps, and how far it is ahead of the better one that ranks.

    A server that answered nothing is no rival, and is left out.
    """
    by_name = {one.name: one for one in summaries}
    plain = by_name[PLAIN]
    sentence = (
        f"bestofn keeps {plain.throughput} of the throughput that plain vLLM has with n, no scoring and half the cores."
    )
    if plain.failed == plain.requests:
        sentence = "Plain vLLM answered nothing."
    others = [one for one in summaries if one.ranks and one.name != OURS and one.failed < one.requests]
    if not others:
        return sentence
    best = min(others, key=lambda one: one.throughput.median)
    quickest = min(others, key=lambda one: one.p95_s.median)
    return (
        f"{sentence} It answers {best.throughput} times as many requests as {best.name} "
        f"(goal: at least 2), with {quickest.p95} of the p95 of {quickest.name} (goal: at most 0.33)."
    )
