"""`bestofn collect`."""

from pathlib import Path
from typing import Annotated

import typer

from bestofn_server.commands.choices import LABS, SAMPLERS
from bestofn_server.commands.errors import refuse, stop


def collect(
    context: typer.Context,
    output: Annotated[
        Path,
        typer.Option(help="JSONL file to append to, or to resume from. With --trace: .parquet, beside such a file."),
    ],
    lab: Annotated[str, typer.Option(metavar=LABS, help="The lab whose training prompts are asked.")] = "",
    lab_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the lab; can be given several times.")
    ] = None,
    data: Annotated[str, typer.Option(help="Or a file, folder or Hugging Face dataset that holds prompts.")] = "",
    split: Annotated[str, typer.Option(help="Split of a Hugging Face dataset; train or held_out of a lab.")] = "train",
    base_url: Annotated[str, typer.Option(help="Sample from the server at this OpenAI address.")] = "",
    model: Annotated[
        str,
        typer.Option(help="Without --base-url: the checkpoint to sample. With it: a model's name; empty: the first."),
    ] = "",
    prompts: Annotated[int, typer.Option(min=1, help="Prompts, at most.")] = 1000,
    samples: Annotated[int, typer.Option(min=1, help="Candidates for each prompt.")] = 4,
    temperature: Annotated[float, typer.Option(min=0, help="Sampling temperature.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=0, help="Longest candidate; 0: the lab's limit, or 512.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the lab's prompts and of the sampling.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Key, where the server asks for one.")] = "",
    trace: Annotated[
        bool, typer.Option("--trace", help="Keep how every candidate grew, for `bestofn replay`; needs --base-url.")
    ] = False,
    checkpoint_tokens: Annotated[
        int, typer.Option(min=1, help="With --trace: tokens between two rewards of a growing candidate.")
    ] = 8,
    sampler: Annotated[
        str,
        typer.Option(metavar=SAMPLERS, help="Engine that samples a checkpoint; auto: vllm where installed."),
    ] = "auto",
) -> None:
    """Sample candidates on many prompts, to be labelled and learned from.

    From a server of ours every candidate comes with its reward. What fails is counted and asked again by the next run.
    """
    if not trace:
        refuse(context, ["checkpoint_tokens"], "is read with --trace only")
    from training.run.config import read_options
    from training.samples.collect import Collection, run

    try:
        collected = run(
            Collection(
                lab=lab,
                lab_options=read_options(lab_option or ()),
                data=data,
                split=split,
                base_url=base_url,
                model=model,
                prompts=prompts,
                samples=samples,
                temperature=temperature,
                max_tokens=max_tokens,
                seed=seed,
                concurrency=concurrency,
                api_key=api_key,
                sampler=sampler,
                checkpoint_tokens=checkpoint_tokens if trace else 0,
            ),
            output,
        )
    except (ValueError, OSError) as error:
        stop(error)
    typer.echo(f"{output}: {collected.summary()}")
    if collected.failed:
        raise typer.Exit(1)
