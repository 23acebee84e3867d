"""Candidates as engine requests of their own, and their outputs put together again. No engine is started."""

import asyncio
import copy
from typing import Any

import pytest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.exceptions import EngineDeadError

from service.rerank.errors import EngineDown
from service.rerank.plan import Plan, make_plan
from service.rerank.protocols import Draft
from service.rerank.run import Run
from service.rerank.strategies.prune import Prune
from service.vllm.sampling.sampler import EngineRequest, VllmSampler
from tests.service.fakes import (
    CONVERSATION,
    FREE,
    METER,
    FakeScorer,
    Script,
    make_ask,
    plan_for,
    says,
    supervised,
    turns,
    until,
    with_strategy,
)
from tests.service.vllm.fake_engine import FakeEngine

DELTA, CUMULATIVE, FINAL_ONLY = RequestOutputKind.DELTA, RequestOutputKind.CUMULATIVE, RequestOutputKind.FINAL_ONLY
PROMPT = {"prompt_token_ids": [1, 2, 3]}
REWARDS = {"ab": 1.0, "cd": 3.0, "ef": 2.0}


def unranked(n: int) -> Plan:
    """What nobody asked to have ranked."""
    return make_plan(make_ask({"n": n}), n=n, temperature=1.0, checkpoint_tokens=None)


class Sampling:
    """One request at work."""

    def __init__(self, engine: FakeEngine, plan: Plan, kind: RequestOutputKind = FINAL_ONLY, **params: Any) -> None:
        self.params = SamplingParams(n=plan.n, output_kind=kind, **params)
        request = EngineRequest(PROMPT, self.params, "the client's", {"priority": 3})
        self.sampler = VllmSampler(engine, request, plan)  # type: ignore[arg-type]
        conversation = CONVERSATION if plan.ranked else None
        self.run = Run(plan, conversation, self.sampler, supervised(FakeScorer(REWARDS)), METER, FREE)
        self.read: list[RequestOutput] = []

    async def answer(self) -> list[RequestOutput]:
        async with asyncio.timeout(2):
            async for output in self.sampler.answer(self.run):
                self.read.append(output)
        return self.read


def three() -> FakeEngine:
    return FakeEngine(*(Script(tuple(text), turns=1) for text in REWARDS))


def texts(outputs: list[RequestOutput]) -> list[tuple[int, str]]:
    return [(completion.index, completion.text) for output in outputs for completion in output.outputs]


# -- what the engine is asked


@pytest.mark.parametrize(
    ("seed", "seeds"),
    [
        (7, [7, 8, 9]),
        (None, [None, None, None]),
        (2**63 - 2, [2**63 - 2, 2**63 - 1, -(2**63)]),
        (-(2**63), [-(2**63), -(2**63) + 1, -(2**63) + 2]),
        (2**64 - 1, [-1, 0, 1]),
    ],
)
async def test_candidates_are_seeded_one_after_another_within_64_bits(seed: int | None, seeds: list[int]) -> None:
    engine = three()
    await Sampling(engine, plan_for(3), seed=seed).answer()
    assert [call.params.seed for call in engine.calls] == seeds


async def test_each_candidate_is_a_request_of_its_own_and_the_clients_parameters_stay() -> None:
    engine = three()
    sampling = Sampling(engine, plan_for(3, 2), temperature=0.5, seed=7)
    asked = copy.deepcopy(sampling.params)
    await sampling.answer()
    assert sampling.params == asked
    assert [(call.params.n, call.params.temperature, call.params.skip_clone) for call in engine.calls] == [
        (1, 0.5, True)
    ] * 3
    assert all((call.prompt, call.options) == (PROMPT, {"priority": 3}) for call in engine.calls)


async def test_requests_that_share_the_clients_id_share_none_of_the_engines() -> None:
    engine = FakeEngine(*[says("ab")] * 4)
    await Sampling(engine, plan_for(2)).answer()
    await Sampling(engine, plan_for(2)).answer()
    assert len({call.request_id for call in engine.calls} | {"the client's"}) == 5


@pytest.mark.parametrize(
    ("kind", "checkpoint_tokens", "interval"), [(FINAL_ONLY, None, 1 << 30), (FINAL_ONLY, 8, 8), (DELTA, 8, None)]
)
async def test_ranked_candidates_come_in_pieces_and_only_a_streams_come_often(
    kind: RequestOutputKind, checkpoint_tokens: int | None, interval: int | None
) -> None:
    engine = three()
    await Sampling(engine, plan_for(3, checkpoint_tokens=checkpoint_tokens), kind).answer()
    assert [(call.params.output_kind, call.params.stream_interval) for call in engine.calls] == [(DELTA, interval)] * 3


@pytest.mark.parametrize("kind", [FINAL_ONLY, CUMULATIVE, DELTA])
async def test_where_nothing_is_ranked_the_engine_gives_what_was_asked_for(kind: RequestOutputKind) -> None:
    engine = three()
    await Sampling(engine, unranked(3), kind).answer()
    assert [(call.params.output_kind, call.params.stream_interval) for call in engine.calls] == [(kind, None)] * 3


# -- what a run learns


@pytest.mark.parametrize(
    ("kind", "drafts"),
    [
        (DELTA, [Draft(1, "a", None), Draft(2, "bc", "length")]),
        (CUMULATIVE, [Draft(1, "a", None), Draft(2, "bc", "length")]),
        (FINAL_ONLY, [Draft(3, "abc", "length")]),
    ],
)
async def test_a_draft_is_what_has_come_since_the_last(kind: RequestOutputKind, drafts: list[Draft]) -> None:
    engine = FakeEngine(Script(("a", "bc"), reason="length"), says("x"))
    sampler = sampler_of(engine, kind)
    assert [draft async for draft in sampler.sample(0)] == drafts


def sampler_of(engine: FakeEngine, kind: RequestOutputKind = FINAL_ONLY) -> VllmSampler:
    request = EngineRequest(PROMPT, SamplingParams(output_kind=kind), "the client's", {})
    return VllmSampler(engine, request, unranked(1))  # type: ignore[arg-type]


async def test_what_is_aborted_before_it_is_sampled_never_reaches_the_engine() -> None:
    engine = FakeEngine()
    sampler = sampler_of(engine)
    await sampler.abort([0])
    assert [draft async for draft in sampler.sample(0)] == [Draft(0, "", "abort")]
    assert engine.calls == []


async def test_an_abort_ends_the_candidates_that_it_names() -> None:
    engine = FakeEngine(Script(("a", "b"), held=True), Script(("c", "d"), held=True))
    sampling = Sampling(engine, plan_for(2))
    waiting = asyncio.create_task(sampling.answer())
    await until(lambda: len(engine.running) == 2)
    await sampling.sampler.abort([1])
    await until(lambda: sampling.run.ledger.candidates[1].state == "aborted")
    assert engine.aborted[0] == engine.calls[1].request_id
    with pytest.raises(EngineDown):  # since nobody had asked for it, and none has finished
        await waiting


async def test_a_dead_engine_is_an_error_of_ours() -> None:
    sampler = sampler_of(FakeEngine(Script(("a",), error=EngineDeadError())))
    with pytest.raises(EngineDown, match="the generation engine has died"):
        _ = [draft async for draft in sampler.sample(0)]


async def test_the_prompt_is_counted_once_it_was_read() -> None:
    sampling = Sampling(three(), plan_for(3))
    assert (sampling.sampler.prompt_tokens, sampling.sampler.cached_prompt_tokens) == (0, 0)
    await sampling.answer()
    assert (sampling.sampler.prompt_tokens, sampling.sampler.cached_prompt_tokens) == (3, 2)


# -- what vLLM's serving code gets


async def test_the_pieces_of_the_winner_are_one_whole_answer() -> None:
    (answer,) = await Sampling(three(), plan_for(3), logprobs=0).answer()
    (completion,) = answer.outputs
    assert (answer.request_id, answer.finished, answer.prompt_token_ids) == ("the client's", True, [1, 2, 3])
    assert (completion.index, completion.text, completion.token_ids) == (0, "cd", [ord("c"), ord("d")])
    assert completion.finish_reason == "stop"
    assert completion.cumulative_logprob == -1.0
    assert completion.logprobs is not None
    assert [list(position) for position in completion.logprobs] == [[ord("c")], [ord("d")]]
    assert completion.sampling_mask is not None
    assert completion.sampling_mask.token_ids == [[ord("c")], [ord("d")]]


async def test_several_answers_are_one_output_best_first() -> None:
    (answer,) = await Sampling(three(), plan_for(3, 2)).answer()
    assert texts([answer]) == [(0, "cd"), (1, "ef")]


@pytest.mark.parametrize("kind", [FINAL_ONLY, CUMULATIVE])
async def test_unranked_answers_are_one_output_in_the_order_of_their_indices(kind: RequestOutputKind) -> None:
    engine = FakeEngine(says("ab", turns=9), says("cd"), says("ef", turns=4))
    (answer,) = await Sampling(engine, unranked(3), kind).answer()
    assert texts([answer]) == [(0, "ab"), (1, "cd"), (2, "ef")]


async def test_a_stream_gets_the_winners_pieces_as_they_came() -> None:
    outputs = await Sampling(three(), plan_for(3, 2), DELTA).answer()
    assert texts(outputs) == [(0, "c"), (0, "d"), (1, "e"), (1, "f")]
    assert {output.request_id for output in outputs} == {"the client's"}
    assert [output.outputs[0].finish_reason for output in outputs] == [None, "stop", None, "stop"]


async def test_a_stream_that_is_not_ranked_passes_while_it_grows() -> None:
    engine = FakeEngine(Script(("a", "b"), held=True), says("cd"))
    sampling = Sampling(engine, unranked(2), DELTA)
    waiting = asyncio.create_task(sampling.answer())
    await until(lambda: sorted(texts(sampling.read)) == [(0, "a"), (1, "cd")])
    assert not waiting.done()
    engine.release(0)
    assert texts(await waiting)[-1] == (0, "b")
    assert len(sampling.read) == 3


async def test_the_last_one_left_passes_its_pieces_while_it_grows() -> None:
    """Pruning ends the others: from then on there is nothing to wait for."""
    engine = FakeEngine(Script(("a", "b", "x"), turns=9, held=True), Script(("c", "d", "y"), turns=9, held=True))
    plan = with_strategy(plan_for(2), Prune(2, 2, (0.5,)))
    sampling = Sampling(engine, plan, DELTA)
    waiting = asyncio.create_task(sampling.answer())
    await until(lambda: texts(sampling.read) == [(0, "c"), (0, "d")])
    assert engine.aborted == [engine.calls[0].request_id]
    engine.release(1)
    assert texts(await waiting) == [(0, "c"), (0, "d"), (0, "y")]


@pytest.mark.parametrize("kind", [FINAL_ONLY, CUMULATIVE, DELTA])
@pytest.mark.parametrize("plan", [plan_for(3), plan_for(3, 3), unranked(3)], ids=["best", "ranked", "unranked"])
async def test_the_engines_own_outputs_are_never_changed(plan: Plan, kind: RequestOutputKind) -> None:
    engine = three()
    outputs = await Sampling(engine, plan, kind, logprobs=0).answer()
    assert sum(len(output.outputs) for output in outputs) >= plan.n
    assert len(engine.calls) == 3
    assert engine.changed == []


async def test_a_choice_that_grows_fast_does_not_hold_back_the_others() -> None:
    sampling = Sampling(FakeEngine(*(Script(tuple("abcdef"), turns=1) for _ in range(2))), unranked(2), DELTA)
    indices: list[int] = []
    async with asyncio.timeout(2):
        async for output in sampling.sampler.answer(sampling.run):
            indices.append(output.outputs[0].index)
            await turns(3)  # a slow client: more grows meanwhile
    assert sorted(indices) == [0] * 6 + [1] * 6
    assert 1 in indices[:6]


async def test_an_answer_that_was_given_holds_neither_prompt_nor_outputs() -> None:
    sampling = Sampling(three(), unranked(3))
    await sampling.answer()
    assert (sampling.sampler._outputs, sampling.sampler._request.prompt) == ({}, {})
    assert sampling.sampler.prompt_tokens == 3


# -- what the engine knows of a candidate


@pytest.mark.parametrize("kind", [FINAL_ONLY, DELTA])
async def test_the_likeliest_is_chosen_and_its_log_probabilities_do_not_reach_the_client(
    kind: RequestOutputKind,
) -> None:
    engine = FakeEngine(says("abcd"), Script(("a", "b")), says("abc"))  # each token has log-probability -0.5
    plan = plan_for(3, selection={"pick": "likelihood", "over_tokens": "sum"})
    sampling = Sampling(engine, plan, kind)
    outputs = await sampling.answer()
    assert [call.params.logprobs for call in engine.calls] == [0, 0, 0]
    assert [one.logprob for one in sampling.run.ledger.candidates] == [-2.0, -1.0, -1.5]
    assert sampling.run.ledger.selected == (1,)
    completions = [completion for output in outputs for completion in output.outputs]
    assert {(one.logprobs, one.cumulative_logprob) for one in completions} == {(None, None)}
    assert engine.changed == []


async def test_the_greedy_candidate_is_the_first_and_the_others_keep_their_seeds() -> None:
    engine = three()
    sampling = Sampling(
        engine, plan_for(3, include_greedy=True), temperature=0.5, seed=7, top_p=0.9, top_k=5, min_p=0.1
    )
    _ = sampling.params.sampling_type
    await sampling.answer()
    greedy, *others = (call.params for call in engine.calls)
    asked = SamplingParams(temperature=0.0, top_p=0.9, top_k=5, min_p=0.1)
    assert (greedy.temperature, greedy.top_p, greedy.top_k, greedy.min_p) == (
        0.0,
        asked.top_p,
        asked.top_k,
        asked.min_p,
    )
    assert greedy.sampling_type == asked.sampling_type
    assert [(one.temperature, one.seed, one.top_p, one.top_k) for one in others] == [(0.5, 8, 0.9, 5), (0.5, 9, 0.9, 5)]
