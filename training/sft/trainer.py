"""Supervised fine-tuning: the policy learns to answer as the demonstrations do.

    bestofn train sft --recipe arithmetic_sft --output runs/arithmetic-sft

Next-token cross-entropy on the answer's tokens only, end of turn included; the prompt is masked, up to where a policy
that is asked it begins to speak (Ouyang et al. 2022, section 3.4, start here). The learned model samples at
temperature 1 as its demonstrators write, mistakes included. Plain text, a demonstration without messages, is learned
from its first token to the end of text.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from training.evaluation.measure import policy_gold
from training.run.config import ConfigError, setting
from training.run.pretrained import start_fresh, start_policy
from training.run.supervised import Prepared, RecordTrainer, SupervisedConfig, supervised_run
from training.samples.demonstrations import lab_demonstrations, load_demonstrations
from training.sft.data import SFTCollator, SFTDataset


@dataclass(frozen=True, kw_only=True)
class SFTConfig(SupervisedConfig):
    """Supervised fine-tuning: next-token loss on the answer."""

    demonstrations: int = setting(100_000, "demonstrations to make", minimum=1, lab_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model and not self.lab:
            raise ConfigError(
                "model: required when the data is not made in a lab (in one, empty is a fresh small Llama)"
            )


class SFTTrainer(RecordTrainer):
    """transformers' language-model loss: the mean over the answer tokens of the whole optimizer step."""


def train(config: SFTConfig, output: Path, command: str = "") -> Path:
    """Train, save a plain `AutoModelForCausalLM` checkpoint with its model card, and return its folder.

    Goes on from the last state of a run that was interrupted in `output`. command: what the card names. Raises
    ValueError before any work where model, tokenizer and data do not fit together.
    """
    return supervised_run(config, output, command, prepare)


def prepare(config: SFTConfig, output: Path) -> Prepared:
    """The policy to start from, and the demonstrations as token ids."""
    if config.model:
        model, template = start_policy(config.model, max_tokens=config.max_tokens, dropout=True)
    else:
        model, template = start_fresh(config.lab, seed=config.seed, max_tokens=config.max_tokens)
    if config.data:
        records, source = load_demonstrations(config.data, config.split)
    else:
        records, source = lab_demonstrations(config.world(), config.demonstrations, config.seed)
    return Prepared(
        model=model,
        tokenizer=template.tokenizer,
        trainer=partial(SFTTrainer, data_collator=SFTCollator(template.tokenizer.pad_token_id)),
        train_dataset=SFTDataset(records, template, config.max_tokens, source),
        title=f"Policy, supervised fine-tuning ({config.lab or config.data})",
        source=source,
        measured=lambda _: _measured(config, output),
    )


def _measured(config: SFTConfig, output: Path) -> str:
    """For the model card."""
    if not (config.lab and config.evaluation_prompts):
        return "Nothing: the data did not come from a lab."
    prompts, samples = config.evaluation_prompts, config.evaluation_samples
    return policy_gold(config.world(), output, prompts=prompts, count=samples).table()
