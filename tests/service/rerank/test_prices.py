"""From work to money."""

import pytest

from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.prices import HourlyPrice, TokenPrices
from service.rerank.selection import Choice
from service.rerank.strategies import Candidate
from tests.service.fakes import plan_for

WORKED = Ledger(
    plan_for(2),
    records=[CandidateRecord(Candidate(0, "finished", tokens=30)), CandidateRecord(Candidate(1, "aborted", tokens=10))],
    choice=Choice((0,)),
    prompt_tokens=100,
    cached_prompt_tokens=40,
    scored_tokens=250,
    scored_cached_tokens=50,
    ended_s=0.0,
    busy_s={"generate": 3.0, "score": 1.0},
)


def test_an_hourly_price_charges_the_share_of_the_time() -> None:
    price = HourlyPrice(3600)
    assert price.cost([WORKED, WORKED]) == {"generate": 6.0, "score": 2.0}
    assert price.idle(10.0) == 10.0


def test_token_prices_charge_what_was_computed() -> None:
    prices = TokenPrices(prompt=1e6, generated=2e6, scored=3e6)
    assert prices.cost([WORKED]) == pytest.approx({"prompt": 60, "generate": 80, "score": 600})
    assert prices.idle(10.0) == 0


def test_a_price_that_is_not_given_is_nothing() -> None:
    assert TokenPrices(generated=1e6).cost([WORKED]) == pytest.approx({"prompt": 0, "generate": 40, "score": 0})
