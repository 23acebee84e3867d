"""`bestofn compare`: serve each policy in turn, measure, bill, report. What was finished is not done again."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from measuring.machine import this_command, versions
from measuring.questions import SEED_STEP
from measuring.server_process import bestofn_serve, serving
from training.experiments.compare import load, quality, report
from training.experiments.compare.break_even import BreakEven, break_even
from training.experiments.compare.config import CompareConfig, Policy
from training.experiments.stages import Stages
from training.labs import model_path
from training.run.cards import PACKAGES, machine, training_minutes

_QUIET = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}


def run(config: CompareConfig, output: Path) -> Path:
    """Measure everything into `output`; gives the report's page.

    Raises ConfigError where a setting cannot be meant or a checkpoint does not record what its training took,
    ServerFailed where a server or one of its answers fails.
    """
    minutes = {name: training_minutes(name) for name in _trained(config)}
    stages = Stages(config, output)
    measured = {policy.name: _measured(config, stages, policy) for policy in config.served}
    pools = {name: pool for name, (pool, _) in measured.items()}
    cells = [cell for _, of_policy in measured.values() for cell in of_policy]
    return report.write(
        report.Measurements(
            config=config,
            rows=[row for pool in pools.values() for row in pool.rows(config.sizes)],
            cells=cells,
            break_even=_break_even(config, pools, cells, minutes),
            training=minutes,
            made=_made(config),
        ),
        output,
    )


def _trained(config: CompareConfig) -> list[str]:
    """Every checkpoint whose training is on somebody's bill."""
    trained = (name for policy in config.served for name in policy.trained)
    return list(dict.fromkeys([config.reward_model, *trained]))


def _measured(config: CompareConfig, stages: Stages, policy: Policy) -> tuple[quality.Pool, list[load.LoadCell]]:
    """A server is started for what has not been measured yet."""
    samples, costs = f"{policy.name}/samples", f"{policy.name}/load"
    if not (stages.has(samples) and stages.has(costs)):
        stages.console.print(f"[bold]serving {policy.name}[/bold]")
        log = stages.output / policy.name / "server.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with serving(bestofn_serve(_arguments(config, policy)), log, environment=_QUIET) as server:
            stages.result(samples, lambda: quality.sample(config, policy.name, server.url))
            stages.result(costs, lambda: load.measure(config, policy.name, server.url))
    sampled, cost = stages.read(samples), stages.read(costs)
    ratios = stages.result(f"{policy.name}/log_ratio", lambda: quality.log_ratio(config, policy.model, sampled))
    return quality.Pool.of(policy.name, {**sampled, **ratios}), load.cells(policy.name, cost)


def _arguments(config: CompareConfig, policy: Policy) -> list[str]:
    largest = config.sizes[-1]
    return [
        model_path(policy.model),
        *("--reward-model", model_path(config.reward_model), "--gpu-hour-dollars", str(config.hour_dollars)),
        *("--max-best-of", str(largest), "--max-candidates", str(largest * max(config.loads[-1], quality.AT_ONCE))),
        "--disable-uvicorn-access-log",
        *config.serve,
    ]


def _break_even(
    config: CompareConfig,
    pools: Mapping[str, quality.Pool],
    cells: Sequence[load.LoadCell],
    minutes: Mapping[str, float],
) -> list[BreakEven]:
    """Every other policy at N = 1 against best-of-N of the first, at the highest load."""
    base, *others = config.served
    dollars = {(c.policy, c.best_of): c.each_dollars for c in cells if c.clients == config.loads[-1]}

    def training(names: Iterable[str]) -> float:
        return sum(minutes[name] for name in names) / 60 * config.hour_dollars

    return [
        break_even(
            policy.name,
            gold=pools[policy.name].gold.mean(axis=1),
            curve=pools[base.name].best(pools[base.name].gold, config.sizes),
            sizes=config.sizes,
            training=(training(policy.trained), training([config.reward_model, *base.trained])),
            dollars=dollars[policy.name, 1],
            curve_dollars=[dollars[base.name, n] for n in config.sizes],
            months=config.months,
        )
        for policy in others
    ]


def _made(config: CompareConfig) -> dict[str, str]:
    """For whoever wants to make it again. The cores of the machine are the server's; `machine` has this process's."""
    return {
        "Command": this_command(),
        "Machine": f"{os.cpu_count()} cores; {machine()}",
        "Versions": versions(PACKAGES),
        "Seeds": f"prompt i is asked with seed {config.seed} + {SEED_STEP} i, and its candidate k with k more",
        "Made on": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
