"""Sampling answers from a policy for training and measurement, outside any server.

One protocol with two implementations: vLLM in this process where it is installed, transformers anywhere.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from reward.template import Message


class Sampler(Protocol):
    """Draws answers at temperature 1."""

    def sample(
        self, conversations: Sequence[Sequence[Message]], *, count: int, max_tokens: int, seed: int
    ) -> list[list[str]]:
        """`count` answers to each conversation, each of at most `max_tokens` tokens; the same for the same seed."""
        ...


def sampler(kind: str, path: str | Path) -> Sampler:
    """`vllm`, `transformers`, or `auto`: vLLM where it is installed. Raises ValueError for another kind."""
    if kind == "auto":
        kind = "vllm" if find_spec("vllm") else "transformers"
    if kind == "vllm":
        return VLLMSampler(path)
    if kind == "transformers":
        return TransformersSampler(path)
    raise ValueError(f"sampler: must be auto, vllm or transformers, not {kind!r}")


class TransformersSampler:
    """`model.generate` over batches of equal prompt length, so that nothing depends on padding."""

    def __init__(self, path: str | Path, *, batch_size: int = 512) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
        self._model = model.to(device).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self._batch_size = batch_size

    def sample(
        self, conversations: Sequence[Sequence[Message]], *, count: int, max_tokens: int, seed: int
    ) -> list[list[str]]:
        torch.manual_seed(seed)
        prompts = [_prompt_tokens(self._tokenizer, messages) for messages in conversations]
        order = sorted((i for i in range(len(prompts)) for _ in range(count)), key=lambda i: len(prompts[i]))
        answers: list[list[str]] = [[] for _ in prompts]
        while order:
            length = len(prompts[order[0]])
            batch = [i for i in order[: self._batch_size] if len(prompts[i]) == length]
            order = order[len(batch) :]
            for index, text in zip(batch, self._generate([prompts[i] for i in batch], max_tokens), strict=True):
                answers[index].append(text)
        return answers

    @torch.inference_mode()
    def _generate(self, prompts: list[list[int]], max_tokens: int) -> list[str]:
        tokens = torch.tensor(prompts, device=self._model.device)
        output = self._model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max_tokens,
        )
        texts: list[str] = self._tokenizer.batch_decode(output[:, tokens.shape[1] :], skip_special_tokens=True)
        return texts


class VLLMSampler:
    """vLLM's engine inside this process; several times faster than `model.generate`."""

    def __init__(self, path: str | Path, *, cache_bytes: int = 256 * 2**20) -> None:
        for name, value in _QUIET_VLLM.items():
            os.environ.setdefault(name, value)
        from vllm import LLM

        on_gpu = torch.cuda.is_available()
        on_cpu: dict[str, Any] = {"kv_cache_memory_bytes": cache_bytes, "distributed_executor_backend": "uni"}
        self._engine = LLM(
            str(path),
            dtype="auto" if on_gpu else "float32",
            enforce_eager=not on_gpu,
            max_num_seqs=256,
            disable_log_stats=True,
            **({} if on_gpu else on_cpu),
        )

    def sample(
        self, conversations: Sequence[Sequence[Message]], *, count: int, max_tokens: int, seed: int
    ) -> list[list[str]]:
        from vllm import SamplingParams

        tokenizer: Any = self._engine.get_tokenizer()
        prompts: Any = [{"prompt_token_ids": _prompt_tokens(tokenizer, messages)} for messages in conversations]
        parameters = SamplingParams(n=count, temperature=1.0, top_p=1.0, top_k=0, max_tokens=max_tokens)
        # The engine runs in this process, so torch's seed is its seed; a seed for each request samples row by row.
        torch.manual_seed(seed)
        outputs = self._engine.generate(prompts, parameters)
        return [[sample.text for sample in output.outputs] for output in outputs]


_QUIET_VLLM = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the training that follows in this process needs every core
}


def _prompt_tokens(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    tokens: list[int] = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return tokens
