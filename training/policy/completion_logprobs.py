"""How likely and how certain a policy finds answers which are known as text, as they were sampled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from measuring.estimators import Floats
from reward.batching import batches
from reward.template import ConversationTemplate
from training.data.records import Comparison
from training.policy.logprobs import (
    Answered,
    answer_certainties,
    answer_logprobs,
    answered,
    generation_start,
    padded,
)

_Values = Callable[[torch.nn.Module, Mapping[str, torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Certainty:
    """What a policy thinks of its own answers, [samples, responses]; at temperature 1, in nats."""

    logprob: Floats  # of the whole answer, the sum over its tokens
    tokens: Floats  # its end included
    self_certainty: Floats  # the mean over its tokens


def certainty(
    model: PreTrainedModel,
    template: ConversationTemplate,
    samples: Sequence[Comparison],
    *,
    max_tokens: int | None = None,
    max_batch_tokens: int = 8192,
) -> Certainty:
    """Both in one pass; every sample has equally many responses. See `completion_logprobs` and `answer_certainties`."""

    def both(policy: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack(answer_certainties(policy, batch), dim=-1)

    found = _over_tokens(both, model, template, samples, max_tokens, max_batch_tokens)
    return Certainty(
        logprob=np.array([[values[:, 0].sum() for values in row] for row in found]),
        tokens=np.array([[len(values) for values in row] for row in found], float),
        self_certainty=np.array([[values[:, 1].mean() for values in row] for row in found]),
    )


def completion_logprobs(
    model: PreTrainedModel,
    template: ConversationTemplate,
    samples: Sequence[Comparison],
    *,
    max_tokens: int | None = None,
    max_batch_tokens: int = 8192,
) -> list[list[Floats]]:
    """log pi(token | all before it) of every token of every response, [samples][responses][tokens], in nats.

    At temperature 1 and in float32, on the model's device. `sampled_tokens` documents which tokens those are.
    """
    return _over_tokens(answer_logprobs, model, template, samples, max_tokens, max_batch_tokens)


def _over_tokens(
    of: _Values,
    model: PreTrainedModel,
    template: ConversationTemplate,
    samples: Sequence[Comparison],
    max_tokens: int | None,
    max_batch_tokens: int,
) -> list[list[Floats]]:
    """[samples][responses][tokens, ...] from what `of` gives for a batch, [rows, longest, ...]."""
    rows = [row for sample in samples for row in sampled_tokens(template, sample, max_tokens)]
    values: list[Floats] = [np.empty(0)] * len(rows)
    for batch in batches([len(row.tokens) for row in rows], max_batch_tokens):
        found = _of_batch(of, model, [rows[index] for index in batch])
        for index, row in zip(batch, found, strict=True):
            values[index] = row[rows[index].start : len(rows[index].tokens)]
    remaining = iter(values)
    return [[next(remaining) for _ in sample.responses] for sample in samples]


def sampled_tokens(template: ConversationTemplate, sample: Comparison, max_tokens: int | None = None) -> list[Answered]:
    """The tokens of each response as the policy sampled them, as far as their text shows.

    They end with the token that ends a turn; what the template writes behind it, such as a line break, was never
    sampled. An answer that filled `max_tokens` was cut off and has no end.
    """
    prompt = template.prompt(sample.messages)
    start = generation_start(template, prompt)
    rows = [answered(template, prompt, start, text) for text in sample.responses]
    bodies = [len(template.tokens(prompt, text, finished=False)) for text in sample.responses]
    return [_as_sampled(template, row, body, max_tokens) for row, body in zip(rows, bodies, strict=True)]


def same_vocabulary(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> bool:
    """Whether log-probabilities under the two can be compared token by token."""
    return first.get_vocab() == second.get_vocab() and first.chat_template == second.chat_template


def _as_sampled(template: ConversationTemplate, row: Answered, body: int, max_tokens: int | None) -> Answered:
    """`body`: how many of the tokens come before the text that ends the turn."""
    if max_tokens is not None and body - row.start >= max_tokens:
        return Answered(row.tokens[: row.start + max_tokens], row.start)
    ends = set(template.tokenizer.all_special_ids)
    last = next((index for index in range(body, len(row.tokens)) if row.tokens[index] in ends), len(row.tokens) - 1)
    return Answered(row.tokens[: last + 1], row.start)


@torch.inference_mode()
def _of_batch(of: _Values, model: PreTrainedModel, rows: Sequence[Answered]) -> Floats:
    """[rows, longest, ...]; 0 where no answer is."""
    batch = {name: tensor.to(model.device) for name, tensor in padded(rows, pad_token_id=0).items()}
    values: Floats = of(model, batch).double().cpu().numpy()
    return values
