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

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import InitProcessGroupKwargs, tqdm
from torch.nn.functional import pad
from transformers import get_scheduler

from training.data.records import Conversation
from training.evaluation.policy import before_and_after
from training.labs import lab, model_path
from training.policy.logprobs import Answered, answer_logprobs, padded
from training.policy.rollout import VLLMEngine, prompt_tokens
from training.ppo import rl
from training.ppo.actor_critic import Cast, Tensors, engine, gather
from training.run import cards, checkpoints, checks, run_folder, snapshots
from training.run.config import ConfigError
from training.run.metrics import Metrics
from training.run.settings import PPOConfig

_NUMBERS = (
    "policy/loss",
    "value/loss",
    "policy/clip_fraction",
    "value/clip_fraction",
    "policy/approx_kl",
    "policy/entropy",
)
_APPROX_KL = _NUMBERS.index("policy/approx_kl")


def train(config: PPOConfig, output: Path, command: str = "") -> Path:
    """Train, save the policy as a plain `AutoModelForCausalLM` checkpoint with its card, and return its folder.

    Goes on from the last state of a run interrupted in `output`: policy, value function, optimizer, KL coefficient
    and random numbers. `command` is told in the card. Raises ValueError before any work where models or data do not
    fit, and TrainingDiverged when a loss is not finite.
    """
    ppo = PPO(config, output)
    ppo.run()
    if ppo.accelerator.is_main_process:
        _write_card(config, output, command, ppo.cast.source, ppo.progress.seconds / 60)
    run_folder.finish(output)
    return output


@dataclass
class Rollout:
    """Answers to this process's share of the prompts, and what is known of them; tensors [answers, longest].

    scores and ended are [answers]. batch: `input_ids`, `attention_mask`, `answer` (true at the answer's tokens).
    """

    batch: Tensors
    scores: torch.Tensor
    ended: torch.Tensor
    logprobs: torch.Tensor
    reference: torch.Tensor
    values: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        return self.batch["answer"]

    @property
    def kl(self) -> torch.Tensor:
        """log(pi/pi_ref) summed over the tokens of each answer, [answers]."""
        return torch.where(self.mask, self.logprobs - self.reference, 0.0).sum(1)


@dataclass
class Progress:
    """How far a run is; saved with its state."""

    updates: int = 0
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)


class PPO:
    """One run. All that changes from update to update is in what accelerate saves."""

    def __init__(self, config: PPOConfig, output: Path) -> None:
        self.config, self.output = config, output
        self._kept = snapshots.steps(config.max_steps, config.policy_checkpoints)
        self.accelerator = Accelerator(
            mixed_precision="bf16" if config.bf16 else "no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=run_folder.PATIENCE)],
        )
        _check_processes(config, self.accelerator)
        torch.manual_seed(config.seed)
        self.cast: Cast = gather(config, self.accelerator.device)
        optimizer = _optimizer(config, self.cast.actor_critic)
        self.schedule = get_scheduler(
            config.learning_rate_schedule,
            optimizer,
            num_warmup_steps=config.warmup_steps,
            num_training_steps=config.max_steps,
        )
        self.actor_critic, self.optimizer = self.accelerator.prepare(self.cast.actor_critic, optimizer)
        self.engine = engine(config.sampler, self.cast.actor_critic.policy, self.cast, model_path(config.model))
        self.kl = rl.KLController(config.kl_coefficient, config.kl_target, config.kl_horizon)
        self.progress = Progress()
        self.accelerator.register_for_checkpointing(self.schedule, self.kl, self.progress)
        self._state = _State(output / run_folder.STATE_FOLDER, self.accelerator)

    def run(self) -> None:
        """All updates that are left; then the policy is saved."""
        config, accelerator = self.config, self.accelerator
        run_folder.begin(config, self.output)
        self._state.load()
        metrics = Metrics(self.output, after_step=self.progress.updates) if accelerator.is_main_process else None
        if metrics and not self.progress.updates:
            snapshots.clear(self.output)
        started = time.monotonic() - self.progress.seconds
        for update in tqdm(range(self.progress.updates, config.max_steps), desc="PPO"):
            numbers = self.step(update)
            self.progress.updates, self.progress.seconds = update + 1, time.monotonic() - started
            if metrics and (update + 1) % config.log_steps == 0:
                metrics.write(update + 1, numbers)
            if update + 1 in self._kept:
                self._save_policy(snapshots.folder(self.output, update + 1))
            if (update + 1) % config.save_steps == 0:
                self._state.save()
        self._save_policy(self.output)
        self.engine.close()

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

    def query(self, update: int) -> list[Conversation]:
        """This process's prompts: all prompts in random order, then in another one, and so on."""
        share = self.config.rollouts // self.accelerator.num_processes
        start = update * self.config.rollouts + self.accelerator.process_index * share
        order = _endless_order(len(self.cast.prompts), start, share, self.config.seed)
        return [self.cast.prompts[index] for index in order]

    def respond(self, prompts: Sequence[Conversation], update: int) -> list[Answered]:
        """One answer of the policy, as it is now, to each prompt."""
        if isinstance(self.engine, VLLMEngine):
            self.engine.load_weights(self._policy_weights().items())
        asked = [prompt_tokens(self.cast.tokenizer, messages) for messages in prompts]
        seed = (self.config.seed * 1_000_003 + update) * 1009 + self.accelerator.process_index
        limit = self.cast.response_tokens
        with self.accelerator.autocast():
            answers = self.engine.generate(asked, max_tokens=limit, seed=seed % 2**31, temperature=1.0)
        return [Answered((*prompt, *answer), len(prompt)) for prompt, answer in zip(asked, answers, strict=True)]

    @torch.no_grad()
    def score(self, prompts: Sequence[Conversation], answers: Sequence[Answered]) -> Rollout:
        """What reward model, reference, policy and value function say of the answers."""
        device, cast = self.accelerator.device, self.cast
        texts = [str(cast.tokenizer.decode(list(a.tokens[a.start :]), skip_special_tokens=True)) for a in answers]
        ended = torch.tensor([a.tokens[-1] in cast.ends for a in answers], device=device)
        scores = torch.tensor(cast.scorer.rewards(prompts, texts), device=device)
        batch = self._on_device(answers)
        known = self._in_parts(lambda part: self.actor_critic(part, entropy=False), batch)
        return Rollout(
            batch=batch,
            scores=torch.where(ended, scores, self.config.missing_end_penalty),
            ended=ended,
            logprobs=known["logprobs"],
            reference=self._in_parts(self._reference, batch)["logprobs"],
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
        error = rl.masked_mean((returns - rollout.values) ** 2, mask)
        spread = rl.masked_mean((returns - rl.masked_mean(returns, mask)) ** 2, mask)
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
        demonstrations: Sequence[Answered],
    ) -> torch.Tensor:
        """One optimizer step on the chosen answers; the means of _NUMBERS over their tokens."""
        config, accelerator = self.config, self.accelerator
        tokens = accelerator.reduce(rollout.mask[chosen].sum().float())  # of all processes
        self._learn_demonstrations(demonstrations)
        sums = torch.zeros(len(_NUMBERS), device=accelerator.device)
        parts = chosen.split(config.batch_size)
        for part in parts:
            batch, longest = _cut(rollout.batch, part)
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
                _check_finite(loss, self.progress.updates)
                accelerator.backward(loss)
            _, moved, _ = rl.kl_estimators(torch.where(mask, known["logprobs"] - logprobs, 0.0).detach())
            entropy = torch.where(mask, known["entropy"], 0.0)
            sums += torch.stack([t.detach().sum() for t in (policy, value, clipped, value_clipped, moved, entropy)])
        if config.max_gradient_norm:  # each for itself, since they share no weights
            for module in (self.cast.actor_critic.policy, self.cast.actor_critic.value):
                accelerator.clip_grad_norm_(module.parameters(), config.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        means: torch.Tensor = accelerator.reduce(sums) / tokens
        return means

    def _learn_demonstrations(self, demonstrations: Sequence[Answered]) -> None:
        """PPO-ptx: the gradient of `pretraining_weight` times the mean log-likelihood of these."""
        if not demonstrations:
            return
        batch = self._on_device(demonstrations)
        with self._training(), self.accelerator.no_sync(self.actor_critic):
            logprobs = self.actor_critic(batch, entropy=False)["logprobs"]
            loss = -self.config.pretraining_weight * rl.masked_mean(logprobs, batch["answer"])
            _check_finite(loss, self.progress.updates)
            self.accelerator.backward(loss)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Gradient checkpointing looks at the mode; nothing else does, since there is no dropout."""
        self.actor_critic.train()
        try:
            yield
        finally:
            self.actor_critic.eval()

    def _demonstrations(self, generator: torch.Generator) -> list[Answered]:
        """One forward pass of them, drawn at random; none without PPO-ptx."""
        known = self.cast.demonstrations
        if not known:
            return []
        drawn = torch.randint(len(known), (self.config.batch_size,), generator=generator)
        return [known[index] for index in drawn.tolist()]

    def _reference(self, batch: Tensors) -> dict[str, torch.Tensor]:
        policy: Any = self.cast.actor_critic.policy
        with self.accelerator.autocast():  # as the policy computes, so that they agree at the start
            if self.cast.reference is not None:
                return {"logprobs": answer_logprobs(self.cast.reference, batch)}
            with policy.disable_adapter():
                return {"logprobs": answer_logprobs(policy, batch)}

    def _in_parts(self, known: Callable[[Tensors], dict[str, torch.Tensor]], batch: Tensors) -> dict[str, torch.Tensor]:
        """`known` of the whole batch, in forward passes of `batch_size`, each no longer than it must be."""
        longest = batch["input_ids"].shape[1]
        results = []
        for part in torch.arange(len(batch["input_ids"])).split(self.config.batch_size):
            cut, width = _cut(batch, part)
            results.append({name: pad(t, (0, longest - width)) for name, t in known(cut).items()})
        return {name: torch.cat([result[name] for result in results]) for name in results[0]}

    def _on_device(self, answers: Sequence[Answered]) -> Tensors:
        batch = padded(answers, self.cast.tokenizer.pad_token_id)
        return {name: values.to(self.accelerator.device) for name, values in batch.items()}

    def _means(self, noted: Sequence[torch.Tensor]) -> dict[str, float]:
        means = torch.stack(list(noted)).mean(0).tolist()
        extra = {"policy/steps": float(len(noted)), "policy/learning_rate": float(self.schedule.get_last_lr()[0])}
        return dict(zip(_NUMBERS, means, strict=True)) | extra

    def _policy_weights(self) -> Mapping[str, torch.Tensor]:
        """As a plain checkpoint names them."""
        weights = self.cast.actor_critic.policy.state_dict()
        rank = self.config.lora_rank
        return checkpoints.merged(weights, self.config.lora_alpha / rank) if rank else weights

    def _save_policy(self, folder: Path) -> None:
        checkpoints.save(self.cast.actor_critic.policy, self.cast.tokenizer, self.config, folder)


class _State:
    """What to resume from, as accelerate keeps it: whole or not at all, whenever the run is killed."""

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._last, self._new, self._old = (folder / name for name in ("ppo", "ppo-new", "ppo-old"))

    def save(self) -> None:
        """Every process calls it."""
        self._accelerator.save_state(str(self._new))
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            shutil.rmtree(self._old, ignore_errors=True)
            if self._last.is_dir():
                self._last.replace(self._old)
            self._new.replace(self._last)
            shutil.rmtree(self._old, ignore_errors=True)

    def load(self) -> None:
        """The last whole one, if there is one."""
        found = next((folder for folder in (self._last, self._old) if folder.is_dir()), None)
        self._accelerator.wait_for_everyone()
        if found:
            self._accelerator.load_state(str(found))


def _check_finite(loss: torch.Tensor, update: int) -> None:
    """Raises TrainingDiverged, which names the update. Waits for the device that computes the loss."""
    if not math.isfinite(value := loss.item()):
        raise checks.TrainingDiverged(
            f"the loss is {value} at update {update + 1}: lower the learning rate or look at the data"
        )


def _check_processes(config: PPOConfig, accelerator: Accelerator) -> None:
    """Raises ConfigError for a way of running that this trainer does not know."""
    processes = accelerator.num_processes
    if accelerator.distributed_type not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise ConfigError(
            f"PPO trains data-parallel, not with {accelerator.distributed_type.value}: use multi_gpu.yaml"
        )
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


def _endless_order(count: int, start: int, length: int, seed: int) -> list[int]:
    """Items `start` ... of an endless sequence in which every round is a new random order of range(count)."""
    rounds = range(start // count, (start + length - 1) // count + 1)
    orders = [torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + r)) for r in rounds]
    first = start - rounds[0] * count
    chosen: list[int] = torch.cat(orders)[first : first + length].tolist()
    return chosen


def _cut(batch: Tensors, rows: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
    """These rows, without the padding that all of them have, and their length."""
    longest = int(batch["attention_mask"][rows].sum(1).max())
    return {name: values[rows, :longest] for name, values in batch.items()}, longest


def _write_card(config: PPOConfig, output: Path, command: str, source: str, minutes: float) -> None:
    measured = "Nothing: the prompts did not come from a lab."
    if config.lab and config.evaluation_prompts:
        world, reference = lab(config.lab, config.lab_options), config.reference or config.model
        measured = before_and_after(
            world, config.model, output, config, reference=reference, reward_model=config.reward_model
        )
    cards.write(
        output,
        title=f"Policy, PPO from `{config.model}` against `{config.reward_model}`",
        usage="A plain `AutoModelForCausalLM` checkpoint. Sample it at temperature 1.",
        command=command,
        data=f"{source}; {config.rollouts} answers in each of {config.max_steps} updates",
        measured=measured,
        minutes=minutes,
        config=config,
    )
