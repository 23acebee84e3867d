"""The command line of `bestofn serve`: vLLM's arguments and our settings."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

from service.records.durable_file import prepare
from service.settings import Settings, add_arguments
from service.vllm.bundled import Bundled, use_bundled_policy, with_bundled_reward


def parse(argv: Sequence[str], bundled: Bundled) -> tuple[Namespace, Settings]:
    """vLLM's arguments and our settings, from one command line (and `--config` file); `bundled` where it has no MODEL.

    Exits with a message, as argparse does, for what cannot be meant.
    """
    parser = _serve_parser()
    args = parser.parse_args(["serve", *argv])
    ours = FlexibleArgumentParser(add_help=False, allow_abbrev=False)
    add_arguments(ours)
    command_line = vars(ours.parse_known_args(list(argv))[0])
    merged = {name: getattr(args, name) for name in Settings.model_fields if hasattr(args, name)}
    try:
        settings = Settings.resolve(command_line, file=merged)
    except ValueError as error:
        parser.error(_one_line(error))
    defaults = vars(parser.parse_args(["serve"]))
    if args.model_tag is not None:
        args.model = args.model_tag
    else:
        use_bundled_policy(args, defaults, bundled)
        settings = settings if settings.reward_model else with_bundled_reward(settings, bundled)
    shared_device = settings.reward_backend == "vllm" or settings.reward_device != "cpu"
    if shared_device and args.gpu_memory_utilization == defaults["gpu_memory_utilization"]:
        args.gpu_memory_utilization -= settings.reward_gpu_memory_utilization
    _refuse_unsupported(parser, args, settings)
    validate_parsed_serve_args(args)
    return args, settings


def _serve_parser() -> FlexibleArgumentParser:
    """vLLM's parser finds the model and `--config` only behind a sub-command, so there is one."""
    parser = FlexibleArgumentParser(prog="bestofn")
    commands = parser.add_subparsers(dest="subparser")
    serve_parser = commands.add_parser(
        "serve",
        usage="bestofn serve [MODEL] [--reward-model MODEL] [--best-of N] [options of `vllm serve`]",
        description="Serve a model with best-of-N reranking. Without MODEL: the bundled lab models.",
        epilog="Our own options: bestofn serve --help=bestofn. All options: bestofn serve --help=all.",
    )
    add_arguments(make_arg_parser(serve_parser))
    return parser


def _one_line(error: ValueError) -> str:
    """The first thing that is wrong, with the option it is about."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    option = "".join(f"--{str(part).replace('_', '-')}: " for part in first["loc"][:1])
    given = f", not {first['input']!r}" if first["loc"] else ""
    return f"{option}{first['msg'].removeprefix('Value error, ')}{given}"


def _refuse_unsupported(parser: FlexibleArgumentParser, args: Namespace, settings: Settings) -> None:
    if settings.reward_model is None:
        parser.error("--reward-model is needed: a path or Hugging Face name of a sequence classification model")
    if args.headless or args.grpc or (args.api_server_count or 1) != 1:
        parser.error(
            "--headless, --grpc and more than one --api-server-count are vllm serve's; "
            "run several bestofn servers behind a load balancer instead"
        )
    if settings.candidate_log is not None:
        try:
            prepare(Path(settings.candidate_log))
        except OSError as error:
            parser.error(f"--candidate-log: {error}")
