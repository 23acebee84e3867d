"""Reward modelling: a scalar that ranks the responses to one prompt, learned from comparisons or ratings.

    bestofn train reward --recipe arithmetic_reward --output runs/arithmetic-reward
    accelerate launch -m bestofn_server train reward --recipe arithmetic_reward          # several processes

In the order of Ouyang et al. 2022, section 3.5, and Ziegler et al. 2019, section 2.1: sample the policy, label, bring
the fresh head to variance 1, train, normalise. One element of a batch is one prompt with all its responses. Deviations:

- the initial gain goes into the head's weights; a head of transformers has no bias, so that only `config.bestofn` moves
  the mean, which no ranking loss sees;
- with `data` the answers in the file stand for the reference policy's, in the initial gain and in the normalisation;
- a reward model that is trained further keeps its scale, which is that of the loss (log-odds);
- fresh layers may be added on the trunk, started as the identity; the loss may be taken at prefixes too; outputs may be
  several dimensions, or an ensemble.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedModel
from transformers.trainer_utils import EvalPrediction

from reward.template import ConversationTemplate
from training.data.read import DataError
from training.data.records import Comparison
from training.evaluation import measure
from training.labs import lab, model_path
from training.reward.comparison_batches import Collator, Comparisons, bagging_weights
from training.reward.heads import (
    Heads,
    fresh_modules,
    goes_on,
    normalisation,
    plan_heads,
    reward_model,
    scale_head,
    teaches,
)
from training.reward.losses import ABSENT, better_pairs
from training.reward.outputs import PositionRewards, objective, prompt_sharing
from training.reward.tree_attention import PADDING
from training.run import cards, checkpoints, checks, run_folder
from training.run.config import loading
from training.run.elapsed import Elapsed
from training.run.metrics import MetricsFile
from training.run.settings import RewardModelConfig
from training.run.trainer import RecordTrainer, training_arguments
from training.samples.preferences import Preferences, prepare

NORMALISATION_ANSWERS = 1024  # Ziegler et al. 2019 use 256


class RewardTrainer(RecordTrainer):
    """The mean over records of their loss times their weight, over the whole optimizer step.

    `objective` says what a record's loss is. The step's records are counted over its micro-batches and processes, so
    that accumulation and data parallelism give what one large batch gives, also where a batch is short.
    """

    # The loss is divided by the records of the whole step: transformers must not divide by the accumulation steps.
    loss_is_scaled_for_ga = True

    def __init__(self, model: PreTrainedModel, *, config: RewardModelConfig, **rest: Any) -> None:
        super().__init__(model=model, **rest)
        self._config = config
        self._rewards = PositionRewards(model)
        # Without labels transformers computes no loss in evaluation unless it is told that it can.
        self.can_return_loss = True

    def tokens_in(self, inputs: dict[str, Any]) -> torch.Tensor | int:
        segments: torch.Tensor | None = inputs.get("segments")
        return super().tokens_in(inputs) if segments is None else (segments != PADDING).sum()

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples, _ = super().get_batch_samples(*args, **kwargs)
        records = torch.tensor(sum(len(batch["weight"]) for batch in samples), device=self.args.device)
        return samples, self.accelerator.gather(records).sum()

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        rewards = self._rewards(model, inputs)  # [heads, groups, K, T]
        each_learns = self._config.ensemble or self._config.loss == "regression"
        learning = rewards if each_learns else rewards.mean(0, keepdim=True)
        losses = objective(self._config.loss, learning, inputs, self._config.every_position_weight)
        total = (losses * inputs["weight"].T).mean(0).sum()
        if num_items_in_batch is None:
            loss = total / len(inputs["weight"])
        else:  # data parallelism takes the mean over processes of what is a sum over all of them
            loss = total * self.accelerator.num_processes / num_items_in_batch
        return (loss, _outcome(rewards[..., -1].mean(0), inputs["ranks"])) if return_outputs else loss


def train(config: RewardModelConfig, output: Path, command: str = "") -> Path:
    """Train, save a plain `AutoModelForSequenceClassification` checkpoint with its card, and return its folder.

    Goes on from the samples and the last state of a run interrupted in `output`. `command` is told in the card.
    Raises ValueError (ConfigError, DataError) before any training when model, settings and data do not fit together.
    """
    elapsed = Elapsed(output)
    run_folder.check(config, output)
    path = model_path(config.model)
    with loading("model"):
        tokenizer = AutoTokenizer.from_pretrained(path)
    checks.check_padding(tokenizer, distinct=True)
    with run_folder.main_first():
        data = prepare(config, output)
    heads = plan_heads(config, data.train + data.held_out)
    model = reward_model(path, heads, extra_layers=config.extra_layers, seed=config.seed)
    checks.check_model(model, tokenizer, config.max_tokens, distinct_pad=True)
    model.config.pad_token_id = tokenizer.pad_token_id
    template = ConversationTemplate(tokenizer)
    learned, held_out = (
        _encoded(records, template, config, heads, bagging=bagging)
        for records, bagging in ((data.train, bool(heads.members)), (data.held_out, False))
    )
    reference = Comparisons(_reference(data.reference, config.seed), template, dimensions=heads.dimensions)
    state = run_folder.begin(config, output)
    if not state and not goes_on(path, heads):
        module: torch.nn.Module = model
        module.to(run_folder.device())
        scale_head(model, [group.sequences[0].tolist() for group in reference.groups], heads)
    fresh = fresh_modules(model, config.extra_layers)
    trainer = _trainer(config, output, checkpoints.adapted(model, config, fully_trained=fresh), learned, held_out)
    trainer.add_callback(elapsed)
    trainer.train(resume_from_checkpoint=state)
    speed, measured = trainer.tokens_per_second, trainer.evaluate()
    rewards: Any = trainer.predict(reference).predictions
    model.config.bestofn = normalisation(rewards[-1], heads)
    checkpoints.save(trainer.model, tokenizer, config, output, accelerator=trainer.accelerator)
    if run_folder.is_main():
        _write_card(config, output, command, data, measured, speed, elapsed.minutes)
    run_folder.finish(output)
    return output


def pair_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Over all pairs that are not tied: the share whose better response has the higher reward, and its mean lead."""
    outcomes: Any = prediction.predictions
    correct, lead, pairs = np.asarray(outcomes[0]).sum(axis=0)
    return {"accuracy": float(correct / pairs), "margin": float(lead / pairs)} if pairs else {}


def _outcome(rewards: torch.Tensor, ranks: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of each record [groups]: pairs in the right order, their summed lead, their number; and the mean reward.

    rewards, ranks: [groups, K].
    """
    better = better_pairs(ranks)
    lead = (rewards[:, :, None] - rewards[:, None]) * better
    present = ranks != ABSENT
    return {
        "pairs": torch.stack([(lead > 0).sum((1, 2)), lead.sum((1, 2)), better.sum((1, 2))], dim=1),
        "reward": (rewards * present).sum(1) / present.sum(1),
    }


def _encoded(
    records: Sequence[Comparison],
    template: ConversationTemplate,
    config: RewardModelConfig,
    heads: Heads,
    *,
    bagging: bool,
) -> Comparisons:
    """In token ids, without the records that teach nothing. Raises DataError when none is left, or one is too long."""
    useful = [record for record in records if teaches(record, config.loss, heads)]
    if not useful:
        raise DataError(f"none of {len(records)} records holds what loss={config.loss} learns from")
    weights = bagging_weights(len(useful), heads.members, config.seed) if bagging else None
    comparisons = Comparisons(useful, template, dimensions=heads.dimensions, bagging=weights)
    checks.check_lengths(
        comparisons.lengths(),
        config.max_tokens,
        config.data or config.lab,
        lambda index: str(useful[index].messages[-1].get("content")),
    )
    return comparisons


def _reference(answers: Sequence[Comparison], seed: int) -> list[Comparison]:
    """Single answers of the reference policy, of as many prompts as there are."""
    singles = [answer.only([index]) for answer in answers for index in range(len(answer.responses))]
    return random.Random(f"reference-{seed}").sample(singles, min(len(singles), NORMALISATION_ANSWERS))


def _trainer(
    config: RewardModelConfig, output: Path, model: PreTrainedModel, learned: Comparisons, held_out: Comparisons
) -> RewardTrainer:
    sharing = prompt_sharing(model, config.share_prompt, config.max_tokens)
    arguments = training_arguments(config, output / run_folder.STATE_FOLDER)
    return RewardTrainer(
        config=config,
        model=model,
        args=arguments,
        train_dataset=learned,
        eval_dataset=held_out,
        data_collator=Collator(
            model.config.pad_token_id,
            every_position=bool(config.every_position_weight),
            sharing=sharing,
            always=config.share_prompt == "always",
        ),
        compute_metrics=pair_metrics,
        callbacks=[MetricsFile(output)],
    )


def _write_card(
    config: RewardModelConfig,
    output: Path,
    command: str,
    data: Preferences,
    measured: dict[str, float],
    tokens_per_second: float,
    minutes: float,
) -> None:
    text = f"Loss on held-out records: {measured['eval_loss']:.4f}."
    if "eval_accuracy" in measured:
        text += (
            f" Accuracy on held-out pairs, ties left out: {measured['eval_accuracy']:.3f}, mean margin "
            f"{measured['eval_margin']:.3f}."
        )
    if config.lab and config.evaluation_prompts:
        world = lab(config.lab, config.lab_options)
        held_out = measure.held_out_samples(
            world,
            model_path(config.policy or config.model),
            kind=config.sampler,
            prompts=config.evaluation_prompts,
            count=config.evaluation_samples,
        )
        text += "\n\n" + measure.best_of_n_gold(world, held_out, output).table()
    normalised_on = "the policy's answers" if config.lab else "the answers in its data, not a policy's own"
    cards.write(
        output,
        title=f"Reward model for `{config.policy or config.model}`",
        usage="A plain `AutoModelForSequenceClassification` checkpoint. `config.bestofn` holds the names of its "
        f"outputs where it names them, and the mean and standard deviation of their mean over {normalised_on}.",
        command=command,
        data=f"{len(data.train)} records to train on, {len(data.held_out)} held out: {data.summary}",
        measured=text,
        minutes=minutes,
        config=config,
        tokens_per_second=tokens_per_second,
    )
