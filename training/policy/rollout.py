"""Sampling a policy offline: with transformers everywhere, or with vLLM in this process where it is installed.

A `TokenSampler` knows token ids only, and takes new weights while the policy learns; a `PolicySampler` adds text around
it.
"""

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from jinja2 import TemplateError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reward.template import Message
from training.data.read import DataError

Weights = Iterable[tuple[str, torch.Tensor]]


class SamplerError(ValueError):
    """No such sampler, or none that works here; the message begins with the setting, `sampler`."""


class TokenSampler(Protocol):
    """Draws answers as token ids."""

    def generate(
        self, prompts: Sequence[Sequence[int]], *, max_tokens: int, seed: int, temperature: float
    ) -> list[list[int]]:
        """One answer to each prompt, with the token that ended it if one did; the same for the same seed.

        Temperature 0 is greedy decoding.
        A prompt may stand there several times, for several answers.
        """

    def load_weights(self, weights: Weights) -> None:
        """Go on with these weights, named as in the checkpoint."""

    def close(self) -> None:
        """Free the memory that is its own; nothing can be generated afterwards."""


class PolicySampler:
    """Answers to conversations, as text. Leaving its `with` closes what draws them: the next one needs the memory."""

    def __init__(self, tokens: TokenSampler, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokens, self._tokenizer = tokens, tokenizer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tokens.close()

    def sample(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        count: int,
        max_tokens: int,
        seed: int,
        temperature: float = 1.0,
    ) -> list[list[str]]:
        """`count` answers to each conversation, each of at most `max_tokens` tokens; the same for the same seed.

        Raises DataError for a conversation that the chat template refuses.
        """
        prompts = [
            tokens for messages in conversations for tokens in [prompt_tokens(self._tokenizer, messages)] * count
        ]
        answers = self._tokens.generate(prompts, max_tokens=max_tokens, seed=seed, temperature=temperature)
        texts: list[str] = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [texts[start : start + count] for start in range(0, len(texts), count)]


def sampler(kind: str, path: str | Path) -> PolicySampler:
    """`vllm`, `transformers`, or `auto`: as `resolve` has it. Raises SamplerError as that does."""
    kind = resolve(kind)
    tokenizer = AutoTokenizer.from_pretrained(path)
    if kind == "vllm":
        return PolicySampler(VLLMSampler(path), tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    return PolicySampler(TransformersSampler(model.to(device).eval(), tokenizer), tokenizer)


def resolve(kind: str) -> str:
    """What `auto` means here: vLLM where it is installed, but transformers in each of several processes.

    Raises SamplerError for a kind that does not exist, and for vLLM in several processes, which would wait for each
    other to make its process groups.
    """
    if kind not in ("auto", "vllm", "transformers"):
        raise SamplerError(f"sampler: must be auto, vllm or transformers, not {kind!r}")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and kind == "vllm":
        raise SamplerError("sampler: several processes sample with transformers; set sampler=transformers")
    if kind == "auto":
        return "vllm" if find_spec("vllm") and not several else "transformers"
    return kind


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The ids of a conversation up to where the assistant begins to speak.

    Raises DataError, which shows the prompt, where the chat template refuses it.
    """
    try:
        rendered: Any = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=True, tokenize=True, return_dict=False
        )
    except TemplateError as error:
        shown = "; ".join(f"{message.get('role')}: {message.get('content')}" for message in messages)
        raise DataError(f"the chat template refuses the prompt {shown[:_QUOTED]!r}: {error}") from error
    return list(rendered)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids that end an answer: the generation config's, else the tokenizer's."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    if ends is None:
        ends = tokenizer.eos_token_id
    if ends is None:
        raise ValueError("neither the model's generation config nor its tokenizer names a token that ends an answer")
    return frozenset(ends if isinstance(ends, list) else [ends])


class TransformersSampler:
    """`model.generate` over batches of equal prompt length, so that nothing depends on padding.

    The model may be one that is being trained: what it is when asked is what is sampled. Its distribution is sampled
    as it is: nothing but the ids that end an answer is taken from its generation config.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = 512) -> None:
        unwrapped: Any = getattr(model, "get_base_model", lambda: model)()  # LoRA's layers stay inside it
        self._model, self._batch_size = unwrapped, batch_size
        self._ends = end_tokens(model, tokenizer)
        self._pad: int = min(self._ends)

    def generate(
        self, prompts: Sequence[Sequence[int]], *, max_tokens: int, seed: int, temperature: float
    ) -> list[list[int]]:
        torch.manual_seed(seed)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        answers: list[list[int]] = [[] for _ in prompts]
        while order:
            length = len(prompts[order[0]])
            batch = [index for index in order[: self._batch_size] if len(prompts[index]) == length]
            order = order[len(batch) :]
            drawn = self._generate([prompts[index] for index in batch], max_tokens, temperature)
            for index, tokens in zip(batch, drawn, strict=True):
                answers[index] = tokens
        return answers

    def load_weights(self, weights: Weights) -> None:
        module: torch.nn.Module = self._model
        module.load_state_dict(dict(weights))

    def close(self) -> None:
        """Nothing is its own: the model is another's."""

    @torch.inference_mode()
    def _generate(self, prompts: list[Sequence[int]], max_tokens: int, temperature: float) -> list[list[int]]:
        tokens = torch.tensor(prompts, device=self._model.device)
        sampling = GenerationConfig(
            **_drawing(temperature),
            max_new_tokens=max_tokens,
            pad_token_id=self._pad,
            eos_token_id=sorted(self._ends),
        )
        with _without_generation_config(self._model):
            output = self._model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=sampling)
        return [self._until_end(row) for row in output[:, tokens.shape[1] :].tolist()]

    def _until_end(self, tokens: list[int]) -> list[int]:
        end = next((index for index, token in enumerate(tokens) if token in self._ends), len(tokens))
        return tokens[: end + 1]


def _drawing(temperature: float) -> dict[str, Any]:
    """For GenerationConfig."""
    if not temperature:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}


@contextmanager
def _without_generation_config(model: Any) -> Iterator[None]:
    """`generate` takes from the model's own, such as a repetition penalty, whatever its argument leaves open."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


class VLLMSampler:
    """vLLM's engine inside this process; it generates while the policy is still and takes its weights after a step."""

    def __init__(
        self, path: str | Path, *, cache_bytes: int = 256 * 2**20, gpu_memory_utilization: float = 0.3
    ) -> None:
        for name, value in _QUIET_VLLM.items():
            os.environ.setdefault(name, value)
        from vllm import LLM

        on_gpu = torch.cuda.is_available()
        memory: dict[str, Any] = {"gpu_memory_utilization": gpu_memory_utilization}
        on_cpu: dict[str, Any] = {"kv_cache_memory_bytes": cache_bytes, "distributed_executor_backend": "uni"}
        self._engine = LLM(
            str(path),
            dtype="auto" if on_gpu else "float32",
            max_model_len=-1,  # the model's, or as long as the cache allows
            enforce_eager=not on_gpu,
            max_num_seqs=256,
            disable_log_stats=True,
            **(memory if on_gpu else on_cpu),
        )

    def generate(
        self, prompts: Sequence[Sequence[int]], *, max_tokens: int, seed: int, temperature: float
    ) -> list[list[int]]:
        from vllm import SamplingParams

        parameters = SamplingParams(
            temperature=temperature, top_p=1.0, top_k=0, max_tokens=max_tokens, detokenize=False
        )
        # The engine runs in this process, so torch's seed is its seed; a seed for each request samples row by row.
        torch.manual_seed(seed)
        inputs: Any = [{"prompt_token_ids": list(tokens)} for tokens in prompts]
        outputs = self._engine.generate(inputs, parameters, use_tqdm=len(prompts) > _SHOW_PROGRESS_PROMPTS)
        return [list(output.outputs[0].token_ids) for output in outputs]

    def load_weights(self, weights: Weights) -> None:
        self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        self._engine.reset_prefix_cache()

    def close(self) -> None:
        self._engine.llm_engine.engine_core.shutdown()
        del self._engine
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


_QUOTED = 60  # characters of a prompt that an error shows
_SHOW_PROGRESS_PROMPTS = 1000
_QUIET_VLLM = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the training that follows in this process needs every core
}
