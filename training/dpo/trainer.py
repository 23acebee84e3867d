"""Direct preference optimisation: the policy learns from pairs of answers, without a reward model and without sampling.

    bestofn train dpo --recipe arithmetic_dpo --output runs/arithmetic-dpo

In the order of Rafailov et al. 2023, section 4: sample the policy and label (or read pairs), take the reference's
log-probabilities, then raise the better answer's log-ratio to the reference over the worse one's. Also cDPO (labels
that may be wrong) and IPO. Every pair of a comparison is a record of its own. Deviations: dropout is off, so that the
first loss is ln 2; a record's weight multiplies its loss.
"""

import copy
import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from torch.utils.data import Dataset
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_utils import EvalPrediction

from measuring.whole_file import write_whole
from reward.batching import batches
from reward.template import ConversationTemplate
from training.data.read import DataError
from training.data.records import Comparison
from training.evaluation.policy import before_and_after
from training.labs import lab, model_path
from training.policy.completion_logprobs import same_vocabulary
from training.policy.logprobs import Answered, answer_logprobs, answered, generation_start, load_without_dropout, padded
from training.run import cards, checkpoints, run_folder, snapshots
from training.run.checks import check_lengths, check_model
from training.run.config import ConfigError, loading
from training.run.elapsed import Elapsed
from training.run.metrics import MetricsFile
from training.run.settings import DPOConfig
from training.run.trainer import RecordTrainer, training_arguments
from training.samples.preferences import prepare

REFERENCE_FILE = "reference_logprobs.pt"


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


class Pairs(Dataset[dict[str, Any]]):
    """Token ids of the chosen and the rejected conversation of each pair.

    A record holds the better response, then the worse. All are made at once, so that their lengths are known before
    any work. `reference` [pairs, 2] holds the reference's log-probabilities of both where they were computed before.
    """

    def __init__(self, records: Sequence[Comparison], template: ConversationTemplate) -> None:
        self._weights = [record.weight for record in records]
        self._both = [_both(record, template) for record in records]
        self.reference: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self._both)

    def __getitem__(self, index: int) -> dict[str, Any]:
        reference = {} if self.reference is None else {"reference": self.reference[index]}
        return {"both": self._both[index], "weight": self._weights[index], **reference}

    def lengths(self) -> list[int]:
        """Tokens of the longer conversation of each pair."""
        return [max(len(chosen.tokens), len(rejected.tokens)) for chosen, rejected in self._both]

    def digest(self) -> str:
        """The same for the same tokens in the same order."""
        digest = hashlib.sha256()
        for sequence in chain.from_iterable(self._both):
            digest.update(f"{sequence.start},{len(sequence.tokens)}:".encode() + array("i", sequence.tokens).tobytes())
        return digest.hexdigest()


class PairPadding:
    """Pads pairs into one batch, all chosen, then all rejected: `padded`'s tensors [2 * pairs, longest].

    With `weight` [pairs] and, where known, `reference` [2 * pairs].
    """

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        sequences = [row["both"][side] for side in (0, 1) for row in rows]
        batch = padded(sequences, self._pad_token_id)
        batch["weight"] = torch.tensor([row["weight"] for row in rows])
        if "reference" in rows[0]:
            batch["reference"] = torch.stack([row["reference"] for row in rows], dim=1).flatten()
        return batch


class DPOTrainer(RecordTrainer):
    """The mean over the micro-batch of each pair's loss: transformers must divide it by the accumulation steps.

    `reference` is a model that nothing trains; None: the policy without its adapters.
    """

    loss_is_scaled_for_ga = False

    def __init__(self, *, config: DPOConfig, reference: torch.nn.Module | None, **rest: Any) -> None:
        super().__init__(compute_metrics=self._evaluation_metrics, **rest)
        self._config = config
        self._reference = reference if reference is None else reference.to(self.accelerator.device)
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

    def precompute(self, pairs: Pairs) -> torch.Tensor:
        """The reference's log-probabilities, [pairs, 2]; each process computes its share and gets all.

        Before training, where the policy itself may be the reference.
        """
        policy: Any = self.model
        policy.eval().to(self.accelerator.device)
        found = torch.zeros(len(pairs), 2, device=self.accelerator.device)
        lengths = pairs.lengths()
        shares = list(batches(lengths, self.args.train_batch_size * max(lengths)))
        for indices in shares[self.accelerator.process_index :: self.accelerator.num_processes]:
            inputs = self._prepare_inputs(self.data_collator([pairs[index] for index in indices]))
            with self.compute_loss_context_manager():
                found[indices] = self.reference_logprobs(policy, inputs).view(2, -1).T
        total: torch.Tensor = self.accelerator.reduce(found, "sum")
        return total.cpu()

    def forget_reference(self) -> None:
        """Free its memory once all was precomputed."""
        self._reference = None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means over the pairs of all processes since the last time."""
        if "loss" in logs and self._pairs:
            count = torch.tensor(float(self._pairs), device=self.accelerator.device)
            totals = self.accelerator.reduce({**self._sums, "pairs": count}, "sum")
            logs |= {name: (totals[name] / totals["pairs"]).item() for name in self._sums}
            self._sums, self._pairs = {}, 0
        super().log(logs, start_time)

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
    `command` is told in the card. Raises ValueError where model and data do not fit, before any training.
    """
    elapsed = Elapsed(output)
    kept = snapshots.steps(config.max_steps, config.policy_checkpoints)
    run_folder.check(config, output)
    policy, tokenizer = _load("model", config.model)
    check_model(policy, tokenizer, config.max_tokens)
    reference = _reference(config, policy, tokenizer)
    with run_folder.main_first():
        data = prepare(config, output)
    if run_folder.is_main():
        print(data.summary)
    template = ConversationTemplate(tokenizer)
    sets = [_pairs(name, getattr(data, name), template, config) for name in ("train", "held_out")]
    fingerprint = _fingerprint(reference or policy, sets)
    state = run_folder.begin(config, output)
    arguments = training_arguments(config, output / run_folder.STATE_FOLDER)
    trainer = DPOTrainer(
        config=config,
        reference=reference,
        model=checkpoints.adapted(policy, config),
        args=arguments,
        train_dataset=sets[0],
        eval_dataset=sets[1],
        data_collator=PairPadding(tokenizer.pad_token_id),
        callbacks=[MetricsFile(output)],
    )
    if config.precompute_reference:
        _precompute(trainer, sets, fingerprint, output / run_folder.STATE_FOLDER / REFERENCE_FILE)

    def save(folder: Path) -> None:
        checkpoints.save(trainer.model, tokenizer, config, folder, accelerator=trainer.accelerator)

    trainer.add_callback(snapshots.Snapshots(output, kept, save))
    trainer.add_callback(elapsed)
    trainer.train(resume_from_checkpoint=state)
    judged = trainer.evaluate()
    save(output)
    if run_folder.is_main():
        _write_card(config, output, command, data.summary, sets, judged, trainer.tokens_per_second, elapsed.minutes)
    run_folder.finish(output)
    return output


def _load(setting: str, name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """In float32 and without dropout: policy and reference must agree at the first step."""
    path = model_path(name)
    with loading(setting):
        return load_without_dropout(path, torch.float32), AutoTokenizer.from_pretrained(path)


def _reference(
    config: DPOConfig, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> torch.nn.Module | None:
    """The model that nothing trains; None where the policy itself, before training or without adapters, is it.

    Raises ConfigError where it does not read the policy's tokens.
    """
    reference: Any
    if config.reference:
        reference, its_tokenizer = _load("reference", config.reference)
        if not same_vocabulary(tokenizer, its_tokenizer):
            raise ConfigError(
                f"reference: {config.reference!r} has another tokenizer or chat template than the policy "
                f"{config.model!r}, so that their log-probabilities cannot be compared"
            )
    elif config.precompute_reference or config.lora_rank:
        return None
    else:
        reference = copy.deepcopy(policy)
    frozen: torch.nn.Module = reference.requires_grad_(False).eval()
    return frozen


def _pairs(name: str, comparisons: Sequence[Comparison], template: ConversationTemplate, config: DPOConfig) -> Pairs:
    """Every pair of the comparisons. Raises DataError when there is none, ValueError when one is too long."""
    records = [comparison.only(pair) for comparison in comparisons for pair in comparison.pairs()]
    source = f"{config.data or config.lab}, {name.replace('_', '-')} pairs"
    if not records:
        raise DataError(f"{source}: no response is better than another one; DPO learns from ranked responses")
    pairs = Pairs(records, template)
    check_lengths(pairs.lengths(), config.max_tokens, source, lambda index: str(records[index].messages[-1]["content"]))
    return pairs


def _both(record: Comparison, template: ConversationTemplate) -> tuple[Answered, Answered]:
    prompt = template.prompt(record.messages)
    start = generation_start(template, prompt)
    chosen, rejected = (answered(template, prompt, start, text) for text in record.responses)
    return chosen, rejected


def _fingerprint(reference: torch.nn.Module, sets: Iterable[Pairs]) -> str:
    """The same for the same weights and pairs."""
    digest = hashlib.sha256()
    for name, weights in reference.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.cpu().contiguous().view(torch.uint8).numpy())
    return "-".join([digest.hexdigest(), *(pairs.digest() for pairs in sets)])


def _precompute(trainer: DPOTrainer, sets: Sequence[Pairs], fingerprint: str, file: Path) -> None:
    """Give the sets their reference's log-probabilities: the file's, where they are of these weights and pairs."""
    known = torch.load(file, weights_only=True) if file.is_file() else {}
    if known.get("fingerprint") != fingerprint:
        known = {"fingerprint": fingerprint, "logprobs": [trainer.precompute(pairs) for pairs in sets]}
        if trainer.is_world_process_zero():
            write_whole(file, lambda partial: torch.save(known, partial))
    for pairs, logprobs in zip(sets, known["logprobs"], strict=True):
        pairs.reference = logprobs
    trainer.forget_reference()


def _write_card(
    config: DPOConfig,
    output: Path,
    command: str,
    summary: str,
    sets: Sequence[Pairs],
    judged: Mapping[str, float],
    tokens_per_second: float,
    minutes: float,
) -> None:
    accuracy, loss = judged["eval_rewards/accuracies"], judged["eval_loss"]
    measured = f"On {len(sets[1])} held-out pairs: loss {loss:.4f}, the better answer preferred in {accuracy:.3f}."
    if config.lab and config.evaluation_prompts:
        world, reference = lab(config.lab, config.lab_options), config.reference or config.model
        measured += "\n\n" + before_and_after(world, config.model, output, config, reference=reference)
    cards.write(
        output,
        title=f"Policy, direct preference optimisation of `{config.model}`",
        usage="A plain `AutoModelForCausalLM` checkpoint. Sample it at temperature 1.",
        command=command,
        data=f"{len(sets[0])} pairs: {summary}",
        measured=measured,
        minutes=minutes,
        config=config,
        tokens_per_second=tokens_per_second,
    )
