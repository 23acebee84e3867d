"""Candidates to choose among."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from service.rerank.strategies import Candidate

REWARDS = st.none() | st.sampled_from([-1.0, -0.0, 0.0, 0.5]) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.sampled_from(["4", "5", "", " 4 "])


def scored(*rewards: float, texts: Sequence[str] = ()) -> list[Candidate]:
    """Finished in their order."""
    given = texts or [""] * len(rewards)
    return [
        Candidate(index, "finished", finish_rank=index, reward=reward, text=text)
        for index, (reward, text) in enumerate(zip(rewards, given, strict=True))
    ]


def likely(
    *known: tuple[float | None, int],
    rewards: Sequence[float | None] = (),
    certainties: Sequence[float | None] = (),
    texts: Sequence[str] = (),
) -> list[Candidate]:
    """Finished in their order. known: log-probability and tokens of each."""
    return [
        Candidate(
            index,
            "finished",
            tokens=tokens,
            finish_rank=index,
            reward=rewards[index] if rewards else None,
            logprob=logprob,
            self_certainty=certainties[index] if certainties else None,
            text=texts[index] if texts else "",
        )
        for index, (logprob, tokens) in enumerate(known)
    ]


@st.composite
def crowds(draw: st.DrawFn) -> list[Candidate]:
    """Candidates in all states; those that finished did so in a random order."""
    states = draw(st.lists(st.sampled_from(["running", "aborted", "failed", "finished", "finished"]), max_size=8))
    finished = [index for index, state in enumerate(states) if state == "finished"]
    ranks = dict(zip(finished, draw(st.permutations(range(len(finished)))), strict=True))
    rewards = {index: draw(REWARDS) for index in finished}
    return [
        Candidate(
            index,
            state,  # type: ignore[arg-type]
            finish_rank=ranks.get(index),
            reward=rewards.get(index),
            cut_off=index in ranks and draw(st.booleans()),
        )
        for index, state in enumerate(states)
    ]


@st.composite
def answered(draw: st.DrawFn) -> list[Candidate]:
    """A crowd whose finished candidates have a text."""
    crowd = draw(crowds())
    return [replace(one, text=draw(TEXTS)) if one.state == "finished" else one for one in crowd]
