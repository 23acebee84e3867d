"""Every setting of ours, once: type, default, help, bounds. vLLM's own settings are vLLM's.

Command line over environment (`BESTOFN_MAX_BEST_OF=32`) over `--config` file over default.
"""

import argparse
import json
import logging
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from service.rerank import strategies
from service.rerank.options import DEFAULT_STRATEGY
from service.rerank.prices import HourlyPrice, Prices, TokenPrices
from service.rerank.selection import ARGMAX, FREE, PICKS, Selection
from service.rerank.strategies.profile import DEFAULTS, StrategyProfile
from service.rerank.supervised_scorer import OnRewardFailure
from service.rerank.variants import help_of, named

# Kubernetes describes each Service to every pod of its namespace, so one called "bestofn-metrics" in
# BESTOFN_METRICS_SERVICE_HOST, BESTOFN_METRICS_PORT, BESTOFN_METRICS_PORT_8000_TCP and more; Docker's links are alike.
_KUBERNETES = re.compile(r"BESTOFN_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")
_SURELY_MEANT = 0.9  # how alike names are of which one is a slip of the other: a letter more, less, or exchanged
_PERHAPS_MEANT = 0.6
_logger = logging.getLogger(__name__)
_OWN_OPTIONS = {
    "model": "--reward-model",
    "dtype": "--reward-dtype",
    "gpu_memory_utilization": "--reward-gpu-memory-utilization",
    "runner": "--reward-backend",
}


def _known_strategy(name: str) -> str:
    return named(strategies.STRATEGIES, name).name


class Settings(BaseSettings):
    """Settings of `bestofn serve` beside those of `vllm serve`."""

    model_config = SettingsConfigDict(env_prefix="BESTOFN_", frozen=True, extra="forbid")

    reward_model: str | None = Field(
        default=None,
        description="Reward model: a path or Hugging Face name that AutoModelForSequenceClassification loads. "
        "Default: the bundled one, when the bundled policy is served; else none, and what needs no reward is offered.",
    )
    reward_backend: Literal["vllm", "torch"] = Field(
        default="vllm", description="What computes rewards: a vLLM pooling engine, or transformers in this process."
    )
    reward_device: str = Field(
        default="auto",
        description="Device of the torch backend: auto, cpu, cuda, cuda:1. See --reward-engine-args for the other.",
    )
    reward_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Precision of the reward model: auto, float32, bfloat16, float16."
    )
    reward_gpu_memory_utilization: float = Field(
        default=0.3,
        gt=0,
        lt=0.92,
        description="Share of the device's memory for the reward engine. The generator takes what vLLM's default "
        "leaves of it, unless --gpu-memory-utilization is given.",
    )
    reward_engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="More arguments of the reward model's vLLM engine, as JSON: "
        '\'{"max_model_len": 4096, "tensor_parallel_size": 2}\'.',
    )
    best_of: int = Field(default=1, ge=1, description="Candidates per prompt when a request asks for no number.")
    max_best_of: int = Field(default=64, ge=1, le=4096, description="The most candidates a request may ask for.")
    max_candidates: int = Field(
        default=512,
        ge=1,
        description="Candidates that the engines work on at once, over all requests; past it they wait in turn.",
    )
    max_queued_requests: int = Field(
        default=128,
        ge=0,
        description="Requests that wait for their first candidate's place; past it they get 429 with a time to retry.",
    )
    max_queue_s: float = Field(
        default=10, gt=0, allow_inf_nan=False, description="Seconds that a request waits so, before it gets 429."
    )
    write_timeout_s: float = Field(
        default=60,
        ge=1,
        le=86_400,
        description="Seconds after which a client that takes nothing of what was sent is disconnected (on Linux).",
    )
    slo_p99_ms: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Target: 99 of 100 answers within so many milliseconds. N is lowered while the server is too busy "
        "for it, and the answer's `rerank` reports that; `rerank.fixed_best_of` is a request's way out.",
    )
    selection: Annotated[Selection, NoDecode, BeforeValidator(Selection.of_setting)] = Field(
        default=ARGMAX,
        description="How to choose among the candidates when a request has no `rerank.selection`: JSON such as "
        f'\'{{"pick": "soft", "temperature": 0.2}}\', or just a pick. {help_of(PICKS)}.',
    )
    on_reward_failure: OnRewardFailure = Field(
        default="error",
        description="Without a reward model: answer 503, or with as many answers as are returned, marked unranked.",
    )
    reward_timeout_s: float = Field(
        default=60, gt=0, description="Seconds after which a score that has not come counts as a reward failure."
    )
    reward_hang_s: float = Field(
        default=10,
        gt=0,
        description="Seconds without a score or a step, though one was asked for, after which it is down.",
    )
    prefix_score_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Also score growing candidates every so many tokens, which leaves only a tail to score at the end.",
    )
    strategy: Annotated[str, AfterValidator(_known_strategy)] = Field(
        default=DEFAULT_STRATEGY,
        description="How candidates are sampled and stopped when a request names no strategy. "
        f"{help_of(strategies.STRATEGIES)}.",
    )
    strategy_profile: str | None = Field(
        default=None,
        description="JSON file that sets strategies where a request does not: `bestofn replay --learn` writes it.",
    )
    gpu_hour_dollars: float | None = Field(
        default=None,
        gt=0,
        description="Price of an hour of all that this server runs on. Requests are charged by the share of the time "
        "that their candidates and scores were at work, in `rerank.cost` and bestofn_cost_dollars_total.",
    )
    prompt_mtoken_dollars: float | None = Field(
        default=None, ge=0, description="Instead: price of a million prompt tokens that no prefix cache held."
    )
    generated_mtoken_dollars: float | None = Field(
        default=None, ge=0, description="Instead: price of a million generated tokens, of all candidates."
    )
    scored_mtoken_dollars: float | None = Field(
        default=None, ge=0, description="Instead: price of a million tokens that the reward model computed."
    )
    candidate_log: str | None = Field(
        default=None,
        min_length=1,
        description="Directory that keeps every prompt that the reward model was asked about, its candidates and their "
        "rewards, for training: JSON lines, in clear text. Nothing is deleted there, and plain N = 1 is not kept.",
    )
    candidate_log_max_mb: int = Field(
        default=256, ge=1, description="Size in MB (a million bytes) at which the candidate log begins another file."
    )

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        if self.best_of > self.max_best_of:
            raise ValueError(f"--best-of {self.best_of} is above --max-best-of {self.max_best_of}")
        if self.max_best_of > self.max_candidates:
            raise ValueError(
                f"--max-best-of {self.max_best_of}: so many candidates never run at once, "
                f"since --max-candidates is {self.max_candidates}"
            )
        if self.gpu_hour_dollars is not None and self._mtoken_dollars:
            raise ValueError(f"--gpu-hour-dollars and --{_option(next(iter(self._mtoken_dollars)))} exclude each other")
        for name, option in _OWN_OPTIONS.items():
            if name in self.reward_engine_args:
                raise ValueError(f"--reward-engine-args may not hold {name}: use {option}")
        self.profile  # noqa: B018  a file that cannot be read is an error of the settings; a later copy may name another
        return self

    def without_reward_model(self) -> Self:
        """The same, with a default selection that needs no reward. Raises ValueError for what was set and needs one."""
        none = "needs a reward model; give one with --reward-model, or choose another"
        if named(strategies.STRATEGIES, self.strategy).reads_reward:
            raise ValueError(f"--strategy: {self.strategy} {none}")
        if "selection" not in self.model_fields_set:
            return self.model_copy(update={"selection": FREE})
        if self.selection.needs_reward:
            raise ValueError(f"--selection: {self.selection} {none}")
        return self

    @property
    def profile(self) -> StrategyProfile:
        """Of the file that `strategy_profile` names. Raises ValueError for what is no such file."""
        try:
            return DEFAULTS if self.strategy_profile is None else StrategyProfile.read(self.strategy_profile)
        except ValueError as error:
            raise ValueError(f"--strategy-profile: {error}") from None

    @property
    def _mtoken_dollars(self) -> dict[str, float]:
        names = ("prompt_mtoken_dollars", "generated_mtoken_dollars", "scored_mtoken_dollars")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def prices(self) -> Prices | None:
        """What work is charged at; None where no price was given."""
        if self.gpu_hour_dollars is not None:
            return HourlyPrice(self.gpu_hour_dollars)
        given = self._mtoken_dollars
        return (
            TokenPrices(**{name.removesuffix("_mtoken_dollars"): value for name, value in given.items()})
            if given
            else None
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `resolve` hands over; it has merged the sources already."""
        return (init_settings,)

    @classmethod
    def resolve(cls, command_line: Mapping[str, Any], file: Mapping[str, Any]) -> Self:
        """command_line: what was given there. file: our keys of the `--config` file.

        Raises:
            ValueError: a value is out of bounds, or an environment variable is a setting's with a slip in its name.
        """
        _judge_environment({f"BESTOFN_{name.upper()}" for name in cls.model_fields})
        return cls(**{**file, **EnvSettingsSource(cls)(), **command_line})


def _judge_environment(known: set[str]) -> None:
    """A slip in a setting's name would leave the setting as it is in silence, so it is refused.

    Any other name may be somebody else's, since programs beside this one and deployment tools give out names too: it
    is warned of, with the setting that comes nearest.
    """
    for name in sorted(os.environ):
        if not name.startswith("BESTOFN_") or name in known or _KUBERNETES.fullmatch(name):
            continue
        if near := _nearest(name, known, _SURELY_MEANT):
            raise ValueError(f"the environment variable {name} names no setting of bestofn; did you mean {near}?")
        hint = f"; did you mean {near}?" if (near := _nearest(name, known, _PERHAPS_MEANT)) else ""
        _logger.warning("the environment variable %s names no setting of bestofn and is ignored%s", name, hint)


def _nearest(name: str, known: set[str], least: float) -> str | None:
    """Compared without what all have in common, the prefix and the underscores."""
    bare = {_bare(each): each for each in known}
    return next((bare[found] for found in get_close_matches(_bare(name), bare, 1, least)), None)


def _bare(name: str) -> str:
    return name.removeprefix("BESTOFN_").replace("_", "")


USAGE = "bestofn serve [MODEL] [--reward-model MODEL] [--best-of N] [options of `vllm serve`]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser one option per setting. What is not given on the command line stays absent from the namespace."""
    group = parser.add_argument_group("bestofn", "Best-of-N reranking.")
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        text = (field.description or "").replace("%", "%%")
        group.add_argument(
            f"--{_option(name)}",
            dest=name,
            default=argparse.SUPPRESS,
            type=_json_object if name == "reward_engine_args" else str,
            help=f"{text} (default: {default})",
        )


def _option(name: str) -> str:
    return name.replace("_", "-")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value
