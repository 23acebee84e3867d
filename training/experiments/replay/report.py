"""A replay as a table for people and as JSON for programs."""

from typing import Any

import numpy as np

from measuring.estimators import bootstrap
from measuring.strict_json import strict_json
from training.experiments.replay.prefixes import PrefixRanks
from training.experiments.replay.replay import Played, Replay, known

_COLUMNS = (
    "strategy",
    "quality",
    "gain kept",
    "tokens",
    "of best-of-N's",
    "over equal tokens",
    "sampled",
    "answer tokens",
    "p50 s",
    "p99 s",
    "stopped by",
)


def table(replay: Replay) -> str:
    """Markdown: one row for each way to answer, plain best-of-N first; 95 % intervals are over prompts."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(replay, played) for played in replay.played)]
    single = bootstrap(replay.single[:, None], lambda sample: float(sample.mean()))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    about = (
        f"{len(replay.single)} prompts, {replay.draws} draws of each, N = {replay.best_of}; one sample has {single}. "
        "Gain kept: of best-of-N's over one sample. Over equal tokens: quality less that of plain best-of-n for as "
        "many tokens. Times are modelled."
    )
    return "\n".join([*lines, "", about])


def prefix_table(ranks: PrefixRanks) -> str:
    """One sentence."""
    parts = [f"{100 * share:.0f} %: {interval}" for share, interval in ranks.correlation.items()]
    return "Rank correlation of a prefix's reward with the final one, at a share of the length: " + ", ".join(parts)


def to_json(replay: Replay, ranks: PrefixRanks | None) -> str:
    """Strict JSON."""
    found = {
        "prompts": len(replay.single),
        "best_of": replay.best_of,
        "draws": replay.draws,
        "single": float(replay.single.mean()),
        "prefix_rank_correlation": ranks and ranks.correlation,
        "played": [_numbers(replay, played) for played in replay.played],
    }
    return strict_json(found)


def _numbers(replay: Replay, played: Played) -> dict[str, Any]:
    return {
        "name": played.name,
        "quality": bootstrap(known(played.quality[:, None]), lambda sample: float(sample.mean())),
        "unanswered": played.unanswered,
        "gain_kept": replay.gain_kept(played),
        "tokens": float(played.tokens.mean()),
        "tokens_share": replay.tokens_share(played),
        "over_equal_tokens": replay.over_equal_tokens(played),
        "sampled": float(played.sampled.mean()),
        "returned": bootstrap(known(played.returned[:, None]), lambda sample: float(sample.mean())),
        "latency_p50_s": float(np.quantile(played.latency_s, 0.5)),
        "latency_p99_s": float(np.quantile(played.latency_s, 0.99)),
        "stop_reasons": played.stop_reasons,
    }


def _row(replay: Replay, played: Played) -> tuple[str, ...]:
    found = _numbers(replay, played)
    reasons = ", ".join(f"{reason} {100 * share:.0f} %" for reason, share in played.stop_reasons.items())
    if played.unanswered:
        reasons += f"; {100 * played.unanswered:.1f} % without an answer"
    return (
        played.name,
        str(found["quality"]),
        str(found["gain_kept"]),
        f"{found['tokens']:.0f}",
        str(found["tokens_share"]),
        str(found["over_equal_tokens"]),
        f"{found['sampled']:.1f}",
        str(found["returned"].text(1)),
        f"{found['latency_p50_s']:.2f}",
        f"{found['latency_p99_s']:.2f}",
        reasons,
    )
