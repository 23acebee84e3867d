"""What the users of a load test ask: how often which N, streaming or not, which prompts, how long an answer.

A workload is a YAML or JSON file, or the name of one in loadtests/workloads (`mixed` is the default); an unknown key is
an error that names it. Drawing from it is pure: the same generator gives the same requests.
"""

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from training.data.read import read_prompts
from training.data.records import Conversation
from training.labs import LABS, lab

WORKLOADS = Path(__file__).parent / "workloads"
_UNKNOWN_KEY = "unexpected_keyword_argument"

Kind = TypeVar("Kind")
Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class WorkloadError(ValueError):
    """A workload cannot be read; the message names the file and the key."""


@dataclass(frozen=True)
class Uniform:
    """Every number of tokens from `low` to `high` is equally likely."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    low: Positive
    high: Positive

    def draw(self, generator: random.Random) -> int:
        return generator.randint(min(self.low, self.high), max(self.low, self.high))


@dataclass(frozen=True)
class Lognormal:
    """Half the answers are shorter than `median`; `sigma` is the deviation of the logarithm, `most` the cut."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    median: Positive
    most: Positive
    sigma: Annotated[float, Field(ge=0, le=5)] = 0.5

    def draw(self, generator: random.Random) -> int:
        return min(max(1, round(generator.lognormvariate(math.log(self.median), self.sigma))), self.most)


@dataclass(frozen=True)
class Weights:
    """`{32: 3, 256: 1}`: one of four answers may have 256 tokens, the others 32."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    weights: Annotated[Mapping[Positive, Weight], Field(min_length=1)]

    def draw(self, generator: random.Random) -> int:
        return generator.choices(list(self.weights), list(self.weights.values()))[0]


_LENGTHS: Mapping[str, type[Uniform | Lognormal | Weights]] = {
    "uniform": Uniform,
    "lognormal": Lognormal,
    "weights": Weights,
}


@dataclass(frozen=True)
class Query:
    """One request to be."""

    best_of: int
    stream: bool
    messages: Conversation  # up to the assistant's turn
    max_tokens: int
    temperature: float

    @property
    def name(self) -> str:
        """What it is counted under: there are as many names as values of N, twice."""
        return f"chat best_of={self.best_of}" + " stream" * self.stream

    def body(self, *, best_of_field: str = "best_of", model: str = "") -> dict[str, Any]:
        """OpenAI's chat request. best_of_field: `n` for a server that only samples; N = 1 is left out for it."""
        body: dict[str, Any] = {
            "messages": list(self.messages),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        if model:
            body["model"] = model
        if self.best_of > 1 or best_of_field == "best_of":
            body[best_of_field] = self.best_of
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What users ask, as a file has it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    # The weight of each N.
    best_of: Annotated[Mapping[Positive, Weight], Field(min_length=1)] = field(default_factory=lambda: {1: 1.0})
    stream: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of requests
    prompts: str = "arithmetic"  # a lab, or a file as training reads it
    max_tokens: Any = 64  # one number, or a distribution by name, which `_lengths` checks
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    think_time_s: Annotated[float, Field(ge=0)] = 0.0  # mean of the exponential pause between a user's requests
    seed: int = 0  # of everything that is drawn


@dataclass(frozen=True)
class Mix:
    """A workload with its prompts, ready to draw from."""

    workload: Workload
    lengths: Uniform | Lognormal | Weights
    prompts: Sequence[Conversation]

    @classmethod
    def load(cls, path: Path, *, prompt_count: int = 500) -> Self:
        """Read a workload and its prompts, `prompt_count` of them from a lab; a file is found beside the workload.

        Raises WorkloadError, which names the file and the key.
        """
        workload = read(path)
        return cls(workload, _lengths(path, workload.max_tokens), _prompts(path, workload, prompt_count))

    @property
    def prompts_sha256(self) -> str:
        """Which prompts these are, whatever the file is called that they came from."""
        return hashlib.sha256(json.dumps(self.prompts, sort_keys=True).encode()).hexdigest()

    def draw(self, generator: random.Random) -> Query:
        """The next request of a user."""
        asked = self.workload
        return Query(
            best_of=generator.choices(list(asked.best_of), list(asked.best_of.values()))[0],
            stream=generator.random() < asked.stream,
            messages=generator.choice(self.prompts),
            max_tokens=self.lengths.draw(generator),
            temperature=asked.temperature,
        )

    def think_s(self, generator: random.Random) -> float:
        """How long a user reads the answer."""
        mean_s = self.workload.think_time_s
        return generator.expovariate(1 / mean_s) if mean_s else 0.0


def read(path: Path) -> Workload:
    """The workload of a YAML or JSON file, which YAML includes. Raises WorkloadError."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkloadError(f"{path}: {error.strerror}; workloads that ship: {_shipped()}") from None
    except yaml.YAMLError as error:
        raise WorkloadError(f"{path}: neither YAML nor JSON: {error}") from None
    return _checked(path, "", Workload, values)


def _lengths(path: Path, asked: Any) -> Uniform | Lognormal | Weights:
    if isinstance(asked, int) and asked > 0:
        return Uniform(asked, asked)
    name = str(next(iter(asked))) if isinstance(asked, Mapping) and len(asked) == 1 else ""
    if name not in _LENGTHS:
        kinds = ", ".join(_LENGTHS)
        raise WorkloadError(f"{path}: max_tokens: expected a positive number, or one of {kinds} with its values")
    if name == "weights":
        return _checked(path, "max_tokens", Weights, asked)
    return _checked(path, f"max_tokens.{name}", _LENGTHS[name], asked[name])


def _prompts(path: Path, workload: Workload, count: int) -> list[Conversation]:
    if workload.prompts in LABS:
        return lab(workload.prompts).prompts(count, "held_out", seed=workload.seed)
    try:
        prompts, _ = read_prompts(str(path.parent / workload.prompts))
    except ValueError as error:
        raise WorkloadError(f"{path}: prompts: {error}, nor a lab of that name ({', '.join(LABS)})") from None
    return prompts


def _checked(path: Path, place: str, kind: type[Kind], values: Any) -> Kind:
    """`values` as a `kind`, or WorkloadError with the first key at fault."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        problem = min(error.errors(), key=lambda one: one["type"] != _UNKNOWN_KEY)  # else the key it was meant for
        parts = [place, *(str(part) for part in problem["loc"] if part != "[key]")]
        key = ".".join(part for part in parts if part) or "workload"
        known = ", ".join(item.name for item in fields(kind))  # type: ignore[arg-type]  # a dataclass
        message = f"unknown key; there are: {known}" if problem["type"] == _UNKNOWN_KEY else problem["msg"]
        raise WorkloadError(f"{path}: {key}: {message}") from None


def workload_path(workload: str) -> Path:
    """The file of a workload: one that ships, by its name, or any other."""
    shipped = WORKLOADS / f"{workload}.yaml"
    return shipped if shipped.is_file() else Path(workload)


def _shipped() -> str:
    return ", ".join(sorted(path.stem for path in WORKLOADS.glob("*.yaml")))
