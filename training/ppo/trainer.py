"""Proximal policy optimisation against a reward model, in the order of Ziegler et al. 2019, section 2.

    bestofn train ppo --recipe arithmetic_ppo --output runs/arithmetic-ppo
    accelerate launch --config_file training/accelerate/multi_gpu.yaml -m bestofn_server train ppo --recipe ...

An update: query, respond, score, advantages, update, adapt KL, log. The policy starts at the fine-tuned one, the value
function at the reward model; they share no weights and dropout is off. The reward of an answer is the normalised score
of the reward model, or `missing_end_penalty` where the answer did not end, less the KL price of every token. With
`pretraining_weight` the log-likelihood of demonstrations is added to the same update (PPO-ptx, Ouyang et al. 2022,
equation 2). Deviation from both papers: passes end early where the policy has moved `max_policy_kl` nats a token.

Metrics: objective/* of the rollouts, policy/* and value/* means over the passes, time/* in seconds.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import get_scheduler

from training.evaluation.policy import before_and_after
from training.ppo import rl
from training.ppo.data import AnswerTokens, PPOCollator, Prompts, Rollout, cut, in_parts, load_data
from training.ppo.models import load_models, token_sampler
from training.run.config import MODEL_HELP, SAMPLER_HELP, SAMPLERS, ConfigError, TrainingConfig, setting
from training.run.updates import UpdateLoop

_NUMBERS = (
    "policy/loss",
    "value/loss",
    "policy/clip_fraction",
    "value/clip_fraction",
    "policy/approx_kl",
    "policy/entropy",
)
_APPROX_KL = _NUMBERS.index("policy/approx_kl")


@dataclass(frozen=True, kw_only=True)
class PPOConfig(TrainingConfig):
    """Proximal policy optimisation against a reward model; `max_steps` counts PPO updates (one rollout each)."""

    model: str = setting("", MODEL_HELP, required=True)
    reward_model: str = setting("", "scores the rollouts, and is where the value function starts", required=True)
    reference: str = setting("", "policy that the KL penalty is measured against; empty: `model`")
    prompts: int = setting(20_000, "different prompts to ask", minimum=1, lab_only=True)
    rollouts: int = setting(256, "answers sampled for each update, over all processes", minimum=2)
    response_tokens: int = setting(
        0, "longest answer in tokens; 0: the lab's own limit, or what max_tokens leaves", minimum=0
    )
    sampler: str = setting("auto", SAMPLER_HELP, choices=SAMPLERS)
    ppo_epochs: int = setting(4, "passes over the rollouts in one update", minimum=1)
    minibatches: int = setting(4, "optimizer steps in one pass", minimum=1)
    clip: float = setting(0.2, "the probability ratio is clipped to 1 +- this", minimum=0)
    value_clip: float = setting(0.2, "the value may move this far from the rollout's in one update", minimum=0)
    value_weight: float = setting(0.1, "weight of the value loss where policy and value share no weights", minimum=0)
    value_learning_rate: float = setting(0.0, "peak learning rate of the value function; 0: the policy's", minimum=0)
    gamma: float = setting(1.0, "discount of a reward one token later", minimum=0, maximum=1)
    gae_lambda: float = setting(0.95, "lambda of generalised advantage estimation", minimum=0, maximum=1)
    whiten_advantages: bool = setting(True, "bring advantages to mean 0 and variance 1 over the rollouts")
    whiten_rewards: bool = setting(False, "bring per-token rewards to variance 1 over the rollouts")
    kl_coefficient: float = setting(
        0.15, "price of one nat of KL to the reference, in rewards; where adaptive: its start", minimum=0
    )
    kl_target: float = setting(
        6.0, "KL in nats that the adaptive coefficient aims at; 0: the coefficient stays", minimum=0
    )
    kl_horizon: float = setting(10_000.0, "answers over which the coefficient adapts", minimum=1)
    max_policy_kl: float = setting(
        0.0, "end an update's passes early when the policy moved this many nats per token; 0: never", minimum=0
    )
    missing_end_penalty: float = setting(-1.0, "reward of an answer that does not end (instead of its score)")
    pretraining_data: str = setting(
        "", "PPO-ptx: demonstrations whose log-likelihood is added, read as `data` is; `lab`: the lab's own"
    )
    pretraining_weight: float = setting(0.0, "PPO-ptx: gamma, the weight of that log-likelihood", minimum=0)
    policy_checkpoints: int = setting(0, "also keep this many policies from along the way, evenly spaced", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rollouts % self.minibatches:
            raise ConfigError(f"minibatches: {self.minibatches} do not divide {self.rollouts} rollouts")
        if bool(self.pretraining_data) != bool(self.pretraining_weight):
            raise ConfigError("pretraining_data and pretraining_weight: set both (PPO-ptx) or neither")


class PPOTrainer:
    """One run. All that changes from update to update is in what accelerate saves."""

    def __init__(self, config: PPOConfig, output: Path) -> None:
        self.config = config
        self._loop = UpdateLoop("ppo", config, output, policy_checkpoints=config.policy_checkpoints)
        self.accelerator = self._loop.accelerator
        _check_shares(config, self.accelerator.num_processes)
        torch.manual_seed(config.seed)
        self.models = load_models(
            config.model,
            config.reward_model,
            config.reference,
            max_tokens=config.max_tokens,
            bf16=config.bf16,
            gradient_checkpointing=config.gradient_checkpointing,
            lora_rank=config.lora_rank,
            lora_alpha=config.lora_alpha,
            seed=config.seed,
            device=self.accelerator.device,
        )
        self.data = load_data(
            config.data,
            config.split,
            config.world() if config.lab else None,
            self.models.template,
            prompts=config.prompts,
            response_tokens=config.response_tokens,
            pretraining_data=config.pretraining_data,
            max_tokens=config.max_tokens,
            seed=config.seed,
        )
        self.models.reward_model.check_length(self.data.longest, self.data.response_tokens)
        self.collator = PPOCollator(self.models.template.tokenizer.pad_token_id, self.accelerator.device)
        optimizer = _optimizer(config, self.models.actor_critic)
        self.schedule = get_scheduler(
            config.learning_rate_schedule,
            optimizer,
            num_warmup_steps=config.warmup_steps,
            num_training_steps=config.max_steps,
        )
        self.actor_critic, self.optimizer = self.accelerator.prepare(self.models.actor_critic, optimizer)
        self.sampler = token_sampler(config.sampler, config.model, self.models)
        self.kl = rl.KLController(config.kl_coefficient, config.kl_target, config.kl_horizon)
        self._loop.keep_with_state(self.schedule, self.kl)

    def run(self) -> None:
        """All updates that are left; then the policy is saved."""
        self._loop.run(self.step, lambda folder: self.models.save_policy(folder, dtype=self.config.save_dtype))
        self.sampler.close()

    def finish(self, output: Path, command: str) -> Path:
        """Measure the policy that was saved, and write its card."""
        config = self.config
        return self._loop.finish(
            command,
            title=f"Policy, PPO from `{config.model}` against `{config.reward_model}`",
            source=f"{self.data.source}; {config.rollouts} answers in each of {config.max_steps} updates",
            measured=lambda: _measured(config, output),
        )

    # -- one update, in the order of the paper

    def step(self, update: int) -> dict[str, float]:
        """One update; its metrics."""
        started = time.monotonic()
        prompts = self.query(update)
        answers = self.respond(prompts, update)
        responded = time.monotonic()
        rollout = self.score(prompts, answers)
        advantages, returns = self.advantages(rollout)
        scored = time.monotonic()
        learned = self.update(rollout, advantages, returns, update)
        numbers = self.describe(rollout, returns)
        self.kl.update(numbers["objective/kl"], self.config.rollouts)
        self.schedule.step()
        seconds = {
            "time/respond_s": responded - started,
            "time/score_s": scored - responded,
            "time/update_s": time.monotonic() - scored,
        }
        return numbers | learned | seconds

    def query(self, update: int) -> Prompts:
        """This process's prompts: all prompts in random order, then in another one, and so on."""
        share = self.config.rollouts // self.accelerator.num_processes
        start = update * self.config.rollouts + self.accelerator.process_index * share
        return self.data.prompts.draw(start, share)

    def respond(self, prompts: Prompts, update: int) -> AnswerTokens:
        """One answer of the policy, as it is now, to each prompt."""
        self.models.refresh(self.sampler)
        seed = (self.config.seed * 1_000_003 + update) * 1009 + self.accelerator.process_index
        with self.accelerator.autocast():
            return self.models.answers(self.sampler, prompts, max_tokens=self.data.response_tokens, seed=seed % 2**31)

    @torch.no_grad()
    def score(self, prompts: Prompts, answers: AnswerTokens) -> Rollout:
        """What reward model, reference, policy and value function give the answers."""
        device, models, size = self.accelerator.device, self.models, self.config.batch_size
        ended = torch.tensor([answer.tokens[-1] in models.ends for answer in answers], device=device)
        scores = torch.tensor(models.reward_model.rewards(prompts, models.texts(answers)), device=device)
        batch = self.collator(answers)
        known = in_parts(lambda part: self.actor_critic(part, entropy=False), batch, size)
        with self.accelerator.autocast():  # as the policy computes, so that they agree at the start
            reference = in_parts(models.reference_logprobs, batch, size)
        return Rollout(
            batch=batch,
            scores=torch.where(ended, scores, self.config.missing_end_penalty),
            ended=ended,
            logprobs=known["logprobs"],
            reference=reference["logprobs"],
            values=known["values"],
        )

    def advantages(self, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor]:
        """Advantages and returns at every token of the answers."""
        config, mask = self.config, rollout.mask
        total: Callable[[torch.Tensor], torch.Tensor] = self.accelerator.reduce
        rewards = rl.penalised_rewards(rollout.scores, rollout.logprobs, rollout.reference, mask, self.kl.coefficient)
        if config.whiten_rewards:
            rewards = rl.whiten(rewards, mask, shift_mean=False, total=total)
        advantages, returns = rl.advantages_and_returns(
            rewards, rollout.values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        return (rl.whiten(advantages, mask, total=total) if config.whiten_advantages else advantages), returns

    def update(
        self, rollout: Rollout, advantages: torch.Tensor, returns: torch.Tensor, update: int
    ) -> dict[str, float]:
        """The passes over the rollout, each in minibatches."""
        config = self.config
        seed = config.seed * 1_000_003 + update
        generator = torch.Generator().manual_seed(seed)
        own = torch.Generator().manual_seed(seed * 1009 + self.accelerator.process_index)
        noted: list[torch.Tensor] = []
        for _ in range(config.ppo_epochs):
            for chosen in torch.randperm(len(rollout.scores), generator=generator).chunk(config.minibatches):
                demonstrations = self._demonstrations(own)
                noted.append(self._minibatch(rollout, advantages, returns, chosen, demonstrations))
                if config.max_policy_kl and noted[-1][_APPROX_KL] > config.max_policy_kl:
                    return self._means(noted)
        return self._means(noted)

    def describe(self, rollout: Rollout, returns: torch.Tensor) -> dict[str, float]:
        """Means over the answers of all processes; explained variance over the tokens of this one."""
        mask, kl = rollout.mask, rollout.kl
        error = rl.token_mean((returns - rollout.values) ** 2, mask)
        spread = rl.token_mean((returns - rl.token_mean(returns, mask)) ** 2, mask)
        rows = {
            "objective/kl": kl,
            "objective/score": rollout.scores,
            "objective/reward": rollout.scores - self.kl.coefficient * kl,
            "objective/answer_tokens": mask.sum(1).float(),
            "objective/ended": rollout.ended.float(),
        }
        means = self.accelerator.gather(torch.stack(list(rows.values()), 1)).mean(0).tolist()
        return {
            **dict(zip(rows, means, strict=True)),
            "objective/kl_coefficient": self.kl.coefficient,
            "value/explained_variance": 1 - float(error) / max(float(spread), 1e-8),
        }

    # -- steps of an update

    def _minibatch(
        self,
        rollout: Rollout,
        advantages: torch.Tensor,
        returns: torch.Tensor,
        chosen: torch.Tensor,
        demonstrations: AnswerTokens,
    ) -> torch.Tensor:
        """One optimizer step on the chosen answers; the means of _NUMBERS over their tokens."""
        config, accelerator = self.config, self.accelerator
        tokens = accelerator.reduce(rollout.mask[chosen].sum().float())  # of all processes
        self._learn_demonstrations(demonstrations)
        sums = torch.zeros(len(_NUMBERS), device=accelerator.device)
        parts = chosen.split(config.batch_size)
        for part in parts:
            batch, longest = cut(rollout.batch, part)
            mask = batch["answer"]
            logprobs, values, adv, ret = (
                t[part, :longest] for t in (rollout.logprobs, rollout.values, advantages, returns)
            )
            with self._training(), nullcontext() if part is parts[-1] else accelerator.no_sync(self.actor_critic):
                known = self.actor_critic(batch)
                policy, clipped = rl.policy_loss(known["logprobs"], logprobs, adv, mask, clip=config.clip)
                value, value_clipped = rl.value_loss(known["values"], values, ret, mask, clip=config.value_clip)
                # Gradients are averaged over processes, so each takes its part of the sum that many times.
                loss = (policy.sum() + config.value_weight * value.sum()) * accelerator.num_processes / tokens
                self._loop.check_finite(loss)
                accelerator.backward(loss)
            _, moved, _ = rl.kl_estimators(torch.where(mask, known["logprobs"] - logprobs, 0.0).detach())
            entropy = torch.where(mask, known["entropy"], 0.0)
            sums += torch.stack([t.detach().sum() for t in (policy, value, clipped, value_clipped, moved, entropy)])
        if config.max_gradient_norm:  # each for itself, since they share no weights
            for module in (self.models.actor_critic.policy, self.models.actor_critic.value):
                accelerator.clip_grad_norm_(module.parameters(), config.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        means: torch.Tensor = accelerator.reduce(sums) / tokens
        return means

    def _learn_demonstrations(self, demonstrations: AnswerTokens) -> None:
        """PPO-ptx: the gradient of `pretraining_weight` times the mean log-likelihood of these."""
        if not demonstrations:
            return
        batch = self.collator(demonstrations)
        with self._training(), self.accelerator.no_sync(self.actor_critic):
            logprobs = self.actor_critic(batch, entropy=False)["logprobs"]
            loss = -self.config.pretraining_weight * rl.token_mean(logprobs, batch["answer"])
            self._loop.check_finite(loss)
            self.accelerator.backward(loss)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Gradient checkpointing looks at the mode; nothing else does, since there is no dropout."""
        self.actor_critic.train()
        try:
            yield
        finally:
            self.actor_critic.eval()

    def _demonstrations(self, generator: torch.Generator) -> AnswerTokens:
        """One forward pass of them, drawn at random; none without PPO-ptx."""
        known = self.data.demonstrations
        if not known:
            return []
        drawn = torch.randint(len(known), (self.config.batch_size,), generator=generator)
        return [known[index] for index in drawn.tolist()]

    def _means(self, noted: list[torch.Tensor]) -> dict[str, float]:
        means = torch.stack(noted).mean(0).tolist()
        extra = {"policy/steps": float(len(noted)), "policy/learning_rate": float(self.schedule.get_last_lr()[0])}
        return dict(zip(_NUMBERS, means, strict=True)) | extra


def train(config: PPOConfig, output: Path, command: str = "") -> Path:
    """Train, save the policy as a plain `AutoModelForCausalLM` checkpoint with its card, and return its folder.

    Goes on from the last state of a run interrupted in `output`: policy, value function, optimizer, KL coefficient
    and random numbers. command: what the card names. Raises ValueError before any work where models or data do not
    fit, and TrainingDiverged when a loss is not finite.
    """
    trainer = PPOTrainer(config, output)
    trainer.run()
    return trainer.finish(output, command)


def _measured(config: PPOConfig, output: Path) -> str:
    """For the model card."""
    if not (config.lab and config.evaluation_prompts):
        return "Nothing: the prompts did not come from a lab."
    return before_and_after(
        config.world(),
        config.model,
        output,
        prompts=config.evaluation_prompts,
        count=config.evaluation_samples,
        sampler=config.sampler,
        reference=config.reference or config.model,
        reward_model=config.reward_model,
    )


def _check_shares(config: PPOConfig, processes: int) -> None:
    """Raises ConfigError where the processes cannot have equal shares of the rollouts."""
    if config.rollouts % (processes * config.minibatches):
        raise ConfigError(
            f"rollouts: {config.rollouts} cannot be shared by {processes} processes in {config.minibatches} minibatches"
        )


def _optimizer(config: PPOConfig, actor_critic: torch.nn.Module) -> torch.optim.Optimizer:
    def trained(module: Any) -> list[torch.nn.Parameter]:
        return [parameter for parameter in module.parameters() if parameter.requires_grad]

    value_rate = config.value_learning_rate or config.learning_rate
    groups = [
        {"params": trained(actor_critic.policy), "lr": config.learning_rate},
        {"params": trained(actor_critic.value), "lr": value_rate},
    ]
    betas, epsilon = (0.9, config.adam_beta2), config.adam_epsilon
    return torch.optim.AdamW(groups, betas=betas, eps=epsilon, weight_decay=config.weight_decay)
