"""How settings are declared, read from recipes and `--set`, and checked. `training.run.settings` has the trainers'."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any, Self

import yaml

RECIPES = Path(__file__).parents[1] / "recipes"


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

    required: not empty. lab_only: read only where a lab makes the data. `training.run.settings` checks these two.
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
                raise ConfigError(f"unknown setting {name!r}; there are: {', '.join(sorted(known))}")
        return cls(**{name: _convert(known[name], value) for name, value in values.items()})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and YAML hold them."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


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
