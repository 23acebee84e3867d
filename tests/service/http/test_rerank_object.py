"""The `rerank` object: what was done for a request, as its client reads it."""

from dataclasses import replace

from reward.bounds import kl_bound_nats
from service.http.rerank_object import rerank_headers, rerank_object
from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.prices import HourlyPrice
from service.rerank.selection import Choice
from service.rerank.strategies import Candidate
from tests.service.fakes import CONVERSATION, plan_for
from tests.service.http.ledgers import context_of, ledger_of_two


def test_what_was_done_is_told_where_it_was_not_simply_the_highest_reward() -> None:
    plan = replace(plan_for(4, selection={"pick": "soft", "temperature": 2, "length_calibrated": True}), seed=7)
    choice = Choice((1,), {0: 0.25, 1: 0.75}, {0: 1.5, 1: 2.5})
    described = rerank_object(context_of(replace(ledger_of_two(), plan=plan, choice=choice)))
    assert described["selection"] == {"pick": "soft", "length_calibrated": True, "temperature": 2.0, "seed": 7}
    assert [candidate.get("weight") for candidate in described["candidates"]] == [0.25, 0.75, None, None]
    assert [candidate.get("utility") for candidate in described["candidates"]] == [1.5, 2.5, None, None]


def test_what_the_engine_reported_is_told_and_which_candidate_is_the_greedy_one() -> None:
    told = replace(ledger_of_two(), plan=plan_for(4, include_greedy=True))
    told.records[0].view = replace(told.records[0].view, logprob=-2.5, self_certainty=3.5)
    described = rerank_object(context_of(told))
    first, *others = described["candidates"]
    assert (first["logprob"], first["self_certainty"], first["greedy"]) == (-2.5, 3.5, True)
    assert not any({"logprob", "self_certainty", "greedy"} & other.keys() for other in others)
    assert described["kl_bound_nats"] is None


def test_a_vote_has_no_seed() -> None:
    choice = Choice((1,), {0: 0.5, 1: 0.5})
    ledger = replace(ledger_of_two(), plan=plan_for(4, selection="majority"), choice=choice)
    assert rerank_object(context_of(ledger))["selection"] == {"pick": "majority", "answer": "last_line"}


def test_the_cost_is_told_where_prices_are_known() -> None:
    priced = replace(ledger_of_two(), busy_s={"generate": 3.0, "score": 1.0})
    context = context_of(priced, priced)
    assert "cost" not in rerank_object(context)
    context.prices = HourlyPrice(3600)
    told = rerank_object(context)
    assert told["cost"] == {"generate": 6.0, "score": 2.0, "total": 8.0}
    assert told["prompts"][0]["cost"] == {"generate": 3.0, "score": 1.0, "total": 4.0}


def test_the_rerank_object_tells_the_whole_story() -> None:
    assert rerank_object(context_of(ledger_of_two())) == {
        "strategy": "best_of_n",
        "best_of": 4,
        "sampled": 4,
        "finished": 2,
        "aborted": 1,
        "failed": 1,
        "selected": [1],
        "candidates": [
            {"index": 0, "reward": 1.0, "completion_tokens": 5, "finish_reason": "stop"},
            {
                "index": 1,
                "reward": 3.0,
                "completion_tokens": 7,
                "finish_reason": "length",
                "rewards": {"helpful": 3.0},
            },
            {
                "index": 2,
                "reward": None,
                "completion_tokens": 2,
                "finish_reason": "abort",
                "aborted_at_tokens": 2,
            },
            {"index": 3, "reward": None, "completion_tokens": 1, "finish_reason": None, "error": "broken"},
        ],
        "reward": 3.0,
        "reward_mean": 2.0,
        "reward_std": 1.0,
        "kl_bound_nats": kl_bound_nats(4),
        "stop_reason": "complete",
        "tokens": {
            "prompt": 10,
            "cached_prompt": 4,
            "generated": 15,
            "returned": 7,
            "scored": 40,
            "scored_cached": 30,
        },
        "timing": {"queue_ms": 500.0, "generate_ms": 1500.0, "score_ms": 250.0, "total_ms": 2250.0},
    }


def test_texts_are_given_to_who_asks_for_them() -> None:
    described = rerank_object(context_of(ledger_of_two(), return_candidates=True))["candidates"]
    assert [candidate["text"] for candidate in described] == ["text 0", "text 1", "text 2", "text 3"]


def test_without_rewards_there_is_no_made_up_statistic() -> None:
    ledger = Ledger(plan_for(1), records=[CandidateRecord(Candidate(0, "finished"))], choice=Choice((0,)), ended_s=0.0)
    described = rerank_object(context_of(ledger))
    assert (described["reward"], described["reward_mean"], described["reward_std"]) == (None, None, None)


def test_several_prompts_have_totals_and_an_object_each() -> None:
    described = rerank_object(context_of(ledger_of_two(), ledger_of_two(), endpoint="completions"))
    assert set(described) == {"tokens", "timing", "prompts"}
    assert described["tokens"]["generated"] == 30
    assert [prompt["tokens"]["generated"] for prompt in described["prompts"]] == [15, 15]


def test_no_duration_is_negative() -> None:
    context = context_of(ledger_of_two())
    context.started_s = 99.0
    assert min(rerank_object(context)["timing"].values()) >= 0


def test_what_the_reward_model_read_is_told_where_it_was_asked() -> None:
    assert "scored_as" not in rerank_object(context_of(ledger_of_two()))
    told = rerank_object(context_of(replace(ledger_of_two(), conversation=CONVERSATION)))
    assert (told["scored_as"], "left_out" in told) == ("conversation", False)
    rendered = replace(CONVERSATION, scored_as="rendered", left_out=("tools",))
    told = rerank_object(context_of(replace(ledger_of_two(), conversation=rendered)))
    assert (told["scored_as"], list(told["left_out"])) == ("rendered", ["tools"])


def test_headers_give_the_gist_once_nothing_can_change() -> None:
    ledger = ledger_of_two()
    names = ("x-bestofn-reward", "x-bestofn-best-of", "x-bestofn-sampled", "x-bestofn-generated-tokens")
    assert rerank_headers(context_of(ledger)) == dict(zip(names, ("3.0", "4", "4", "15"), strict=True))
    ledger.ended_s = None
    assert rerank_headers(context_of(ledger)) == {}


def test_headers_of_several_prompts_have_no_reward_and_wait_for_all() -> None:
    both = context_of(ledger_of_two(), ledger_of_two(), endpoint="completions")
    assert rerank_headers(both) == {
        "x-bestofn-best-of": "4",
        "x-bestofn-sampled": "8",
        "x-bestofn-generated-tokens": "30",
    }
    both.runs.pop()
    assert rerank_headers(both) == {}
