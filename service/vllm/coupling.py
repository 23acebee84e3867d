"""What we rely on in vLLM, and in what it stands on, beyond their promised interfaces: one entry each.

`bestofn serve` checks all of it before it imports the rest of this room, so that a release which changes something
fails with one sentence that names the file to mend. What only running engines show is left to the tests named in
`RUNNING`. How an upgrade goes: docs/upgrading_vllm.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from service.vllm.coupling_checks import engine, http
from service.vllm.coupling_checks.names import failing_imports, one_line

_ROOT = Path(__file__).resolve().parent.parent.parent
_CLIENT, _ENGINES, _SAMPLER = "service/vllm/client.py", "service/vllm/engines.py", "service/vllm/sampling/sampler.py"
_BACKGROUND = "service/vllm/background.py"
_CONVERSATION, _ANSWERS = "service/vllm/conversation.py", "service/vllm/answers.py"
_SERVER, _COMMAND_LINE, _LOAD = "service/vllm/server.py", "service/vllm/command_line.py", "service/vllm/engine_load.py"
_SCORER, _ROLLOUT, _METRICS = "reward/vllm_scorer.py", "training/policy/rollout.py", "service/observe/metrics.py"
_ERRORS, _INNER_APP = "service/http/openai_errors.py", "service/vllm/inner_app.py"
_HTTP_SERVER, _ENGINE_PROCESS = "service/vllm/life/http_server.py", "service/vllm/life/engine_process.py"
_IMPORTING = ("service/vllm/**/*.py", _SCORER)


@dataclass(frozen=True)
class Coupling:
    name: str
    # Our file or folder that has to change when this does.
    used_in: str
    # What the library does, as a sentence.
    promise: str
    # Whether it is so; what this raises means no.
    holds: Callable[[], bool]
    # The distribution that makes the promise.
    library: str = "vllm"

    def problem(self) -> str | None:
        """One sentence, or None where the promise is kept."""
        try:
            found = "" if self.holds() else "it behaves otherwise"
        except (Exception, SystemExit) as error:  # a parser that refuses exits
            found = one_line(error)
        return _sentence(self.library, self.name, self.used_in, self.promise, found) if found else None


@dataclass(frozen=True)
class RunningCoupling:
    """A promise that only running engines show kept."""

    name: str
    used_in: str
    promise: str
    # Files and functions of the tests that show it, as pytest takes them.
    tests: tuple[str, ...]


SERVING = (
    Coupling(
        "application",
        _SERVER,
        "build_app and init_app_state make an application over any engine client, from parsers that are listed",
        http.application,
    ),
    Coupling(
        "HTTP server",
        _HTTP_SERVER,
        "NoSignalServer is a uvicorn server that leaves signals to us, and has a startup after which it listens",
        http.http_server,
    ),
    Coupling(
        "engine process",
        _ENGINE_PROCESS,
        "each engine is a process that runs EngineCoreProc.run_engine_core, and its workers WorkerProc.worker_main, "
        "looked up when they are started",
        engine.engine_process,
    ),
    Coupling(
        "middleware stack",
        _INNER_APP,
        "an application whose middleware_stack is set to None builds it again, with the handlers added since",
        http.middleware_stack,
        library="starlette",
    ),
    Coupling(
        "base model paths",
        _INNER_APP,
        "/v1/models lists what openai_serving_models.base_model_paths holds at the time",
        http.base_model_paths,
    ),
    Coupling(
        "authentication",
        _SERVER,
        "AuthenticationMiddleware refuses /v1 behind any root path without one of its tokens",
        http.authentication,
    ),
    Coupling("environment", _SERVER, "envs knows the variables of the API key and of keep-alive", http.environment),
    Coupling("error body", _ERRORS, "an error is an object with message, type and param", http.error_body),
    Coupling(
        "metrics registry",
        _SERVER,
        "/metrics shows prometheus_client's own registry",
        http.metrics_registry,
    ),
    Coupling(
        "signed histogram",
        _METRICS,
        "a histogram makes its samples in _child_samples, without a sum below zero, and keeps the sum in _sum",
        http.signed_histogram,
        library="prometheus-client",
    ),
    Coupling(
        "arguments",
        _COMMAND_LINE,
        "arguments of the command line have the names that we read, and chunked prefill is undecided by default",
        http.arguments,
    ),
    Coupling(
        "config file",
        _COMMAND_LINE,
        "FlexibleArgumentParser reads --config behind the sub-command serve, our options included",
        http.config_file,
    ),
    Coupling(
        "rendered chat",
        _CONVERSATION,
        "render_chat_async takes conversations, ChatParams and TokenizeParams, and returns conversations and dicts",
        http.rendered_chat,
    ),
    Coupling(
        "answer parsers",
        _ANSWERS,
        "get_parser makes a class from the server's options, whose parse returns reasoning, content and tool calls",
        http.answer_parsers,
    ),
    Coupling(
        "background responses",
        _BACKGROUND,
        "OpenAIServingResponses generates in the background by two methods, and a third reads its event_store",
        http.background_responses,
    ),
    Coupling(
        "engine client",
        _CLIENT,
        "EngineClient declares the members that we replace: generate, renderer, and the four about health",
        engine.engine_client,
    ),
    Coupling(
        "generate",
        _CLIENT,
        "generate is called with prompt, sampling_params and request_id, and names everything else",
        engine.generate,
    ),
    Coupling(
        "dead engine",
        _CLIENT,
        "errored, is_running and dead_error are properties, and EngineDeadError carries our reason",
        engine.dead_engine,
    ),
    Coupling(
        "sampling params",
        _SAMPLER,
        "SamplingParams can be copied, and the copy given its own n, seed, stream_interval, output_kind and skip_clone",
        engine.sampling_params,
    ),
    Coupling(
        "skip_clone",
        _SAMPLER,
        "with skip_clone the engine copies parameters flat, and never takes ours themselves",
        engine.skip_clone,
    ),
    Coupling("seeds", _SAMPLER, "with n > 1 choice i is seeded with seed + i", engine.seeds),
    Coupling(
        "stream_interval",
        _SAMPLER,
        "a request's own stream_interval holds all tokens between the first and the last output back",
        engine.stream_interval,
    ),
    Coupling(
        "abort",
        _SAMPLER,
        "abort takes the ids that we gave, and ends each stream with an output of the tokens held back",
        engine.abort,
    ),
    Coupling(
        "output fields",
        _SAMPLER,
        "an output has our request id, the prompt's tokens, how many were cached, and one completion with index 0",
        engine.output_fields,
    ),
    Coupling(
        "adding outputs",
        _SAMPLER,
        "RequestOutput.add joins the pieces of a stream, or replaces the completion, and changes only its receiver",
        engine.adding_outputs,
    ),
    Coupling(
        "engine",
        _ENGINES,
        "AsyncLLM starts, encodes and shuts down with the arguments that we give, and awaits what we await",
        engine.engine,
    ),
    Coupling(
        "core binding",
        _ENGINES,
        "VLLM_CPU_OMP_THREADS_BIND is read anew each time, as a list of cores",
        engine.core_binding,
    ),
    Coupling(
        "statistics",
        _LOAD,
        "stat_loggers get SchedulerStats of every step, and one that is a PrometheusStatLogger replaces vLLM's own",
        engine.statistics,
    ),
    Coupling(
        "prometheus logger",
        _LOAD,
        "PrometheusStatLogger has no method but those that Unregistered replaces",
        engine.prometheus_logger,
    ),
    Coupling(
        "raw rewards",
        _SCORER,
        "PoolingParams turns the activation off, a pooling output holds data and num_cached_tokens, an input its salt",
        engine.raw_rewards,
    ),
)

# Not of the server: checked by the tests alone, since what it imports takes seconds.
TRAINING = (
    Coupling(
        "new weights",
        _ROLLOUT,
        "LLM.collective_rpc reaches reload_weights, which takes an iterator of named tensors",
        engine.new_weights,
    ),
)

_HERE = "tests/engine/test_coupling.py"
RUNNING = (
    RunningCoupling(
        "routes",
        "service/rerank/request.py",
        "the four endpoints are where we look for them",
        (f"{_HERE}::test_routes",),
    ),
    RunningCoupling(
        "answers",
        "service/http/dialects",
        "each endpoint answers, streams and ends as the official clients expect",
        ("tests/contract/test_openai.py",),
    ),
    RunningCoupling(
        "handlers",
        _INNER_APP,
        "vLLM's application answers with our handlers what is wrong with a request",
        ("tests/contract/test_openai.py::test_bad_input_is_400_and_names_the_field",),
    ),
    RunningCoupling(
        "application state",
        _SERVER,
        "vLLM's error handlers find the engine and the server in app.state, and end it when the engine has died",
        ("tests/engine/test_failure.py::test_a_dead_generator_fails_its_requests_at_once_and_ends_the_process",),
    ),
    RunningCoupling(
        "conversations",
        _CONVERSATION,
        "every chat is rendered by the renderer of the engine client, and what that returned comes back to generate",
        (f"{_HERE}::test_conversations",),
    ),
    RunningCoupling(
        "request ids",
        _SAMPLER,
        "generate takes any id that we make up, and requests of one x-request-id do not meet",
        ("tests/engine/test_failure.py::test_requests_that_share_an_id_do_not_abort_each_other",),
    ),
    RunningCoupling(
        "log-probabilities",
        "service/vllm/sampling/quantities.py",
        "an output has the sum of its tokens' log-probabilities so far, and of each token the drawn one and the top k",
        (
            "tests/engine/test_free_picks.py::test_a_candidates_log_probability_is_the_sum_of_those_that_its_client_sees",
            "tests/engine/test_free_picks.py::test_a_client_gets_the_log_probabilities_that_it_asked_for_and_no_others",
        ),
    ),
    RunningCoupling(
        "greedy candidate",
        _SAMPLER,
        "a copy of parameters that is given temperature 0, top_p 1, top_k 0 and min_p 0 decodes greedily",
        (
            "tests/engine/test_free_picks.py::"
            "test_the_greedy_candidate_is_the_answer_at_temperature_0_and_the_others_stay",
        ),
    ),
    RunningCoupling(
        "aborted tokens",
        _SAMPLER,
        "an aborted stream ends at once, and all its tokens are in its outputs",
        (
            "tests/engine/test_accounting.py::test_tokens_of_aborted_candidates_are_counted_too",
            "tests/engine/test_disconnect.py::test_nothing_runs_after_200_clients_left",
        ),
    ),
    RunningCoupling(
        "core binding at spawn",
        _ENGINES,
        "an engine's processes are children of this one, and bind to the cores that were set when they started",
        (f"{_HERE}::test_core_binding",),
    ),
    RunningCoupling(
        "split prefill",
        _ENGINES,
        "many seeded candidates at once leave an engine on a CPU alive while prefills are not split",
        ("tests/engine/test_failure.py::test_many_seeded_candidates_at_once_do_not_kill_the_engine",),
    ),
    RunningCoupling(
        "prefix cache",
        _SCORER,
        "a pooling engine gives raw rewards, and shares what it has computed of a prompt",
        (
            "tests/engine/test_scorers.py::test_both_scorers_agree_with_plain_transformers",
            "tests/engine/test_scorers.py::test_a_prefix_scored_before_costs_only_its_new_tokens",
            "tests/engine/test_scorers.py::test_one_tenants_prompt_is_not_to_be_guessed_from_anothers_counts",
        ),
    ),
    RunningCoupling(
        "sampling in this process",
        _ROLLOUT,
        "LLM samples in this process with torch's seed, takes new weights, and shuts down",
        (
            f"{_HERE}::test_new_weights",
            "tests/training/policy/test_rollout.py::test_vllm_sampler_gives_the_same_kind_of_answers_one_engine_after_another",
        ),
    ),
)


def require() -> None:
    """Raises SystemExit, with a line for each thing that is not as we need it."""
    if find_spec("vllm") is None:
        raise SystemExit("`bestofn serve` needs vLLM: install bestofn-server[serve], or [serve-cpu] without a GPU")
    if problems := [*missing_names(), *broken(SERVING)]:
        raise SystemExit("\n".join(problems))


def missing_names(patterns: Sequence[str] = _IMPORTING) -> list[str]:
    """A sentence for each import from vLLM that would fail, in our files that match."""
    return [
        _sentence("vllm", "names", f"{one.file} line {one.line}", f"{one.module} has {', '.join(one.names)}", one.found)
        for one in failing_imports(_ROOT, patterns)
    ]


def broken(couplings: Sequence[Coupling]) -> list[str]:
    """A sentence for each promise that is not kept."""
    return [problem for coupling in couplings if (problem := coupling.problem())]


def _sentence(library: str, name: str, used_in: str, promise: str, found: str) -> str:
    release = import_module("vllm").__version__ if library == "vllm" else version(library)
    return f"{library} {release} breaks '{name}', mend {used_in}: it relies on this: {promise} ({found})"
