"""One answer, at temperature 0."""

import json
from dataclasses import replace

from service.rerank.strategies.best_of_n import BestOfN
from service.rerank.strategies.greedy import GreedyOptions
from service.rerank.strategies.knobs import Terms
from tests.service.rerank.asks import DEFAULT_4, read, refusal


def test_the_request_goes_on_with_temperature_0_and_one_candidate() -> None:
    ask = read({"temperature": 0.7, "best_of": 8, "rerank": {"strategy": "greedy"}})
    assert json.loads(ask.body) == {"temperature": 0}
    assert (ask.best_of, ask.asked_best_of, ask.fewer_because) == (1, 8, "greedy")


def test_it_has_one_answer_only() -> None:
    assert refusal({"n": 2, "best_of": 4, "rerank": {"strategy": "greedy"}}) == "n"


def test_by_default_it_leaves_what_is_generated_elsewhere_alone() -> None:
    ask = read({"use_beam_search": True, "temperature": 0.7}, limits=replace(DEFAULT_4, default_strategy="greedy"))
    assert json.loads(ask.body) == {"use_beam_search": True, "temperature": 0.7}


def test_it_is_scored_where_rewards_are() -> None:
    assert GreedyOptions().make(Terms(1)) == BestOfN(1, name="greedy")
    assert GreedyOptions().make(Terms(1, scored=False)) == BestOfN(1, name="greedy", scored=False)
