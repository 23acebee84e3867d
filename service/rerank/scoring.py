"""Between a `Run` and the reward model: the candidates of one prompt, of which equal texts are scored once."""

import asyncio
from dataclasses import replace
from typing import Self

from reward.conversation import Conversation
from reward.scorer import Score
from reward.template import Prompt, Reply
from service.rerank.ledger import CandidateRecord, Ledger
from service.rerank.supervised_scorer import SupervisedScorer


class Scoring:
    """Scores for one prompt. A candidate whose text another has asked about awaits that score: cancel all or none.

    conversation: as the reward model reads it.
    """

    def __init__(self, reward: SupervisedScorer, conversation: Conversation, prompt: Prompt) -> None:
        self._reward = reward
        self._prompt = prompt
        self._asked: dict[tuple[str, bool], asyncio.Future[Score | Exception]] = {}
        self.conversation = replace(conversation, messages=prompt.messages, left_out=prompt.left_out)

    @classmethod
    async def of(cls, reward: SupervisedScorer, conversation: Conversation) -> Self:
        """Raises InvalidRequest where the reward model's template refuses the conversation."""
        return cls(reward, conversation, await reward.prompt(conversation))

    @property
    def excess_tokens(self) -> int:
        """By how much the prompt alone is too long for any answer to be scored; 0 where it is not."""
        limit = self._reward.max_tokens
        return 0 if limit is None else max(0, self._prompt.least_tokens + 1 - limit)

    async def prefill(self) -> None:
        """Read the prompt while the first answer grows. Raises RewardUnavailable."""
        try:
            await self._reward.prefill(self._prompt)
        except ValueError:
            return  # a prompt too long to score: every candidate will say so when it is scored

    async def score(self, ledger: Ledger, record: CandidateRecord) -> None:
        """Score a candidate as it stands now, and write it down; thinking alone is no answer to score.

        Raises RewardUnavailable.
        """
        finished, tokens, text = record.view.state == "finished", record.view.tokens, record.text
        answer = ledger.answer(record)
        score: Score | None = None
        try:
            if self.conversation.score_reasoning or not answer.only_thought:
                score = await self._score_once(self.conversation.reply(answer, text), text, finished=finished)
        except ValueError as error:
            record.error = error
        ledger.note_score(record, score, finished=finished, tokens=tokens)

    async def _score_once(self, reply: Reply, text: str, *, finished: bool) -> Score:
        """Equal texts are scored once: the first of them asks, the others wait for its score, and cost nothing.

        Candidates often begin alike, so of the scores at the first checkpoints many are one.
        """
        key = text, finished
        if key in self._asked:
            known = await asyncio.shield(self._asked[key])
            if isinstance(known, Exception):
                raise known
            return replace(known, tokens=0, cached_tokens=0)
        self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            score = await self._reward.score(self._prompt, reply, finished=finished)
        except Exception as error:
            self._asked[key].set_result(error)
            raise
        self._asked[key].set_result(score)
        return score
