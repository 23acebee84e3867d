"""How every command ends when it cannot do what was asked."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from service.rerank.errors import ServiceError


def stop(error: Exception) -> NoReturn:
    """Say why on stderr and end with status 2."""
    typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
    raise typer.Exit(2)


def refuse(context: typer.Context, names: Iterable[str], why: str) -> None:
    """An option that what was asked for does not read is an error that names it, not silence."""
    for name in names:
        source = context.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            stop(ValueError(f"--{name.replace('_', '-')}: {why}"))


@contextmanager
def stopping() -> Iterator[None]:
    """End so where settings, data, files, servers, requests or the numbers of a training are at fault."""
    try:
        yield
    except (ServiceError, ValueError, OSError, FloatingPointError) as error:
        stop(error)
