"""Direct preference optimisation: the policy learns from pairs of answers, without a reward model and without sampling.

    bestofn train dpo --recipe arithmetic_dpo --output runs/arithmetic-dpo

In the order of Rafailov et al. 2023, section 4: sample the policy and label (or read pairs), take the reference's
log-probabilities, then raise the better answer's log-ratio to the reference over the worse one's. Also cDPO (labels
that may be wrong) and IPO. Every pair of a comparison is a record of its own. Deviations: dropout is off, so that the
first loss is ln 2; a record's weight multiplies its loss.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from transformers.trainer_utils import EvalPrediction

from training.dpo.data import DPOCollator, DPODataset
from training.dpo.reference import ReferenceFile
from training.evaluation.policy import before_and_after
from training.policy.logprobs import answer_logprobs
from training.run.config import ConfigError, setting
from training.run.pretrained import start_policy, start_reference
from training.run.supervised import Prepared, RecordTrainer, supervised_run
from training.samples.preferences import PreferenceConfig, load_preferences


@dataclass(frozen=True, kw_only=True)
class DPOConfig(PreferenceConfig):
    """Direct preference optimisation (Rafailov et al. 2023) and its relatives."""

    loss: str = setting("sigmoid", "sigmoid (DPO, cDPO with label_smoothing) or ipo", choices=("sigmoid", "ipo"))
    beta: float = setting(0.1, "strength of the pull to the reference; ipo: its tau", minimum=1e-6)
    label_smoothing: float = setting(0.0, "cDPO: the share of labels taken to be wrong", minimum=0, maximum=0.5)
    reference: str = setting("", "reference policy; empty: the model as it is before training")
    precompute_reference: bool = setting(True, "compute the reference's log-probabilities once, before training")
    policy_checkpoints: int = setting(0, "also keep this many policies from along the way, evenly spaced", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "ipo" and self.label_smoothing:
            raise ConfigError("label_smoothing: has no meaning with loss=ipo")
        if self.label == "scores":
            raise ConfigError("label: DPO learns from pairs, choose ranking or best")


def sigmoid_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float, label_smoothing: float = 0.0
) -> torch.Tensor:
    """The DPO loss of each pair, in nats; `chosen` and `rejected` are log(pi/pi_ref) of whole answers, [pairs].

    Rafailov et al. 2023, equation 7. With `label_smoothing` the expectation over labels of which that share is wrong
    (cDPO, Mitchell 2023).
    """
    margin = beta * (chosen - rejected)
    return -(1 - label_smoothing) * logsigmoid(margin) - label_smoothing * logsigmoid(-margin)


def ipo_loss(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float) -> torch.Tensor:
    """The squared distance of each pair's difference from 1/(2 beta), [pairs]; beta is the paper's tau.

    Azar et al. 2023, equation 17. The log-ratios are means over an answer's tokens, as the authors computed them: the
    sum would ask for the same margin from long answers as from short ones.
    """
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def pair_metrics(policy: torch.Tensor, reference: torch.Tensor, *, beta: float) -> dict[str, torch.Tensor]:
    """Per pair, from log-probabilities of answers [chosen then rejected]: implied rewards beta log(pi/pi_ref) and more.

    The names are TRL's.
    """
    chosen, rejected = (beta * (policy - reference)).chunk(2)
    chosen_logps, rejected_logps = policy.chunk(2)
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/accuracies": (chosen > rejected).float(),
        "rewards/margins": chosen - rejected,
        "logps/chosen": chosen_logps,
        "logps/rejected": rejected_logps,
    }


class DPOTrainer(RecordTrainer):
    """The mean over the micro-batch of each pair's loss: transformers must divide it by the accumulation steps.

    reference: a model that nothing trains; None: the policy without its adapters, or before training. known: where its
    log-probabilities are kept that are computed before training; None: they are computed in every step.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *,
        config: DPOConfig,
        reference: torch.nn.Module | None,
        known: ReferenceFile | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(compute_metrics=self._evaluation_metrics, **rest)
        self._config = config
        self._reference = reference if reference is None else reference.to(self.accelerator.device)
        self._known = known
        self._sums: dict[str, torch.Tensor] = {}
        self._pairs = 0
        self.can_return_loss = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        known = inputs.get("reference")
        reference = known if known is not None else self.reference_logprobs(model, inputs)
        policy = answer_logprobs(model, inputs).sum(1)
        loss = (inputs["weight"] * self._losses(policy - reference, inputs["answer"].sum(1))).mean()
        if model.training:
            self._add(pair_metrics(policy.detach(), reference, beta=self._config.beta))
        # Evaluation gathers whole rows of each process, so chosen and rejected stand side by side.
        outputs = {"policy": policy.view(2, -1).T, "reference": reference.view(2, -1).T}
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def reference_logprobs(self, policy: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The reference's log-probability of each answer, [2 * pairs]."""
        if self._reference is not None:
            return answer_logprobs(self._reference, inputs).sum(1)
        with self._without_adapters(policy):
            return answer_logprobs(policy, inputs).sum(1)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers' own, once the reference's log-probabilities are known."""
        if self._known is not None:
            self._ask_reference(self._known)
        return super().train(*args, **kwargs)

    def precompute(self, pairs: DPODataset) -> torch.Tensor:
        """The reference's log-probabilities, [pairs, 2]; each process computes its share and gets all.

        Before training, where the policy itself may be the reference.
        """
        policy: Any = self.model
        policy.eval().to(self.accelerator.device)
        found = torch.zeros(len(pairs), 2, device=self.accelerator.device)
        shares = pairs.batches(self.args.train_batch_size)
        for indices in shares[self.accelerator.process_index :: self.accelerator.num_processes]:
            inputs = self._prepare_inputs(self.data_collator([pairs[index] for index in indices]))
            with self.compute_loss_context_manager():
                found[indices] = self.reference_logprobs(policy, inputs).view(2, -1).T
        total: torch.Tensor = self.accelerator.reduce(found, "sum")
        return total.cpu()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means over the pairs of all processes since the last time."""
        if "loss" in logs and self._pairs:
            count = torch.tensor(float(self._pairs), device=self.accelerator.device)
            totals = self.accelerator.reduce({**self._sums, "pairs": count}, "sum")
            logs |= {name: (totals[name] / totals["pairs"]).item() for name in self._sums}
            self._sums, self._pairs = {}, 0
        super().log(logs, start_time)

    def _ask_reference(self, known: ReferenceFile) -> None:
        """Give both datasets their reference's log-probabilities, and free its memory."""
        datasets: list[Any] = [self.train_dataset, self.eval_dataset]
        logprobs = known.read()
        if logprobs is None:
            logprobs = [self.precompute(pairs) for pairs in datasets]
            if self.is_world_process_zero():
                known.write(logprobs)
        for pairs, of_pairs in zip(datasets, logprobs, strict=True):
            pairs.reference = of_pairs
        self._reference = None

    def _without_adapters(self, policy: torch.nn.Module) -> AbstractContextManager[None]:
        adapted: Any = self.accelerator.unwrap_model(policy)
        return adapted.disable_adapter() if self._config.lora_rank else nullcontext()

    def _losses(self, log_ratios: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """[pairs], from log(pi/pi_ref) and the number of tokens of each answer, [2 * pairs]."""
        if self._config.loss == "ipo":
            return ipo_loss(*(log_ratios / tokens.clamp(min=1)).chunk(2), beta=self._config.beta)
        smoothing = self._config.label_smoothing
        return sigmoid_loss(*log_ratios.chunk(2), beta=self._config.beta, label_smoothing=smoothing)

    def _add(self, metrics: Mapping[str, torch.Tensor]) -> None:
        for name, values in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + values.sum()
        self._pairs += len(metrics["rewards/margins"])

    def _evaluation_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        policy, reference = (torch.as_tensor(values).T.flatten() for values in prediction.predictions)
        found = pair_metrics(policy, reference, beta=self._config.beta)
        return {name: values.mean().item() for name, values in found.items()}


def train(config: DPOConfig, output: Path, command: str = "") -> Path:
    """Train, save a plain `AutoModelForCausalLM` checkpoint with its model card, and return its folder.

    Goes on from the samples, the reference's log-probabilities and the last state of a run interrupted in `output`.
    command: what the card names. Raises ValueError where model and data do not fit, before any training.
    """
    return supervised_run(config, output, command, prepare, policy_checkpoints=config.policy_checkpoints)


def prepare(config: DPOConfig, output: Path) -> Prepared:
    """Policy and reference, and the pairs as token ids."""
    policy, template = start_policy(config.model, max_tokens=config.max_tokens)
    live = not (
        config.precompute_reference or config.lora_rank
    )  # else the policy is it, before training or inside LoRA
    reference = None
    if config.reference or live:
        reference = start_reference(config.reference, policy, template.tokenizer, config.model)
    data = load_preferences(config, output)
    data.announce()
    source = config.data or config.lab
    learned = DPODataset(data.train, template, config.max_tokens, f"{source}, train pairs")
    held_out = DPODataset(data.held_out, template, config.max_tokens, f"{source}, held-out pairs")
    known = ReferenceFile(output, reference or policy, [learned, held_out]) if config.precompute_reference else None
    collator = DPOCollator(template.tokenizer.pad_token_id)
    return Prepared(
        model=policy,
        tokenizer=template.tokenizer,
        trainer=partial(DPOTrainer, config=config, reference=reference, known=known, data_collator=collator),
        train_dataset=learned,
        eval_dataset=held_out,
        title=f"Policy, direct preference optimisation of `{config.model}`",
        source=f"{len(learned)} pairs: {data.summary}",
        measured=lambda metrics: _measured(config, output, len(held_out), metrics),
    )


def _measured(config: DPOConfig, output: Path, pairs: int, metrics: Mapping[str, float]) -> str:
    """For the model card."""
    accuracy, loss = metrics["eval_rewards/accuracies"], metrics["eval_loss"]
    text = f"On {pairs} held-out pairs: loss {loss:.4f}, the better answer preferred in {accuracy:.3f}."
    if not (config.lab and config.evaluation_prompts):
        return text
    table = before_and_after(
        config.world(),
        config.model,
        output,
        prompts=config.evaluation_prompts,
        count=config.evaluation_samples,
        sampler=config.sampler,
        reference=config.reference or config.model,
    )
    return f"{text}\n\n{table}"
