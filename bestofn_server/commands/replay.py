"""`bestofn replay`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bestofn_server.commands.choices import STRATEGIES
from bestofn_server.commands.errors import refuse, stop, stopping


def replay(
    context: typer.Context,
    trace: Annotated[
        Path, typer.Argument(help="A trace (`bestofn collect --trace`), or a server's candidate log: folder or file.")
    ],
    best_of: Annotated[int, typer.Option(min=1, help="Candidates that each strategy may sample.")] = 16,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            metavar=STRATEGIES, help="A strategy as the server's --strategy names it; can be given several times."
        ),
    ] = None,
    rerank: Annotated[
        list[str] | None,
        typer.Option(metavar="JSON", help="A request's whole `rerank` object instead; can be given several times."),
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Settings of the strategies, as `bestofn serve --strategy-profile` reads them.")
    ] = None,
    learn: Annotated[
        Path | None,
        typer.Option(
            help="Learn that file from the trace: what rewards to expect, and how many to keep. What is shown then was "
            "learned on one half of the prompts and played on the other."
        ),
    ] = None,
    miss: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="With --learn: how often a checkpoint of prune may lose the best candidate."),
    ] = 0.02,
    draws: Annotated[int, typer.Option(min=1, help="Draws of candidates for each prompt.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Also write the numbers there, as JSON.")] = None,
) -> None:
    """What other strategies would have made of recorded candidates, beside best-of-N at equal N and equal tokens.

    Nothing is generated or scored, so a strategy can be tried on a server's own traffic before it is switched on.
    """
    from service.rerank.strategies.profile import DEFAULTS, StrategyProfile
    from training.experiments.replay import report
    from training.experiments.replay.learn import cross_fitted, learn_profile
    from training.experiments.replay.prefixes import prefix_ranks
    from training.experiments.replay.replay import replay as play
    from training.samples.trace import large_enough, read

    if profile and learn:
        stop(ValueError("--profile and --learn exclude each other"))
    if not learn:
        refuse(context, ["miss"], "is read with --learn only")
    asked = [{"strategy": name} for name in strategy or ()] + [_object(text) for text in rerank or ()]
    with stopping():
        found = read(trace)
        prompts = large_enough(found, best_of)
        given = DEFAULTS if profile is None else StrategyProfile.read(str(profile))
        folds = cross_fitted(prompts, best_of=best_of, miss=miss) if learn else [(given, prompts)]
        played = play(folds, asked, best_of=best_of, draws=draws, seed=seed)
        ranks = prefix_ranks(prompts)
        if learn:
            learned = learn_profile(prompts, best_of=best_of, miss=miss)
            learn.parent.mkdir(parents=True, exist_ok=True)
            learn.write_text(learned.to_json(), encoding="utf-8")
        if output:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(report.to_json(played, ranks), encoding="utf-8")
    typer.echo(report.table(played))
    if len(prompts) < len(found):
        typer.echo(f"Left out: {len(found) - len(prompts)} prompts with fewer than {best_of} candidates.")
    if ranks:
        typer.echo(report.prefix_table(ranks))


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        stop(ValueError(f"--rerank: not JSON: {error}"))
    if not isinstance(value, dict):
        stop(ValueError(f"--rerank: must be a JSON object, not {text}"))
    return value
