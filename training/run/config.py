"""How settings are declared, read from recipes and `--set`, and checked; and those that every trainer has.

A trainer's own stand in its module, above the loop that reads them. Recipes and `--set` only fill them in.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from measuring.near_miss import did_you_mean

if TYPE_CHECKING:
    from training.labs.lab import Lab

RECIPES = Path(__file__).parents[1] / "recipes"
MODEL_HELP = "model to start from: a folder, a bundled checkpoint or a Hugging Face name"
SAMPLER_HELP = "engine that samples the policy; auto: vllm where installed"
SAMPLERS = ("auto", "vllm", "transformers")


class ConfigError(ValueError):
    """A setting is unknown, of the wrong type or out of bounds; the message names it."""


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    required: bool = False,
    lab_only: bool = False,
) -> Any:
    """A field of a `Config`: default, whose type is the setting's, help and bounds. `dict` for options, none given.

    required: not empty. lab_only: read only where a lab makes the data. `TrainingConfig` checks these two.
    """
    bounds = {"minimum": minimum, "maximum": maximum, "choices": choices}
    metadata = {"help": help, **bounds, "required": required, "lab_only": lab_only}
    if default is dict:
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Settings that check themselves. Raises ConfigError on construction when a value is not allowed."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name))

    @classmethod
    def load(cls, recipe: str, overrides: Sequence[str] = ()) -> Self:
        """Read a recipe (a name in training/recipes or a YAML file) and apply `key=value` overrides over it."""
        values = _read_recipe(recipe)
        for text in overrides:
            _override(values, text)
        return cls.of(values)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From values as YAML or the command line give them."""
        known = {item.name: item for item in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise ConfigError(
                    f"unknown setting {name!r}{did_you_mean(name, known)} there are: {', '.join(sorted(known))}"
                )
        return cls(**{name: _convert(known[name], value) for name, value in values.items()})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and YAML hold them."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """What every trainer needs. Steps are optimizer steps, in PPO updates."""

    lab: str = setting("", "make the data in this lab; empty: read `data`")
    lab_options: Mapping[str, float] = setting(dict, "its options, such as lab_options.carelessness=0.4", lab_only=True)
    data: str = setting("", "a JSONL, JSON or Parquet file, a folder of them, or the name of a Hugging Face dataset")
    split: str = setting("train", "the split of a Hugging Face dataset")
    model: str = setting("", MODEL_HELP)
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

    @property
    def lora_scaling(self) -> float | None:
        """What the adapters' output is multiplied by; None without adapters."""
        return self.lora_alpha / self.lora_rank if self.lora_rank else None

    def world(self) -> "Lab":
        """The lab with its options. Raises ValueError where there is none of that name, or an option is at fault."""
        from training.labs import lab  # its tokenizers are slow to import, and the command line reads settings

        return lab(self.lab, self.lab_options)


def describe(config: type[Config]) -> str:
    """One line per setting, for the command line's help."""
    lines = []
    for item in dataclasses.fields(config):
        name = f"{item.name} (required)" if item.metadata["required"] else f"{item.name} = {_default(item)!r}"
        where = "in a lab: " if item.metadata["lab_only"] else ""
        choices = f" ({', '.join(item.metadata['choices'])})" if item.metadata["choices"] else ""
        lines.append(f"{name}  {where}{item.metadata['help']}{choices}")
    return "\n\n".join(lines)


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """Options from `key=value` each, values as in YAML. Raises ConfigError for a text that is not that."""
    pairs = {text: _key_value(text) for text in texts}
    return {name: _parsed(text, value) for text, (name, value) in pairs.items()}


def positive_numbers(name: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Whole numbers from 1 on, ascending, each once. Raises ConfigError, which begins with the `name` they go by."""
    try:
        numbers = tuple(sorted({int(text) for text in texts}))
    except ValueError:
        numbers = ()
    if not numbers or numbers[0] < 1:
        given = ",".join(texts)
        raise ConfigError(f"{name}: expected positive numbers separated by commas, got {given!r}")
    return numbers


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Where no model of that name can be loaded, raises ConfigError that begins with the setting's `name`."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{name}: {error}") from error


def recipe_path(recipe: str) -> Path:
    """The file of a recipe. Raises ConfigError naming the bundled ones."""
    for path in (RECIPES / f"{recipe}.yaml", Path(recipe)):
        if path.is_file():
            return path
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    near = did_you_mean(recipe, known)
    raise ConfigError(f"no recipe {recipe!r}{near} give a YAML file or one of: {', '.join(known)}")


def _read_recipe(recipe: str) -> dict[str, Any]:
    path = recipe_path(recipe)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected lines of `setting: value`")
    return {str(name): value for name, value in values.items()}


def _override(values: dict[str, Any], text: str) -> None:
    """`key=value`, or `key.option=value` for a setting that holds options."""
    name, value = _key_value(text)
    name, dot, option = name.partition(".")
    if not dot:
        values[name] = value
        return
    options = values.get(name) or {}
    if not isinstance(options, Mapping):
        raise ConfigError(f"{name}: holds no options, so {name}.{option} cannot be set")
    values[name] = {**options, option: _parsed(text, value)}


def _key_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"expected key=value, got {text!r}")
    return name.strip(), value.strip()


def _parsed(text: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{text}: not YAML: {error}") from error


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def _convert(item: dataclasses.Field[Any], value: Any) -> Any:
    """Text from the command line (and YAML's `1e-3`, which is text too) becomes the setting's own type."""
    kind = type(_default(item))
    try:
        if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
            return float(value)
        if kind is int and isinstance(value, str):
            return int(value.replace("_", ""))
    except ValueError:
        raise ConfigError(f"{item.name}: expected {kind.__name__}, got {value!r}") from None
    if kind is bool and value in ("true", "false"):
        return value == "true"
    if kind is tuple and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if kind is tuple and isinstance(value, list):
        return tuple(str(part) for part in value)
    return str(value) if kind is str and isinstance(value, int | float) else value


def _check(item: dataclasses.Field[Any], value: Any) -> None:
    kind = type(_default(item))
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ConfigError(f"{item.name}: expected {kind.__name__}, got {value!r}")
    minimum, maximum, choices = (item.metadata[name] for name in ("minimum", "maximum", "choices"))
    if minimum is not None and not value >= minimum:
        raise ConfigError(f"{item.name}: must be at least {minimum}, got {value}")
    if maximum is not None and not value <= maximum:
        raise ConfigError(f"{item.name}: must be at most {maximum}, got {value}")
    if choices is not None and value not in choices:
        raise ConfigError(f"{item.name}: must be one of {', '.join(choices)}, not {value!r}")
