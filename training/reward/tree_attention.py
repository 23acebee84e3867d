"""One row for a prompt and all its responses: the prompt is computed once (tree attention).

A row is the prompt and then its responses one after another. A response attends to the prompt and to itself only, and
its positions go on from the prompt's, so that the model gives what it gives for each conversation in a row of its own.
The row is longer, which costs attention; `Cost` compares that with the saved tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

PROMPT, PADDING = 0, -1  # segments of a row; its responses are 1, 2, ...
_MASKED_ATTENTION = ("sdpa", "eager")  # the implementations that honour a mask given for every pair of tokens


def tree_mask(segments: torch.Tensor, *, additive: bool) -> torch.Tensor:
    """[rows, 1, tokens, tokens], which token (third dimension) may look at which (fourth).

    segments: [rows, tokens]. True where it may; where `additive`, 0 there and the lowest float32 elsewhere, as
    transformers' eager attention wants it. Padding looks at padding and the prompt, so that no row of it is empty.
    """
    count = segments.shape[1]
    own, other = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(count, count, dtype=torch.bool, device=segments.device).tril()
    allowed = (causal & ((own == other) | (other == PROMPT)))[:, None]
    if not additive:
        return allowed
    return torch.zeros(allowed.shape, device=segments.device).masked_fill(~allowed, torch.finfo(torch.float32).min)


def tree_row(sequences: Sequence[Sequence[int]], shared: int) -> tuple[list[int], list[int], list[int]]:
    """Token ids, segments and positions of one row; the first `shared` tokens of the sequences are the prompt."""
    tokens, segments, positions = list(sequences[0][:shared]), [PROMPT] * shared, list(range(shared))
    for number, sequence in enumerate(sequences, start=1):
        tokens += sequence[shared:]
        segments += [number] * (len(sequence) - shared)
        positions += range(shared, len(sequence))
    return tokens, segments, positions


@dataclass(frozen=True)
class Cost:
    """Multiplications of one token: `linear` with the weights, and `attention` for each token that its row holds."""

    linear: float
    attention: float

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Cost":
        """Weights other than embeddings once; queries with keys and attention with values, in each layer."""
        embeddings = sum(p.numel() for p in model.get_input_embeddings().parameters())
        config = model.config.get_text_config()
        return cls(model.num_parameters() - embeddings, 2 * config.hidden_size * config.num_hidden_layers)

    def of_rows(self, count: int, longest: int) -> float:
        """Of `count` rows padded to `longest` tokens."""
        return count * longest * (self.linear + self.attention * longest)


def obstacle(model: PreTrainedModel, max_tokens: int) -> str:
    """Why the configuration of this model does not allow rows as above, for conversations up to `max_tokens`.

    Empty where nothing stands against it.
    """
    config = model.config.get_text_config()
    if config._attn_implementation not in _MASKED_ATTENTION:
        return f"its attention ({config._attn_implementation}) takes no mask for each pair of tokens"
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"it has layers of the kind {', '.join(sorted(kinds))}"
    window = getattr(config, "sliding_window", None)
    if window and window < max_tokens:
        return f"its attention sees a window of {window} tokens only, fewer than max_tokens={max_tokens}"
    return ""
