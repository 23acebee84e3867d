"""How commands end: what is the user's to mend is one line and status 2, everything else is a traceback."""

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from bestofn_server.commands.errors import refuse, stopping
from service.rerank.errors import InvalidRequest


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such lab"),
        OSError("no such lab"),
        InvalidRequest("no such lab"),
        FloatingPointError("no such lab"),
    ],
)
def test_what_can_be_mended_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, stopping():
        raise error
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == "error: no such lab\n"


def test_a_fault_of_ours_is_not_dressed_up() -> None:
    with pytest.raises(KeyError), stopping():
        raise KeyError("lab")


@pytest.mark.parametrize(
    ("arguments", "status"), [([], 0), (["--max-tokens", "8"], 2), (["--max-tokens", "3"], 2), (["--seed", "1"], 0)]
)
def test_an_option_that_is_not_read_is_refused_when_it_is_given(arguments: list[str], status: int) -> None:
    app = typer.Typer()

    @app.command()
    def command(
        context: typer.Context, max_tokens: Annotated[int, typer.Option()] = 8, seed: Annotated[int, typer.Option()] = 0
    ) -> None:
        refuse(context, ["max_tokens"], "has no meaning here")

    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == status
    assert ("error: --max-tokens: has no meaning here" in done.output) is (status == 2)
