import pytest

from loadtests.bench.peers import measure


@pytest.mark.parametrize(
    ("arguments", "option"), [(["--rounds", "0"], "--rounds"), (["--its-hub", "/no/python"], "--its-hub")]
)
def test_a_wrong_option_is_named(arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure._options(arguments)
    assert f"error: {option}: " in capsys.readouterr().err
