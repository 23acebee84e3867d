"""Measurements for people and programs: Markdown, strict JSON and pictures in a folder."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from measuring.plots import save
from measuring.strict_json import strict_json
from training.evaluation import plots
from training.evaluation.baselines import Baselines, markdown_table
from training.evaluation.pairwise import Bin, Pairwise
from training.evaluation.policy import PolicyReport
from training.evaluation.reward_model import RewardReport


def write(folder: Path, *, reward: RewardReport | None = None, policy: PolicyReport | None = None) -> list[Path]:
    """report.md, report.json and the pictures; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    text, values = folder / "report.md", folder / "report.json"
    text.write_text(markdown(reward=reward, policy=policy) + "\n", encoding="utf-8")
    numbers = {"reward_model": reward and asdict(reward), "policy": policy and asdict(policy)}
    values.write_text(strict_json(numbers), encoding="utf-8")
    written = [text, values]
    if reward:
        written.append(save(plots.calibration(reward.pairwise.calibration), folder / "calibration.png"))
        written.append(save(plots.accuracy_by(reward.pairwise), folder / "accuracy.png"))
    if reward and reward.best_of_n:
        written.append(save(plots.draw_best_of_n(reward.best_of_n, reward.baselines), folder / "best_of_n.png"))
    return written


def markdown(*, reward: RewardReport | None = None, policy: PolicyReport | None = None) -> str:
    """All that was measured, as tables."""
    return "\n\n".join([*(_reward(reward) if reward else ()), *(_policy(policy) if policy else ())])


def _reward(report: RewardReport) -> list[str]:
    parts = [f"# Reward model `{report.reward_model}`", report.data, *_pairwise(report.pairwise)]
    if benchmark := report.benchmark:
        rows = [(name, f"{value:.3f}", benchmark.counts.get(name, "")) for name, value in benchmark.subsets.items()]
        of = {name: value for name, value in benchmark.parts.items() if name not in benchmark.subsets}
        rows = [(f"**{name}**", f"{value:.3f}", "") for name, value in of.items()] + rows
        rows += [(f"*{name}*", f"{value:.3f}", "") for name, value in benchmark.details.items()]
        parts += [f"## {benchmark.name}: {benchmark.score:.3f}", markdown_table(("part", "score", "rows"), rows)]
    if report.best_of_n:
        parts += ["## Best of n", report.best_of_n.table()]
    return [*parts, *_beside(report.baselines)]


def _beside(found: Baselines | None) -> list[str]:
    return ["## Beside what is free", *found.markdown()] if found else []


def _pairwise(pairs: Pairwise) -> list[str]:
    length = pairs.length
    rows = [
        ("accuracy, pairs taken for independent", pairs.accuracy),
        ("accuracy, interval over prompts", pairs.clustered),
        ("Bradley-Terry loss, nats", f"{pairs.loss:.3f}"),
        ("expected calibration error", f"{pairs.calibration.error:.3f}"),
        ("the longer response is the better one", length.longer_is_better),
        ("the longer response is preferred", length.longer_is_preferred),
        ("correlation of reward and tokens within a prompt", length.correlation),
    ]
    count = (
        f"{pairs.pairs} pairs of {pairs.prompts} prompts, {pairs.equal_rewards} with equal rewards, counted as wrong."
    )
    parts = ["## Pairs", count, markdown_table(("measured", "value [95 % interval]"), rows)]
    for title, bins in (
        ("margin of the labels", pairs.by_label_margin),
        ("difference of rewards", pairs.by_reward_margin),
        ("tokens: better minus worse", pairs.by_length_difference),
    ):
        if bins:
            parts.append(markdown_table((title, "pairs", "accuracy"), [(_span(b), b.pairs, b.accuracy) for b in bins]))
    return parts


def _policy(report: PolicyReport) -> list[str]:
    rows: list[tuple[str, Any]] = [("gold reward", report.gold)]
    if report.proxy:
        rows.append(("reward model's reward", report.proxy))
    if report.kl:
        rows.append((f"KL to `{report.reference}`, nats", report.kl))
    if win := report.win_rate:
        rows += [(f"win rate by gold against `{win.against}`, ties half", win.wins), ("ties in it", f"{win.ties:.3f}")]
    rows += [("tokens of an answer", report.tokens), ("answers cut off at the limit", f"{report.cut_off:.3f}")]
    for n, value in report.distinct.items():
        rows.append((f"distinct-{n} over all answers", f"{value:.4f}"))
        rows.append((f"distinct-{n} within a prompt's answers", report.distinct_of_prompt[n]))
    if report.refusals:
        rows.append(("refusals", report.refusals))
    asked = f"{report.samples} answers to each of {report.prompts} held-out prompts of the lab `{report.lab}`."
    table = markdown_table(("measured", "value [95 % interval]"), rows)
    return [f"# Policy `{report.policy}`", asked, table, *_beside(report.baselines)]


def _span(part: Bin) -> str:
    return f"{part.low:.3g} to {part.high:.3g}"
