"""The settings of each trainer, declared once: type, default, help, bounds. Recipes and `--set` only fill them in."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from training.run.config import Config, ConfigError, setting

_MODEL = "model to start from: a folder, a bundled checkpoint or a Hugging Face name"
_SAMPLER = "engine that samples the policy; auto: vllm where installed"
_SAMPLERS = ("auto", "vllm", "transformers")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """What every trainer needs. Steps are optimizer steps, in PPO updates."""

    lab: str = setting("", "make the data in this lab; empty: read `data`")
    lab_options: Mapping[str, float] = setting(dict, "its options, such as lab_options.carelessness=0.4", lab_only=True)
    data: str = setting("", "a JSONL, JSON or Parquet file, a folder of them, or the name of a Hugging Face dataset")
    split: str = setting("train", "the split of a Hugging Face dataset")
    model: str = setting("", _MODEL)
    seed: int = setting(0, "seed of the data, the fresh weights and the order of training", minimum=0)
    max_steps: int = setting(1000, "optimizer steps (PPO: updates, of one rollout each)", minimum=1)
    batch_size: int = setting(64, "records in one forward pass of one process", minimum=1)
    learning_rate: float = setting(1e-3, "peak learning rate", minimum=0)
    learning_rate_schedule: str = setting(
        "cosine", "what the rate does after its peak", choices=("cosine", "linear", "constant_with_warmup")
    )
    warmup_steps: int = setting(50, "steps (PPO: updates) over which the learning rate rises to its peak", minimum=0)
    weight_decay: float = setting(0.0, "AdamW weight decay", minimum=0)
    adam_beta2: float = setting(0.99, "decay of Adam's second moment", minimum=0, maximum=1)
    adam_epsilon: float = setting(1e-8, "Adam's epsilon; 1e-5 hides the small gradients of small models", minimum=0)
    max_gradient_norm: float = setting(1.0, "gradients are clipped to this norm", minimum=0)
    max_tokens: int = setting(2048, "longest conversation in tokens; a longer record is an error", minimum=8)
    bf16: bool = setting(False, "compute in bfloat16 under autocast; weights and optimizer stay float32")
    gradient_checkpointing: bool = setting(False, "compute activations again in the backward pass to save memory")
    lora_rank: int = setting(
        0, "train low-rank adapters of this rank on every linear layer (LoRA); 0: train all", minimum=0
    )
    lora_alpha: float = setting(16.0, "LoRA: the adapters' output is scaled by lora_alpha / lora_rank", minimum=0)
    log_steps: int = setting(25, "steps (PPO: updates) between two lines of metrics", minimum=1)
    save_steps: int = setting(500, "steps (PPO: updates) between two states to resume from", minimum=1)
    save_dtype: str = setting("float32", "stored weights", choices=("float32", "bfloat16", "float16"))
    evaluation_prompts: int = setting(
        500, "held-out prompts for the final measurement; 0: none", minimum=0, lab_only=True
    )
    evaluation_samples: int = setting(
        16, "samples per held-out prompt in the final measurement", minimum=2, lab_only=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.lab) == bool(self.data):
            raise ConfigError("set either lab or data (exactly one of them)")
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.metadata["required"] and not value:
                raise ConfigError(f"{item.name}: required")
            default = {} if item.default is dataclasses.MISSING else item.default
            if item.metadata["lab_only"] and not self.lab and value != default:
                raise ConfigError(f"{item.name}: has no meaning with data={self.data!r}, it describes a lab")


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(TrainingConfig):
    """What the trainers on given records need."""

    gradient_accumulation_steps: int = setting(1, "forward passes in one optimizer step", minimum=1)


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


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig(SupervisedConfig):
    """Learning from compared responses: from `data`, or the policy's own samples, labelled in the lab."""

    model: str = setting("", _MODEL, required=True)
    policy: str = setting("", "the policy whose samples are labelled; empty: `model`", lab_only=True)
    prompts: int = setting(6000, "prompts to sample the policy on", minimum=2, lab_only=True)
    samples_per_prompt: int = setting(4, "samples per prompt", minimum=2, lab_only=True)
    sample_tokens: int = setting(0, "longest sample in tokens; 0: the lab's own limit", minimum=0, lab_only=True)
    sampler: str = setting("auto", _SAMPLER, choices=_SAMPLERS, lab_only=True)
    label: str = setting(
        "ranking",
        "what the labeller says of the samples of a prompt",
        choices=("ranking", "best", "scores"),
        lab_only=True,
    )
    label_noise: float = setting(0.0, "how often the labeller errs", minimum=0, maximum=1, lab_only=True)
    pairs_per_prompt: int = setting(
        0, "break each comparison into at most this many pairs, each a record of its own; 0: keep it whole", minimum=0
    )
    held_out_share: float = setting(0.05, "share of the prompts that are kept for evaluation", minimum=0, maximum=0.9)


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


@dataclass(frozen=True, kw_only=True)
class PPOConfig(TrainingConfig):
    """Proximal policy optimisation against a reward model; `max_steps` counts PPO updates (one rollout each)."""

    model: str = setting("", _MODEL, required=True)
    reward_model: str = setting("", "scores the rollouts, and is where the value function starts", required=True)
    reference: str = setting("", "policy that the KL penalty is measured against; empty: `model`")
    prompts: int = setting(20_000, "different prompts to ask", minimum=1, lab_only=True)
    rollouts: int = setting(256, "answers sampled for each update, over all processes", minimum=2)
    response_tokens: int = setting(
        0, "longest answer in tokens; 0: the lab's own limit, or what max_tokens leaves", minimum=0
    )
    sampler: str = setting("auto", _SAMPLER, choices=_SAMPLERS)
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
