"""Supervised fine-tuning: the policy learns to answer as the demonstrations do.

    bestofn train sft --recipe arithmetic_sft --output runs/arithmetic-sft

Next-token cross-entropy on the answer's tokens only, end of turn included; the prompt is masked, up to where a policy
that is asked it begins to speak (Ouyang et al. 2022, section 3.4, start here). The learned model samples at
temperature 1 as its demonstrators write, mistakes included. Plain text, a demonstration without messages, is learned
from its first token to the end of text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from reward.template import ConversationTemplate
from training.data.read import read_demonstrations
from training.data.records import Demonstration
from training.evaluation import measure
from training.labs import lab, model_path
from training.policy.logprobs import answered, generation_start
from training.run import cards, checkpoints, checks, run_folder
from training.run.config import loading
from training.run.elapsed import Elapsed
from training.run.metrics import MetricsFile
from training.run.settings import SFTConfig
from training.run.trainer import RecordTrainer, training_arguments

IGNORED = -100  # the label that torch's cross-entropy leaves out


class Demonstrations(Dataset[dict[str, list[int]]]):
    """Token ids and labels of each demonstration, all made at once, so that nothing can fail later.

    source: where they come from, for errors. Raises ValueError where a record is longer than `max_tokens` or the chat
    template refuses it.
    """

    def __init__(
        self, records: Sequence[Demonstration], template: ConversationTemplate, max_tokens: int, source: str = "data"
    ) -> None:
        self._template = template
        self._rows = [self._encode(record) for record in records]
        checks.check_lengths(self.lengths(), max_tokens, source, lambda index: _beginning(records[index]))

    def __len__(self) -> int:
        return len(self._rows)

    def lengths(self) -> list[int]:
        """Tokens of each record."""
        return [len(tokens) for tokens, _ in self._rows]

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        encoded, unlearned = self._rows[index]
        tokens = encoded.tolist()
        return {"input_ids": tokens, "labels": [IGNORED] * unlearned + tokens[unlearned:]}

    def _encode(self, record: Demonstration) -> tuple[np.ndarray[Any, np.dtype[np.int32]], int]:
        """The tokens, and how many of them come before the answer."""
        if not record.messages:
            tokenizer = self._template.tokenizer
            text = list(tokenizer(record.completion)["input_ids"])
            ended = text if text[-1:] == [tokenizer.eos_token_id] else [*text, tokenizer.eos_token_id]
            return np.array(ended, np.int32), 0
        prompt = self._template.prompt(record.messages)
        row = answered(self._template, prompt, generation_start(self._template, prompt), record.completion)
        return np.array(row.tokens, np.int32), row.start


class SFTTrainer(RecordTrainer):
    """transformers' language-model loss: the mean over the answer tokens of the whole optimizer step."""


def train(config: SFTConfig, output: Path, command: str = "") -> Path:
    """Train, save a plain `AutoModelForCausalLM` checkpoint with its model card, and return its folder.

    Goes on from the last state of a run that was interrupted in `output`. `command` is told in the card. Raises
    ValueError before any work where model, tokenizer and data do not fit together.
    """
    elapsed = Elapsed(output)
    model, tokenizer = _start(config)
    checks.check_model(model, tokenizer, config.max_tokens)
    records, source = _records(config)
    demonstrations = Demonstrations(records, ConversationTemplate(tokenizer), config.max_tokens, source)
    state = run_folder.begin(config, output)
    arguments = training_arguments(config, output / run_folder.STATE_FOLDER)
    arguments.label_names = ["labels"]
    trainer = SFTTrainer(
        model=checkpoints.adapted(model, config),
        args=arguments,
        train_dataset=demonstrations,
        data_collator=Padding(tokenizer.pad_token_id),
        callbacks=[MetricsFile(output)],
    )
    trainer.add_callback(elapsed)
    trainer.train(resume_from_checkpoint=state)
    checkpoints.save(trainer.model, tokenizer, config, output, accelerator=trainer.accelerator)
    if run_folder.is_main():
        _write_card(config, output, command, source, trainer.tokens_per_second, elapsed.minutes)
    run_folder.finish(output)
    return output


class Padding:
    """Pads a batch on the right: `input_ids`, `attention_mask`, `labels`, each [batch, longest]."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(values: list[list[int]], fill: int) -> torch.Tensor:
            return torch.tensor([row + [fill] * (longest - len(row)) for row in values])

        tokens = [row["input_ids"] for row in rows]
        return {
            "input_ids": padded(tokens, self._pad_token_id),
            "attention_mask": padded([[1] * len(row) for row in tokens], 0),
            "labels": padded([row["labels"] for row in rows], IGNORED),
        }


def _start(config: SFTConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if config.model:
        path = model_path(config.model)
        with loading("model"):
            return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), AutoTokenizer.from_pretrained(path)
    from training.labs.models import fresh_policy

    tokenizer = lab(config.lab).tokenizer()
    return fresh_policy(tokenizer, seed=config.seed), tokenizer


def _records(config: SFTConfig) -> tuple[list[Demonstration], str]:
    """The demonstrations, and where they come from."""
    if config.data:
        with run_folder.main_first():
            demonstrations, report = read_demonstrations(config.data, split=config.split)
        return demonstrations, report.summary()
    made = lab(config.lab, config.lab_options).demonstrations(config.demonstrations, seed=config.seed)
    return list(made), f"{config.demonstrations} demonstrations of the lab `{config.lab}`"


def _beginning(record: Demonstration) -> str:
    return str(record.messages[-1]["content"]) if record.messages else record.completion


def _write_card(
    config: SFTConfig, output: Path, command: str, source: str, tokens_per_second: float, minutes: float
) -> None:
    measured = "Nothing: the data did not come from a lab."
    if config.lab and config.evaluation_prompts:
        world, prompts, samples = (
            lab(config.lab, config.lab_options),
            config.evaluation_prompts,
            config.evaluation_samples,
        )
        measured = measure.policy_gold(world, output, prompts=prompts, count=samples).table()
    cards.write(
        output,
        title=f"Policy, supervised fine-tuning ({config.lab or config.data})",
        usage="A plain `AutoModelForCausalLM` checkpoint. Sample it at temperature 1.",
        command=command,
        data=source,
        measured=measured,
        minutes=minutes,
        config=config,
        tokens_per_second=tokens_per_second,
    )
