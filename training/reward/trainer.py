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

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.trainer_utils import EvalPrediction

from training.evaluation.baselines import baselines
from training.evaluation.held_out import held_out, pool_of
from training.evaluation.measure import best_of_n_curve, sizes_up_to
from training.evaluation.scoring import score
from training.reward.data import ABSENT, RewardCollator, RewardDataset, bagging_weights, tokens_in
from training.reward.heads import (
    fresh_modules,
    goes_on,
    normalisation,
    plan_heads,
    scale_head,
    start_reward_model,
    start_template,
    teaching,
)
from training.reward.losses import better_pairs, objective
from training.reward.outputs import PositionRewards, prompt_sharing
from training.run.config import setting
from training.run.supervised import Prepared, RecordTrainer, supervised_run
from training.samples.preferences import PreferenceConfig, load_preferences

NORMALISATION_ANSWERS = 1024  # Ziegler et al. 2019 use 256


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig(PreferenceConfig):
    """Reward modelling on comparisons or ratings."""

    loss: str = setting(
        "pairs",
        "pairs: Bradley-Terry over all pairs of a prompt; best_of_k: softmax over the best; plackett_luce: the whole "
        "ranking; regression: squared error of the scores",
        choices=("pairs", "best_of_k", "plackett_luce", "regression"),
    )
    heads: tuple[str, ...] = setting((), "names of the outputs; for regression: the dimensions of the scores to learn")
    ensemble: int = setting(
        0, "this many heads that differ in initialisation and in data (bagging); 0: none", minimum=0
    )
    extra_layers: int = setting(0, "fresh layers added on the trunk, started as the identity", minimum=0)
    every_position_weight: float = setting(
        0.0, "weight of the same loss at every position of the responses, so that prefixes can be scored", minimum=0
    )
    share_prompt: str = setting(
        "auto",
        "compute a prompt once for all its responses; auto: where the model's attention allows it and it pays",
        choices=("auto", "always", "never"),
    )


class RewardTrainer(RecordTrainer):
    """The mean over records of their loss times their weight, over the whole optimizer step.

    `objective` computes a record's loss. The step's records are counted over its micro-batches and processes, so
    that accumulation and data parallelism give what one large batch gives, also where a batch is short.
    """

    # The loss is divided by the records of the whole step: transformers must not divide by the accumulation steps.
    loss_is_scaled_for_ga = True

    def __init__(self, model: PreTrainedModel, *, config: RewardModelConfig, **rest: Any) -> None:
        super().__init__(model=model, compute_metrics=evaluation_metrics, **rest)
        self._config = config
        self._rewards = PositionRewards(model)
        # Without labels transformers computes no loss in evaluation unless this is set.
        self.can_return_loss = True

    def tokens_in(self, inputs: dict[str, Any]) -> torch.Tensor | int:
        return tokens_in(inputs)

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
        return (loss, pair_metrics(rewards[..., -1].mean(0), inputs["ranks"])) if return_outputs else loss


def pair_metrics(rewards: torch.Tensor, ranks: torch.Tensor) -> dict[str, torch.Tensor]:
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


def evaluation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Over all pairs that are not tied: the share whose better response has the higher reward, and its mean lead."""
    found: Any = prediction.predictions
    correct, lead, pairs = np.asarray(found[0]).sum(axis=0)
    return {"accuracy": float(correct / pairs), "margin": float(lead / pairs)} if pairs else {}


def train(config: RewardModelConfig, output: Path, command: str = "") -> Path:
    """Train, save a plain `AutoModelForSequenceClassification` checkpoint with its card, and return its folder.

    Goes on from the samples and the last state of a run interrupted in `output`. command: what the card names. Raises
    ValueError (ConfigError, DataError) before any training when model, settings and data do not fit together.
    """
    return supervised_run(config, output, command, prepare)


def prepare(config: RewardModelConfig, output: Path) -> Prepared:
    """Sample and label, or read; then the model with its head, and the comparisons as token ids."""
    path, template = start_template(config.model)
    data = load_preferences(config, output)
    heads = plan_heads(data.train + data.held_out, loss=config.loss, names=config.heads, ensemble=config.ensemble)
    model = start_reward_model(
        path, template, heads, extra_layers=config.extra_layers, seed=config.seed, max_tokens=config.max_tokens
    )
    learned, held_out = (teaching(records, config.loss, heads) for records in (data.train, data.held_out))
    encoded = partial(RewardDataset, template=template, dimensions=heads.dimensions)
    limited = partial(encoded, max_tokens=config.max_tokens, source=config.data or config.lab)
    bagging = bagging_weights(len(learned), heads.members, config.seed) if heads.members else None
    reference = encoded(data.single_answers(NORMALISATION_ANSWERS, seed=config.seed))

    def bring_to_variance_one() -> None:
        if not goes_on(path, heads):
            scale_head(model, [group.sequences[0].tolist() for group in reference.groups], heads)

    def normalise(trainer: RecordTrainer) -> None:
        rewards: Any = trainer.predict(reference).predictions
        model.config.bestofn = normalisation(rewards[-1], heads)

    normalised_on = "the policy's answers" if config.lab else "the answers in its data, not a policy's own"
    return Prepared(
        model=model,
        tokenizer=template.tokenizer,
        trainer=partial(_trainer, config=config),
        train_dataset=limited(learned, bagging=bagging),
        eval_dataset=limited(held_out),
        fully_trained=fresh_modules(model, config.extra_layers),
        at_start=bring_to_variance_one,
        at_end=normalise,
        title=f"Reward model for `{config.policy or config.model}`",
        usage="A plain `AutoModelForSequenceClassification` checkpoint. `config.bestofn` holds the names of its "
        f"outputs where it names them, and the mean and standard deviation of their mean over {normalised_on}.",
        source=f"{len(data.train)} records to train on, {len(data.held_out)} held out: {data.summary}",
        measured=lambda metrics: _measured(config, output, metrics),
    )


def _trainer(model: PreTrainedModel, *, config: RewardModelConfig, **rest: Any) -> RewardTrainer:
    """Whether prompts are shared depends on the model, with its adapters."""
    collator = RewardCollator(
        model.config.pad_token_id,
        every_position=bool(config.every_position_weight),
        sharing=prompt_sharing(model, config.share_prompt, config.max_tokens),
        always=config.share_prompt == "always",
    )
    return RewardTrainer(model, config=config, data_collator=collator, **rest)


def _measured(config: RewardModelConfig, output: Path, metrics: Mapping[str, float]) -> str:
    """For the model card."""
    text = f"Loss on held-out records: {metrics['eval_loss']:.4f}."
    if "eval_accuracy" in metrics:
        text += (
            f" Accuracy on held-out pairs, ties left out: {metrics['eval_accuracy']:.3f}, mean margin "
            f"{metrics['eval_margin']:.3f}."
        )
    if not (config.lab and config.evaluation_prompts):
        return text
    world, prompts, count = config.world(), config.evaluation_prompts, config.evaluation_samples
    policy = config.policy or config.model
    drawn = held_out(world, policy, kind=config.sampler, prompts=prompts, count=count)
    rewards = score(drawn.samples, output).normalised()
    pool = pool_of(world, policy, drawn, rewards)
    free = baselines(pool, sizes_up_to(count))
    return f"{text}\n\n{best_of_n_curve(np.array(rewards), pool.gold).table(free)}"
