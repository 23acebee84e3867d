import pytest

from measuring.near_miss import did_you_mean

SETTINGS = ("learning_rate", "learning_rate_schedule", "max_steps", "seed")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("learningrate", ", did you mean 'learning_rate'?"),
        ("max_step", ", did you mean 'max_steps'?"),
        ("carelessness", ";"),
        ("", ";"),
    ],
)
def test_the_nearest_name_is_offered_where_one_is_near(name: str, text: str) -> None:
    assert did_you_mean(name, SETTINGS) == text


def test_nothing_is_offered_where_there_is_nothing() -> None:
    assert did_you_mean("seed", ()) == ";"
