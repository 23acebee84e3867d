"""The command line of `bestofn serve`: vLLM's arguments and our settings."""

from argparse import Namespace, _SubParsersAction
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

from service.records.durable_file import prepare
from service.settings import USAGE, Settings, add_arguments
from service.vllm.bundled import Bundled, use_bundled_policy, with_bundled_reward

CANNOT_BE_SERVED = 2  # exit status
_BUNDLED = "the bundled model"  # stands where vLLM asks for a model
_COMMENTS_S = 1.0  # between comments in a stream that has nothing else to send, where vLLM's option is not given
_NEAR = 0.7  # of names that may be meant for each other


def parse(argv: Sequence[str], bundled: Mapping[str, Bundled]) -> tuple[Namespace, Settings]:
    """vLLM's arguments and our settings, from one command line (and `--config` file).

    bundled: by what MODEL may name them; the first is served where there is no MODEL.

    Exits with a message, as argparse does, for what cannot be meant. The arguments get one of ours: stream_comments_s,
    of `Dependencies`.
    """
    parser = _serve_parser()
    defaults = vars(parser.parse_args(["serve"]))
    try:
        argv = _split_config(argv)
        _check_config_files(argv)
        args, command_line = _read(parser, argv)
        merged = {name: getattr(args, name) for name in Settings.model_fields if hasattr(args, name)}
        settings = Settings.resolve(command_line, file=merged)
    except (ValueError, OSError) as error:
        parser.error(_one_line(error))
    args.model = args.model_tag or args.model
    if (models := _bundled(args.model, defaults["model"], bundled)) is not None:
        use_bundled_policy(args, defaults, models)
        settings = settings if settings.reward_model else with_bundled_reward(settings, models)
    if settings.reward_model is None:
        try:
            settings = settings.without_reward_model()
        except ValueError as error:
            parser.error(_one_line(error))
    shared_device = settings.reward_backend == "vllm" or settings.reward_device != "cpu"
    if settings.reward_model and shared_device and args.gpu_memory_utilization == defaults["gpu_memory_utilization"]:
        args.gpu_memory_utilization -= settings.reward_gpu_memory_utilization
    args.stream_comments_s = _COMMENTS_S if args.sse_keep_alive_interval is None else args.sse_keep_alive_interval
    args.sse_keep_alive_interval = args.sse_keep_alive_interval or 0
    _refuse_unsupported(parser, args, settings)
    try:
        validate_parsed_serve_args(args)
    except Exception as error:  # vLLM's own are of many kinds
        parser.error(_one_line(error))
    return args, settings


def _bundled(model: str, default: str, bundled: Mapping[str, Bundled]) -> Bundled | None:
    """What ships with the package under that name; a folder of the same name goes before it."""
    name = next(iter(bundled)) if model == default else model
    return None if Path(name).exists() else bundled.get(name)


def _split_config(argv: Sequence[str]) -> list[str]:
    """vLLM overlooks a file that is given as `--config=FILE`."""
    return [part for word in argv for part in (word.split("=", 1) if word.startswith("--config=") else [word])]


def _check_config_files(argv: Sequence[str]) -> None:
    """Raises ValueError or OSError for a file that vLLM would log about, or fail on by a traceback."""
    for at, word in enumerate(argv):
        if word != "--config":
            continue
        if at + 1 == len(argv) or argv[at + 1].startswith("--"):
            raise ValueError("--config: expected a file")
        path = Path(argv[at + 1])
        try:
            options = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"--config: {path} cannot be read ({error.strerror}); correct the path") from None
        except (yaml.YAMLError, UnicodeError) as error:
            raise ValueError(f"--config: {path} is not valid YAML: {error}") from None
        if not isinstance(options, dict):
            raise ValueError(f"--config: {path} has to hold options, each as `name: value`")


def _read(parser: FlexibleArgumentParser, argv: list[str]) -> tuple[Namespace, dict[str, Any]]:
    """All arguments, and what of ours the command line itself gives.

    vLLM reads a file only behind a model, which may be missing here, stand behind options, or come from the file.
    """
    at = argv.index("--config") if "--config" in argv else len(argv)
    without_file = [*argv[:at], *argv[at + 2 :]]
    ours = _Parser(add_help=False, allow_abbrev=False)  # type: ignore[no-untyped-call]
    add_arguments(ours)
    command_line = dict(vars(ours.parse_known_args(without_file)[0]))  # type: ignore[no-untyped-call]
    model = parser.parse_args(["serve", *without_file]).model_tag
    if at == len(argv):
        return parser.parse_args(["serve", *argv]), command_line
    if model is not None:
        del without_file[_position(parser, without_file, model)]
    named = model or ("" if _names_model(parser, argv[at:]) else _BUNDLED)
    args = parser.parse_args(["serve", *([named] if named else []), *argv[at : at + 2], *without_file])
    args.model_tag = model
    return args, command_line


def _position(parser: FlexibleArgumentParser, argv: list[str], model: str) -> int:
    """Where the model stands; an option's value may be the same word."""
    for at, word in enumerate(argv):
        if word == model and parser.parse_args(["serve", *argv[:at], _BUNDLED, *argv[at + 1 :]]).model_tag == _BUNDLED:
            return at
    raise AssertionError


def _names_model(parser: FlexibleArgumentParser, config: Sequence[str]) -> bool:
    return "--model" in parser.load_config_file(config[1])


def _serve_parser() -> FlexibleArgumentParser:
    """vLLM's parser finds the model and `--config` only behind a sub-command, so there is one."""
    parser = _Parser(prog="bestofn")  # type: ignore[no-untyped-call]
    commands = parser.add_subparsers(dest="subparser")
    serve_parser = commands.add_parser(
        "serve",
        usage=USAGE,
        description="Serve a model with best-of-N reranking. MODEL may be the name of a lab, whose bundled models are "
        "served; without MODEL it is arithmetic.",
        epilog="Our own options: bestofn serve --help=bestofn. All options: bestofn serve --help=all.",
    )
    add_arguments(make_arg_parser(serve_parser))
    serve_parser.set_defaults(sse_keep_alive_interval=None)  # so that a given 0 can be known from none
    return parser


class _Parser(FlexibleArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as every refusal is; with the nearest option for one that there is not."""
        message = " ".join(message.split())
        before, separator, unknown = message.partition("unrecognized arguments: ")
        if separator:
            name = unknown.split()[0].partition("=")[0].replace("_", "-")
            (commands,) = (action for action in self._actions if isinstance(action, _SubParsersAction))
            near = get_close_matches(name, commands.choices["serve"]._option_string_actions, 1, _NEAR)
            message = f"{before}{separator}{unknown}" + (f" (did you mean {near[0]}?)" if near else "")
        self.exit(CANNOT_BE_SERVED, f"bestofn serve: {message}\n")


def _one_line(error: Exception) -> str:
    """The first thing that is wrong, with the option it is about."""
    if not isinstance(error, ValidationError):
        return str(error).removeprefix("Error: ")
    first = error.errors()[0]
    option = "".join(f"--{str(part).replace('_', '-')}: " for part in first["loc"][:1])
    given = f", not {first['input']!r}" if first["loc"] else ""
    return f"{option}{first['msg'].removeprefix('Value error, ')}{given}"


def _refuse_unsupported(parser: FlexibleArgumentParser, args: Namespace, settings: Settings) -> None:
    if args.headless or args.grpc or (args.api_server_count or 1) != 1:
        parser.error(
            "--headless, --grpc and more than one --api-server-count are vllm serve's; "
            "run several bestofn servers behind a load balancer instead"
        )
    if settings.candidate_log is not None:
        try:
            prepare(Path(settings.candidate_log))
        except OSError as error:
            reason = error.strerror or error
            parser.error(f"--candidate-log: no file can be made in {settings.candidate_log} ({reason}); name another")
