"""Every token and every candidate has exactly one fate."""

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.config import RewardConfig
from reward.scorer import RewardUnavailable, Score
from reward.template import Reply
from service.rerank.errors import EngineDown
from service.rerank.ledger import CandidateRecord, Ledger, Tokens, count_tokens
from service.rerank.selection import Choice
from service.rerank.strategies import Candidate
from service.rerank.supervised_scorer import OnRewardFailure
from tests.service.fakes import FakeSampler, FakeScorer, Script, make_run, plan_for, turns


def ledger_of(*candidates: Candidate, selected: tuple[int, ...] = ()) -> Ledger:
    return Ledger(
        plan_for(max(len(candidates), 1)), records=[CandidateRecord(one) for one in candidates], choice=Choice(selected)
    )


def one_finished() -> tuple[Ledger, CandidateRecord]:
    ledger = ledger_of(Candidate(0, "finished", tokens=5, finish_rank=0))
    return ledger, ledger.records[0]


# -- fates


def test_each_state_has_its_fate() -> None:
    ledger = ledger_of(
        Candidate(0, "finished"),
        Candidate(1, "finished"),
        Candidate(2, "aborted"),
        Candidate(3, "running"),
        Candidate(4, "failed"),
        selected=(1,),
    )
    fates = [ledger.fate(candidate) for candidate in ledger.candidates]
    assert fates == ["rejected", "returned", "aborted", "aborted", "failed"]


def test_tokens_are_summed_over_prompts() -> None:
    first = ledger_of(Candidate(0, "finished", tokens=5), Candidate(1, "finished", tokens=7), selected=(1,))
    second = ledger_of(Candidate(0, "failed", tokens=2))
    first.prompt_tokens, second.prompt_tokens, first.cached_prompt_tokens = 10, 20, 4
    first.scored_tokens, first.scored_cached_tokens = 30, 8
    assert count_tokens([first, second]) == Tokens(
        prompt=30, cached_prompt=4, generated=14, returned=7, scored=30, scored_cached=8
    )


def test_no_ledgers_are_no_tokens() -> None:
    assert count_tokens([]) == Tokens()


# -- scores


def test_a_final_score_is_the_reward() -> None:
    ledger, record = one_finished()
    ledger.note_score(record, Score(0.5, {"helpful": 1.0}, 12, 8), finished=True, tokens=5)
    assert (record.view.reward, record.view.rewards, record.view.settled) == (0.5, {"helpful": 1.0}, True)
    assert (ledger.scored_tokens, ledger.scored_cached_tokens) == (12, 8)
    assert ledger.rewards == [0.5]


def test_weights_decide_the_reward_of_answers_and_of_prefixes() -> None:
    ledger, record = one_finished()
    ledger.plan = replace(ledger.plan, reward=RewardConfig(("a", "b"), 1.0, 2.0), reward_weights={"a": 1.0, "b": -1.0})
    for finished in (False, True):
        ledger.note_score(record, Score(0.5, {"a": 4.0, "b": -4.0}, 12, 8), finished=finished, tokens=3)
    assert (record.view.reward, record.view.prefix_rewards) == (1.5, ((3, 1.5),))
    assert record.view.rewards == {"a": 4.0, "b": -4.0}


def test_no_score_is_pending_once_it_has_come() -> None:
    ledger, record = one_finished()
    record.view = record.view.score_asked().score_asked()
    ledger.note_score(record, Score(0.5, {}, 12, 8), finished=False, tokens=3)
    assert record.view.scores_pending == 1
    ledger.note_score(record, None, finished=True, tokens=5)
    assert record.view.scores_pending == 0


def test_a_prefix_score_is_kept_but_is_no_reward() -> None:
    ledger, record = one_finished()
    ledger.note_score(record, Score(0.5, {}, 12, 8), finished=False, tokens=3)
    assert (record.view.reward, record.view.prefix_rewards, record.view.unscored) == (None, ((3, 0.5),), False)
    assert ledger.scored_tokens == 12


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_leaves_the_candidate_unscored_but_is_paid_for(reward: float) -> None:
    ledger, record = one_finished()
    ledger.note_score(record, Score(reward, {}, 12, 0), finished=True, tokens=5)
    assert (record.view.reward, record.view.unscored, record.view.settled) == (None, True, True)
    assert (ledger.rewards, ledger.scored_tokens) == ([], 12)


def test_a_text_that_could_not_be_scored_costs_nothing() -> None:
    ledger, record = one_finished()
    ledger.note_score(record, None, finished=True, tokens=5)
    assert (record.view.unscored, ledger.scored_tokens) == (True, 0)


@pytest.mark.parametrize("late", [None, Score(math.nan, {}, 1, 0)])
def test_a_late_prefix_score_does_not_unsettle_a_candidate(late: Score | None) -> None:
    ledger, record = one_finished()
    ledger.note_score(record, None, finished=True, tokens=5)
    ledger.note_score(record, late, finished=False, tokens=3)
    assert record.view.settled


# -- times


def test_the_last_finish_is_the_latest_and_the_end_where_none_finished() -> None:
    ledger = ledger_of(Candidate(0, "finished"), Candidate(1, "finished"))
    ledger.ended_s = 9.0
    assert ledger.last_finish_s == 9.0
    ledger.records[0].finished_s, ledger.records[1].finished_s = 5.0, 3.0
    assert ledger.last_finish_s == 5.0


# -- over whole runs


@dataclass(frozen=True)
class Story:
    """A request as chance would have it. cancel_after: turns of the loop; the request is cut off then at the latest."""

    scripts: list[Script]
    rewards: list[float | Exception]
    n: int
    on_reward_failure: OnRewardFailure
    deadline_ms: int | None
    checkpoint_tokens: int | None
    score_turns: int
    cancel_after: int
    cancels: int


SCRIPTS = st.builds(
    Script,
    pieces=st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4).map(tuple),
    reason=st.sampled_from(["stop", "stop", "length", "error", "abort", None]),
    error=st.sampled_from([None, None, None, RuntimeError("broken"), EngineDown("dead")]),
    held=st.booleans(),
    turns=st.integers(0, 4),
)
REWARDS = st.floats(-5, 5) | st.sampled_from(
    [math.nan, math.inf, ValueError("too long"), RewardUnavailable("down"), RuntimeError("odd")]
)
STORIES = st.integers(1, 5).flatmap(
    lambda best_of: st.builds(
        Story,
        scripts=st.lists(SCRIPTS, min_size=best_of, max_size=best_of),
        rewards=st.lists(REWARDS, min_size=1, max_size=4),
        n=st.integers(1, best_of),
        on_reward_failure=st.sampled_from(["error", "unranked"]),
        deadline_ms=st.none() | st.just(1),
        checkpoint_tokens=st.none() | st.integers(1, 3),
        score_turns=st.integers(0, 5),
        cancel_after=st.integers(0, 60),
        cancels=st.integers(1, 3),
    )
)


class _Cycle(FakeScorer):
    """Gives the story's rewards in turn."""

    def __init__(self, story: Story) -> None:
        super().__init__(turns=story.score_turns)
        self._story = story

    async def score(self, prompt: object, response: Reply, *, finished: bool = True) -> Score:
        assert isinstance(response, str)
        given_reward = self._story.rewards[len(self.asked) % len(self._story.rewards)]
        self.rewards = {response: given_reward}
        return await super().score(prompt, response, finished=finished)  # type: ignore[arg-type]


async def _live(task: "asyncio.Task[tuple[int, ...]]", story: Story) -> None:
    for _ in range(story.cancel_after):
        if task.done():
            break
        await asyncio.sleep(0)
    for _ in range(story.cancels):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(task, return_exceptions=True)


@settings(max_examples=50, deadline=None)
@given(STORIES)
async def test_whatever_happens_each_candidate_has_one_fate_and_nothing_is_left_running(story: Story) -> None:
    before = asyncio.all_tasks()
    sampler, scorer = FakeSampler(*story.scripts), _Cycle(story)
    rerank = {} if story.deadline_ms is None else {"deadline_ms": story.deadline_ms}
    plan = plan_for(len(story.scripts), story.n, checkpoint_tokens=story.checkpoint_tokens, **rerank)
    run = make_run(sampler, scorer, plan=plan, on_reward_failure=story.on_reward_failure)
    await _live(asyncio.create_task(run.best()), story)
    await asyncio.wait([run.close()])
    await turns(1)

    ledger = run.ledger
    fates = Counter[str]()
    for candidate in ledger.candidates:
        fates[ledger.fate(candidate)] += candidate.tokens
    tokens = count_tokens([ledger])
    assert set(fates) <= {"returned", "rejected", "aborted", "failed"}
    assert tokens.generated == sum(fates.values()) == sampler.tokens
    assert tokens.returned == fates["returned"]
    assert ledger.ended_s is not None
    assert len(ledger.selected) <= story.n
    assert all(reward is not None and math.isfinite(reward) for reward in ledger.rewards)
    assert (sampler.running, scorer.pending) == (set(), 0)
    assert asyncio.all_tasks() <= before


@settings(max_examples=15, deadline=None)
@given(STORIES)
async def test_a_run_that_nobody_disturbs_returns_what_finished_or_says_why_not(story: Story) -> None:
    calm = [replace(script, error=None, held=False, reason="stop") for script in story.scripts]
    sampler, scorer = FakeSampler(*calm), FakeScorer()
    plan = plan_for(len(calm), story.n, checkpoint_tokens=story.checkpoint_tokens, return_candidates=False)
    run = make_run(sampler, scorer, plan=plan)
    selected = await run.best()
    assert len(set(selected)) == story.n
    assert {text for text, finished in scorer.asked if finished} == {"".join(script.pieces) for script in calm}
    assert run.ledger.stop_reason == "complete"
