"""`bestofn label`."""

import os.path
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bestofn_server.commands.choices import LABS
from bestofn_server.commands.errors import stop

if TYPE_CHECKING:
    from training.data.records import Comparison
    from training.samples.label.judge import Judge


class By(StrEnum):
    """Who labels."""

    GOLD = "gold"
    JUDGE = "judge"
    FILE = "file"


class Kind(StrEnum):
    """What is said of the responses to a prompt."""

    BEST = "best"
    RANKING = "ranking"
    SCORES = "scores"


_READ_BY: Mapping[str, tuple[By, ...]] = {
    "lab": (By.GOLD,),
    "noise": (By.GOLD,),
    "kind": (By.GOLD, By.FILE),
    "judge_base_url": (By.JUDGE,),
    "judge_model": (By.JUDGE,),
    "criteria": (By.JUDGE,),
    "max_pairs_per_prompt": (By.JUDGE,),
    "judge_max_tokens": (By.JUDGE,),
    "judge_api_key": (By.JUDGE,),
    "concurrency": (By.JUDGE,),
    "export": (By.FILE,),
    "filled": (By.FILE,),
}


def label(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE", help="From `collect` or --candidate-log, or any dataset.")],
    by: Annotated[By, typer.Option(help="gold: the lab's rule; judge: a language model; file: people, in a sheet.")],
    output: Annotated[Path | None, typer.Option(help="JSONL file for the labelled records.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise, of the pairs judged, of the order in a sheet.")] = 0,
    kind: Annotated[
        Kind, typer.Option(help="gold, file: name the best, rank all, or (gold) score each one.")
    ] = Kind.RANKING,
    lab: Annotated[str, typer.Option(metavar=LABS, help="gold: the lab that the prompts are from.")] = "arithmetic",
    noise: Annotated[float, typer.Option(min=0, max=1, help="gold: how often the labeller errs.")] = 0.0,
    judge_base_url: Annotated[str, typer.Option(help="judge: its OpenAI address.")] = "http://127.0.0.1:8000/v1",
    judge_model: Annotated[str, typer.Option(help="judge: name of the model; empty: the first that it lists.")] = "",
    judge_api_key: Annotated[
        str, typer.Option(envvar=["JUDGE_API_KEY", "OPENAI_API_KEY"], help="judge: key, where it asks for one.")
    ] = "",
    criteria: Annotated[str, typer.Option(help="judge: what makes a response better; a text, or a file with it.")] = "",
    max_pairs_per_prompt: Annotated[int, typer.Option(min=0, help="judge: most pairs of a prompt; 0: all.")] = 0,
    judge_max_tokens: Annotated[int, typer.Option(min=1, help="judge: longest reply in tokens.")] = 512,
    concurrency: Annotated[int, typer.Option(min=1, help="judge: prompts judged at the same time.")] = 8,
    export: Annotated[Path | None, typer.Option(help="file: CSV sheet to write, for people to fill in.")] = None,
    filled: Annotated[Path | None, typer.Option("--import", help="file: the filled CSV sheet to read.")] = None,
) -> None:
    """Say which of the responses to each prompt are better.

    A judge sees each pair in both orders; its replies are kept in OUTPUT.replies, from which an interrupted run is
    resumed.
    """
    from training.samples.label.judge import CRITERIA, Judge

    judge = Judge(
        base_url=judge_base_url,
        model=judge_model,
        api_key=judge_api_key,
        criteria=_text(criteria) or CRITERIA,
        max_pairs=max_pairs_per_prompt,
        max_tokens=judge_max_tokens,
        concurrency=concurrency,
        seed=seed,
    )
    try:
        _refuse_unread(context, by)
        if by is By.GOLD:
            _gold(source, _needed(output, "--output"), lab, kind, noise, seed)
        elif by is By.JUDGE:
            _judge(source, _needed(output, "--output"), judge)
        elif export:
            _export(source, export, kind, seed, unread=[output, filled])
        else:
            _import(source, _needed(filled, "--export or --import"), _needed(output, "--output"))
    except (ValueError, OSError) as error:
        stop(error)


def _gold(source: str, output: Path, name: str, kind: Kind, noise: float, seed: int) -> None:
    from training.labs import lab
    from training.samples.label import gold, labels

    world = lab(name)
    labels.refuse_to_overwrite(output)
    labelled = gold.label(world, _read(source), kind=kind, noise=noise, seed=seed)
    by = {"by": By.GOLD, "lab": name, "kind": kind, "noise": noise, "seed": seed}
    labels.write(output, labelled, by)
    typer.echo(f"{output}: {labelled.summary()}")


def _judge(source: str, output: Path, judge: "Judge") -> None:
    import asyncio

    from training.samples.label import labels
    from training.samples.label.judge import label

    replies = output.with_name(output.name + ".replies")
    if not replies.exists():
        labels.refuse_to_overwrite(output)
    report = asyncio.run(label(judge, _read(source), replies))
    typer.echo(f"{output}: {report.summary()}")
    labels.write(output, report.labelled, {"by": By.JUDGE, "judge": report.model})
    if report.failed:
        raise typer.Exit(1)


def _export(source: str, sheet: Path, kind: Kind, seed: int, *, unread: Sequence[Path | None]) -> None:
    from training.samples.label.people import export_sheet

    if any(unread):
        raise ValueError("--export: has no meaning with --output or --import, which read the sheet when it is filled")
    if kind is Kind.SCORES:
        raise ValueError("--kind: people are asked for the best or for a ranking, not for scores")
    exported = export_sheet(_read(source), sheet, question="best" if kind is Kind.BEST else "ranking", seed=seed)
    typer.echo(f"{sheet}: {exported.summary('to fill in')}")


def _import(source: str, sheet: Path, output: Path) -> None:
    from training.samples.label import labels
    from training.samples.label.people import import_sheet

    labels.refuse_to_overwrite(output)
    labelled = import_sheet(_read(source), sheet)
    labels.write(output, labelled, {"by": By.FILE})
    typer.echo(f"{output}: {labelled.summary()}")


def _read(source: str) -> "list[Comparison]":
    from training.data.read import read_comparisons

    comparisons, report = read_comparisons(source)
    typer.echo(report.summary())
    return comparisons


def _refuse_unread(context: typer.Context, by: By) -> None:
    """An option that nobody would read is a mistake."""
    for name, readers in _READ_BY.items():
        given = context.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE" and by not in readers:
            option = "--import" if name == "filled" else f"--{name.replace('_', '-')}"
            raise ValueError(f"{option}: has no meaning with --by {by}")


def _needed(path: Path | None, option: str) -> Path:
    if path is None:
        raise ValueError(f"give {option}")
    return path


def _text(criteria: str) -> str:
    """What a file of that name holds, else the text itself."""
    return Path(criteria).read_text(encoding="utf-8") if os.path.isfile(criteria) else criteria
