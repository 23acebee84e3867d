import json
import math
from dataclasses import dataclass

import pytest

from measuring.estimators import Interval
from measuring.strict_json import strict, strict_json


@dataclass(frozen=True)
class Found:
    by_n: dict[int, Interval]
    missing: float = math.nan


def test_what_is_not_finite_is_null_and_a_dataclass_is_an_object() -> None:
    found = Found({8: Interval(0.5, -math.inf, 0.7)})
    assert strict(found) == {"by_n": {"8": {"value": 0.5, "low": None, "high": 0.7}}, "missing": None}
    assert strict([found, (1, math.inf), "NaN"])[1:] == [[1, None], "NaN"]


@pytest.mark.parametrize("indent", [None, 2])
def test_the_text_is_what_every_program_reads(indent: int | None) -> None:
    text = strict_json({"a": math.nan}, indent=indent)
    assert text.endswith("}\n")
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None}
