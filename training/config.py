"""The settings of each trainer, declared once: type, default, help, bounds. Recipes and `--set` only fill them in."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

RECIPES = Path(__file__).parent / "recipes"


class ConfigError(ValueError):
    """A setting is unknown, of the wrong type or out of bounds; the message names it."""


def setting(default: Any, help: str, *, minimum: float | None = None, maximum: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every trainer needs. Raises ConfigError on construction when a value is not allowed."""

    lab: str = setting("", "make the data from this lab; empty: read `data`")
    data: str = setting("", "a JSONL file with the training records; empty: make them from `lab`")
    seed: int = setting(0, "seed of the data, the fresh weights and the order of training", minimum=0)
    max_steps: int = setting(1000, "optimizer steps", minimum=1)
    batch_size: int = setting(64, "records in one forward pass", minimum=1)
    gradient_accumulation_steps: int = setting(1, "forward passes in one optimizer step", minimum=1)
    learning_rate: float = setting(1e-3, "peak learning rate; decays along a cosine", minimum=0)
    warmup_steps: int = setting(50, "steps over which the learning rate rises to its peak", minimum=0)
    weight_decay: float = setting(0.0, "AdamW weight decay", minimum=0)
    adam_beta2: float = setting(0.99, "decay of Adam's second moment", minimum=0, maximum=1)
    adam_epsilon: float = setting(1e-8, "Adam's epsilon; 1e-5 hides the small gradients of small models", minimum=0)
    max_gradient_norm: float = setting(1.0, "gradients are clipped to this norm", minimum=0)
    max_tokens: int = setting(2048, "longest conversation in tokens; a longer record is an error", minimum=8)
    log_steps: int = setting(25, "steps between two lines of metrics", minimum=1)
    save_steps: int = setting(500, "steps between two states to resume from", minimum=1)
    save_dtype: str = setting("float32", "stored weights: float32, bfloat16 or float16")
    evaluation_questions: int = setting(500, "held-out questions for the final measurement; 0: none", minimum=0)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name))
        if bool(self.lab) == bool(self.data):
            raise ConfigError("set either lab or data (exactly one of them)")
        if self.data and not Path(self.data).is_file():
            raise ConfigError(f"data: there is no file {self.data!r}")
        if self.save_dtype not in ("float32", "bfloat16", "float16"):
            raise ConfigError(f"save_dtype: must be float32, bfloat16 or float16, not {self.save_dtype!r}")

    @classmethod
    def load(cls, recipe: str, overrides: Sequence[str] = ()) -> Self:
        """Read a recipe (a name in training/recipes or a YAML file) and apply `key=value` overrides over it."""
        values = _read_recipe(recipe) | dict(_parse_override(text) for text in overrides)
        known = {item.name: item for item in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise ConfigError(f"unknown setting {name!r}; there are: {', '.join(sorted(known))}")
        return cls(**{name: _convert(known[name], value) for name, value in values.items()})

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class SFTConfig(TrainingConfig):
    """Supervised fine-tuning: next-token loss on the answer."""

    model: str = setting("", "causal model to start from; empty: the lab's fresh small Llama")
    demonstrations: int = setting(100_000, "demonstrations to make from the lab", minimum=1)
    carelessness: float = setting(0.0, "share of demonstrations with one wrong step", minimum=0, maximum=1)
    json_share: float = setting(0.0, "share of questions that ask for JSON", minimum=0, maximum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model and not self.lab:
            raise ConfigError("model: needed when the data is not made from a lab")


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig(TrainingConfig):
    """Pairwise reward modelling (Bradley-Terry) within one prompt."""

    model: str = setting("", "the policy: its trunk becomes the reward model's, and in a lab its samples are ranked")
    extra_layers: int = setting(0, "fresh layers added on the trunk, started as the identity", minimum=0)
    every_position_weight: float = setting(
        0.0, "weight of the same loss at every position after the first difference", minimum=0
    )
    label_noise: float = setting(0.0, "probability that the lab's labeller is wrong", minimum=0, maximum=0.5)
    questions: int = setting(6000, "questions to sample the policy on", minimum=1)
    samples_per_question: int = setting(4, "samples per question", minimum=2)
    pairs_per_question: int = setting(1, "at most this many pairs of one right and one wrong sample", minimum=1)
    sample_tokens: int = setting(64, "longest sample in tokens", minimum=1)
    json_share: float = setting(0.0, "share of questions that ask for JSON", minimum=0, maximum=1)
    sampler: str = setting("auto", "what samples the policy: vllm, transformers, or auto (vllm where installed)")
    evaluation_samples: int = setting(16, "samples per held-out question in the final measurement", minimum=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise ConfigError("model: needed")
        if self.sampler not in ("auto", "vllm", "transformers"):
            raise ConfigError(f"sampler: must be auto, vllm or transformers, not {self.sampler!r}")


def describe(config: type[TrainingConfig]) -> str:
    """One line per setting, for the command line's help."""
    lines = [f"{item.name} = {item.default!r}  {item.metadata['help']}" for item in dataclasses.fields(config)]
    return "\n\n".join(lines)


def recipe_path(recipe: str) -> Path:
    """The file of a recipe. Raises ConfigError naming the bundled ones."""
    for path in (RECIPES / f"{recipe}.yaml", Path(recipe)):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
    raise ConfigError(f"no recipe {recipe!r}; give a YAML file or one of: {known}")


def _read_recipe(recipe: str) -> dict[str, Any]:
    path = recipe_path(recipe)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected lines of `setting: value`")
    return {str(name): value for name, value in values.items()}


def _parse_override(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"expected key=value, got {text!r}")
    return name.strip(), value.strip()


def _convert(item: dataclasses.Field[Any], value: Any) -> Any:
    """Text from the command line (and YAML's `1e-3`, which is text too) becomes the setting's own type."""
    kind = type(item.default)
    try:
        if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
            return float(value)
        if kind is int and isinstance(value, str):
            return int(value.replace("_", ""))
    except ValueError:
        raise ConfigError(f"{item.name}: expected {kind.__name__}, got {value!r}") from None
    return str(value) if kind is str and isinstance(value, int | float) else value


def _check(item: dataclasses.Field[Any], value: Any) -> None:
    kind = type(item.default)
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ConfigError(f"{item.name}: expected {kind.__name__}, got {value!r}")
    minimum, maximum = item.metadata["minimum"], item.metadata["maximum"]
    if minimum is not None and not value >= minimum:
        raise ConfigError(f"{item.name}: must be at least {minimum}, got {value}")
    if maximum is not None and not value <= maximum:
        raise ConfigError(f"{item.name}: must be at most {maximum}, got {value}")
