"""Reward modelling: a scalar that ranks answers to one prompt, learned from pairs (Bradley-Terry).

    bestofn train reward --recipe arithmetic_reward --output runs/arithmetic-reward

In the order of Ouyang et al. 2022, section 3.5: sample the policy, label, train on pairs, normalise. Deviations: fresh
layers may be added on the trunk, started as the identity; the same loss may be taken at every position from the first
difference of a pair on, so that unfinished answers can be scored too; no margin unless the data holds one.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, Trainer
from transformers.trainer_utils import EvalPrediction

from reward.batching import score_sequences
from reward.template import ConversationTemplate, Message, common_length
from training import cards, measure, runs, samples
from training.batches import SimilarLengths
from training.config import RewardModelConfig
from training.data import Preference, preference, read_jsonl
from training.labs import lab, model_path
from training.losses import bradley_terry, bradley_terry_every_position
from training.rollout import sampler

SAMPLES_FILE = "samples.jsonl"
EVALUATION_SHARE = 0.05  # of the pairs, never trained on
NORMALISATION_ANSWERS = 1024  # Ziegler et al. 2019 use 256


class Pairs(Dataset[dict[str, Any]]):
    """Token ids of both conversations of each preference, made when asked for."""

    def __init__(self, records: Sequence[Preference], template: ConversationTemplate, max_tokens: int) -> None:
        self.records, self._template, self._max_tokens = records, template, max_tokens

    def __len__(self) -> int:
        return len(self.records)

    def lengths(self) -> list[int]:
        """Characters of the longer answer of each record with its prompt, as a measure of tokens."""
        return [
            max(len(record.chosen), len(record.rejected)) + sum(len(str(m["content"])) for m in record.messages)
            for record in self.records
        ]

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        prompt = self._template.prompt(record.messages)
        chosen, rejected = (self._template.tokens(prompt, text) for text in (record.chosen, record.rejected))
        longest = max(len(chosen), len(rejected))
        if longest > self._max_tokens:
            raise ValueError(f"record {index}: {longest} tokens, the limit max_tokens is {self._max_tokens}")
        return {"chosen": chosen, "rejected": rejected, "margin": record.margin}


class PairPadding:
    """Pads pairs into one batch: all chosen, then all rejected.

    `input_ids`, `attention_mask` [2 * pairs, longest]; `ends` [2 * pairs], the last token of each; `compare`
    [pairs, longest], true from the first differing token to the end of the shorter answer; `margin` [pairs].
    """

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        sequences = [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
        longest = max(map(len, sequences))
        lengths = torch.tensor([len(tokens) for tokens in sequences])
        positions = torch.arange(longest)
        starts = torch.tensor([common_length(row["chosen"], row["rejected"]) for row in rows])
        shorter = torch.minimum(*lengths.chunk(2))
        return {
            "input_ids": torch.tensor([t + [self._pad_token_id] * (longest - len(t)) for t in sequences]),
            "attention_mask": (positions < lengths[:, None]).long(),
            "ends": lengths - 1,
            "compare": (positions >= starts[:, None]) & (positions < shorter[:, None]),
            "margin": torch.tensor([row["margin"] for row in rows]),
        }


class PairTrainer(Trainer):
    """The Bradley-Terry loss at the last token, and with `every_position_weight` at every compared one.

    The loss is a mean over the micro-batch: transformers must divide it by the accumulation steps.
    """

    loss_is_scaled_for_ga = False

    def __init__(self, model: PreTrainedModel, *, every_position_weight: float, **rest: Any) -> None:
        super().__init__(model=model, **rest)
        self._every_position_weight = every_position_weight
        self.can_return_loss = True
        self._position_rewards = torch.empty(0)
        # The score layer sees every position before the model picks the last one.
        score: Any = model.score
        score.register_forward_hook(self._keep_position_rewards)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        rewards = self._position_rewards  # [2 * pairs, positions]
        chosen, rejected = rewards.gather(1, inputs["ends"][:, None]).squeeze(1).chunk(2)
        loss = bradley_terry(chosen, rejected, inputs["margin"])
        if weight := self._every_position_weight:
            all_chosen, all_rejected = rewards.chunk(2)
            dense = bradley_terry_every_position(all_chosen, all_rejected, inputs["compare"], inputs["margin"])
            loss = (loss + weight * dense) / (1 + weight)
        runs.check_finite(loss, self.state.global_step)
        return (loss, {"chosen": chosen, "rejected": rejected}) if return_outputs else loss

    def _keep_position_rewards(self, _: torch.nn.Module, __: Any, output: torch.Tensor) -> None:
        self._position_rewards = output.squeeze(-1)

    def _get_train_sampler(self, train_dataset: Any = None) -> SimilarLengths:
        pairs: Any = self.train_dataset
        return SimilarLengths(pairs.lengths(), self.args.train_batch_size, self.args.seed)


def train(config: RewardModelConfig, output: Path, command: str = "") -> Path:
    """Train, save a plain `AutoModelForSequenceClassification` checkpoint with its card, and return its folder.

    Goes on from the samples and the last state of a run interrupted in `output`. `command` is told in the card.
    """
    started = time.monotonic()
    state = runs.begin(config, output)
    policy = model_path(config.model)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    template = ConversationTemplate(tokenizer)
    data = _data(config, output)
    held_out = max(1, int(len(data.pairs) * EVALUATION_SHARE))
    model = reward_model(policy, extra_layers=config.extra_layers, seed=config.seed)
    arguments = runs.arguments(config, output / runs.STATE_FOLDER)
    arguments.label_names = []
    trainer = PairTrainer(
        every_position_weight=config.every_position_weight,
        model=model,
        args=arguments,
        train_dataset=Pairs(data.pairs[held_out:], template, config.max_tokens),
        eval_dataset=Pairs(data.pairs[:held_out], template, config.max_tokens),
        data_collator=PairPadding(tokenizer.pad_token_id),
        compute_metrics=_pair_accuracy,
        callbacks=[runs.MetricsFile(output / runs.METRICS_FILE)],
    )
    trainer.train(resume_from_checkpoint=state)
    pair_accuracy = trainer.evaluate()["eval_accuracy"]
    _normalise(model, template, data.reference)
    runs.save(model, tokenizer, config, output)
    _write_card(config, output, command, data, pair_accuracy, (time.monotonic() - started) / 60)
    runs.finish(output)
    return output


def reward_model(path: str, *, extra_layers: int, seed: int) -> PreTrainedModel:
    """The policy's trunk with a fresh scalar head, N(0, 1/(d+1)) (Ziegler et al. 2019, section 2.1).

    Extra layers come last; their two output projections are zero, so that they start as the identity.
    """
    torch.manual_seed(seed)
    trunk = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=torch.float32)
    config = trunk.config
    depth = config.num_hidden_layers
    config.num_hidden_layers = depth + extra_layers
    if getattr(config, "layer_types", None):
        config.layer_types = [*config.layer_types, *config.layer_types[-1:] * extra_layers]
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    model.load_state_dict(trunk.state_dict(), strict=False)
    for layer in model.get_decoder().layers[depth:]:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    score: Any = model.score
    torch.nn.init.normal_(score.weight, std=(config.hidden_size + 1) ** -0.5)
    return model


@dataclass(frozen=True)
class _Data:
    """The pairs, and answers of the policy as they come, on which the reward is normalised."""

    pairs: list[Preference]
    reference: Sequence[tuple[Sequence[Message], str]]


def _data(config: RewardModelConfig, output: Path) -> _Data:
    if config.data:
        pairs = read_jsonl(Path(config.data), preference)
        return _Data(pairs, [(p.messages, text) for p in pairs for text in (p.chosen, p.rejected)])
    drawn = _samples(config, output / runs.STATE_FOLDER / SAMPLES_FILE)
    reference = [(s.question.messages, text) for s in drawn for text in s.responses]
    return _Data(samples.pairs(drawn, config), reference)


def _samples(config: RewardModelConfig, path: Path) -> list[samples.Samples]:
    """The policy's answers; kept with the state, so that an interrupted run goes on with the same."""
    if not path.is_file():
        questions = lab(config.lab).questions(
            config.questions, "train", seed=config.seed + 1, json_share=config.json_share
        )
        policy = sampler(config.sampler, model_path(config.model))
        count, limit = config.samples_per_question, config.sample_tokens
        samples.write(path, samples.draw(policy, questions, count=count, max_tokens=limit, seed=config.seed))
    return samples.read(path)


def _pair_accuracy(prediction: EvalPrediction) -> dict[str, float]:
    rewards: Any = prediction.predictions
    chosen, rejected = rewards
    return {"accuracy": float(np.mean(chosen > rejected))}


@torch.inference_mode()
def _normalise(
    model: PreTrainedModel, template: ConversationTemplate, answers: Sequence[tuple[Sequence[Message], str]]
) -> None:
    """Keep the mean and deviation of the reward over the policy's answers (Ziegler et al. 2019) in `config.bestofn`."""
    sequences = [template.tokens(template.prompt(messages), text) for messages, text in answers[:NORMALISATION_ANSWERS]]
    rewards = np.array(score_sequences(model.eval(), sequences))
    model.config.bestofn = {"heads": [], "mean": float(rewards.mean()), "std": float(rewards.std())}


def _write_card(
    config: RewardModelConfig, output: Path, command: str, data: _Data, pair_accuracy: float, minutes: float
) -> None:
    measured = f"Accuracy on held-out pairs: {pair_accuracy:.3f}."
    if config.lab and config.evaluation_questions:
        held_out = measure.held_out_samples(
            model_path(config.model),
            kind=config.sampler,
            questions=config.evaluation_questions,
            count=config.evaluation_samples,
            max_tokens=config.sample_tokens,
        )
        measured += "\n\n" + measure.best_of_n_accuracy(held_out, output).table()
    source = f"answers of `{config.model}` to {config.questions} questions of the lab `{config.lab}`, label noise "
    cards.write(
        output,
        title=f"Reward model for `{config.model}`",
        usage="A plain `AutoModelForSequenceClassification` checkpoint with one output. `config.bestofn` holds its "
        "mean and standard deviation over the policy's answers.",
        command=command,
        data=f"{len(data.pairs)} pairs, " + (source + str(config.label_noise) if config.lab else f"`{config.data}`"),
        measured=measured,
        minutes=minutes,
        config=config,
    )
