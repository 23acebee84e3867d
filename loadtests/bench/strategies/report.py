"""The load test of the strategies as tables, as strict JSON and as one picture."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.bench.strategies import summary
from loadtests.bench.strategies.plots import picture
from loadtests.bench.strategies.summary import FULL, OPEN, TOO_LATE, Arm, MeasuredStrategies
from measuring.estimators import Interval
from measuring.plots import save
from measuring.strict_json import strict_json

Figures = Mapping[str, Interval | float | int | str]


def cut_figures(measured: MeasuredStrategies) -> dict[str, Figures]:
    """Of each arm of `measured.cut`."""
    full = measured.cut[FULL]
    return {
        name: {
            **_usual(arm),
            "tokens_share": summary.tokens_share(arm, full),
            "gain_kept": summary.gain_kept(arm, full),
            "p50_ratio": summary.latency_ratio(arm, full, 0.5),
            "p99_ratio": summary.latency_ratio(arm, full, 0.99),
        }
        for name, arm in measured.cut.items()
    }


def wave_figures(measured: MeasuredStrategies) -> dict[str, Figures]:
    """Of adaptive, and of each fixed N."""
    named = {**measured.waves, **{arm.name: arm for arm in measured.fixed.values()}}
    return {
        name: {
            **_usual(arm),
            "sampled": summary.mean_of(arm, "sampled"),
            "samples_saved": summary.samples_saved(arm, measured.fixed) if name in measured.waves else "",
        }
        for name, arm in named.items()
    }


def _usual(arm: Arm) -> dict[str, Interval | float | int | str]:
    return {
        "p50_s": summary.latency_s(arm, 0.5),
        "p99_s": summary.latency_s(arm, 0.99),
        "gold": summary.mean_of(arm, "gold"),
        "tokens": arm.tokens / len(arm.shots),
    }


def load_figures(measured: MeasuredStrategies) -> dict[str, Figures]:
    """Of each arm of the open loop."""
    full = measured.loaded[OPEN]
    found: dict[str, Figures] = {}
    for name, arm in measured.loaded.items():
        left = measured.left[name]
        found[name] = {
            "p50_s": summary.latency_s(arm, 0.5),
            "p99_s": summary.latency_s(arm, 0.99),
            "p99_ratio": summary.latency_ratio(arm, full, 0.99),
            "gold": summary.mean_of(arm, "gold"),
            "gain_kept": summary.gain_kept(arm, full),
            "length": summary.mean_of(arm, "length"),
            "length, calibrated": summary.mean_of(arm, "calibrated_length"),
            "gain_kept, calibrated": summary.gain_kept(arm, full, "calibrated_gold"),
            "cut short": sum(shot.stop_reason != "complete" for shot in arm.shots) / len(arm.shots),
            "no answer in time": sum(shot.stop_reason == TOO_LATE for shot in arm.shots),
            "left running": f"{left.in_flight} / {left.running}, {1000 * left.idle_after_s:.0f} ms",
        }
    return found


def write(folder: Path, measured: MeasuredStrategies) -> None:
    """strategies.json and strategies.png."""
    record = {
        "prune": cut_figures(measured),
        "adaptive": wave_figures(measured),
        "load": asdict(measured.calibration) | {"arms": load_figures(measured)},
        "arms": [asdict(arm) for arm in measured.arms],
    }
    (folder / "strategies.json").write_text(strict_json(record, indent=None), encoding="utf-8")
    save(picture(measured), folder / "strategies.png")


def show(measured: MeasuredStrategies) -> int:
    """Print all; exit status 1 where counters are not what was billed, or something ran on."""
    console, load = Console(width=170), measured.calibration
    prompts = len(measured.cut[FULL].shots)
    console.print(_table(f"{prompts} prompts, one client; beside {FULL}", cut_figures(measured)))
    prompts = len(measured.fixed[1].shots)
    console.print(_table(f"{prompts} prompts, some clients; beside the fixed N of equal gold", wave_figures(measured)))
    prompts = len(measured.loaded[OPEN].shots)
    title = (
        f"{prompts} requests at {load.rate:.2f}/s (a full server answers {load.full_rate:.2f}/s); beside {OPEN}, whose "
        f"p50 and p99 were {load.p50_s:.2f} and {load.p99_s:.2f} s in the calibration"
    )
    console.print(_table(title, load_figures(measured)))
    wrong = [
        f"{arm.name}: {arm.tokens} tokens billed, {arm.counted_tokens} counted, {arm.engine_tokens} by vLLM"
        for arm in measured.arms
        if not arm.exact
    ]
    wrong += [f"{name}: ran on after its answers" for name, left in measured.left.items() if left.in_flight]
    for line in wrong or ["vLLM's own counter is what usage bills, to the token, in every arm"]:
        console.print(line)
    return 1 if wrong else 0


def _table(title: str, figures: Mapping[str, Figures]) -> Table:
    table = Table("", *figures, title=title)
    for row in next(iter(figures.values())):
        table.add_row(row, *(_text(one[row]) for one in figures.values()))
    return table


def _text(value: Interval | float | int | str) -> str:
    if isinstance(value, Interval):
        return value.text()
    return value if isinstance(value, str) else f"{value:.2f}"
