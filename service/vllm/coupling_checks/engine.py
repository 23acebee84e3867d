"""The checks of `coupling` on vLLM's engines: how requests go in and outputs come out. See `http` beside this."""

import copy
import inspect
import os
from typing import Any
from unittest.mock import patch

_OUR_ID = "bestofn-0"
_BIND = "VLLM_CPU_OMP_THREADS_BIND"
_UNLIMITED = 1 << 30


def engine_client() -> bool:
    from vllm.engine.protocol import EngineClient

    replaced = {"generate", "check_health", "errored", "is_running", "dead_error", "renderer"}
    return replaced <= EngineClient.__abstractmethods__ | EngineClient.__annotations__.keys()


def generate() -> bool:
    from vllm.v1.engine.async_llm import AsyncLLM

    parameters = list(inspect.signature(AsyncLLM.generate).parameters.values())[1:]
    positional = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    return positional == ["prompt", "sampling_params", "request_id"]


def engine() -> bool:
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    inspect.signature(AsyncLLM.from_engine_args).bind(
        "args", usage_context=UsageContext.OPENAI_API_SERVER, stat_loggers=[]
    )
    inspect.signature(AsyncLLM.encode).bind("self", "prompt", "params", "id")
    plain = [AsyncLLM.from_engine_args, AsyncLLM.get_tokenizer, AsyncLLM.shutdown, current_platform.is_cpu]
    awaited = [AsyncLLM.abort, AsyncLLM.check_health, AsyncLLM.get_supported_tasks]
    return all(map(inspect.iscoroutinefunction, awaited)) and not any(map(inspect.iscoroutinefunction, plain))


def dead_engine() -> bool:
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.exceptions import EngineDeadError

    states = (AsyncLLM.errored, AsyncLLM.is_running, AsyncLLM.dead_error)
    return "our reason" in str(EngineDeadError("our reason")) and all(isinstance(state, property) for state in states)


def sampling_params() -> bool:
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    asked = SamplingParams(n=4, seed=1, temperature=0.5)
    child = copy.copy(asked)
    child.n, child.seed, child.stream_interval = 1, 2, 8
    child.output_kind, child.skip_clone = RequestOutputKind.DELTA, True
    return (asked.n, asked.seed, asked.temperature, asked.stream_interval, asked.skip_clone) == (4, 1, 0.5, None, False)


def skip_clone() -> bool:
    from vllm.sampling_params import SamplingParams

    params = SamplingParams(logit_bias={1: 1.0}, skip_clone=True)
    clone = params.clone()
    return clone is not params and clone.logit_bias is params.logit_bias


def seeds() -> bool:
    from vllm.v1.engine.parallel_sampling import ParentRequest

    parent = ParentRequest(_request(n=3, seed=7))
    return [parent.get_child_info(index)[1].seed for index in range(3)] == [7, 8, 9]


def stream_interval() -> bool:
    first, *held, last = _streamed(stream_interval=_UNLIMITED)
    return held == [None, None] and [_tokens(first), _tokens(last)] == [[5], [6, 7]]


def abort() -> bool:
    from vllm.v1.engine.async_llm import AsyncLLM

    last = _streamed(stream_interval=_UNLIMITED)[-1]
    by_our_id = inspect.signature(AsyncLLM.abort).parameters["internal"].default is False
    ended = (last.request_id, last.finished, last.outputs[0].finish_reason) == (_OUR_ID, True, "abort")
    return by_our_id and ended and _tokens(last) == [6, 7]


def output_fields() -> bool:
    output = _streamed(stream_interval=1)[0]
    completion = output.outputs[0]
    return (
        (output.request_id, output.finished, output.prompt_token_ids) == (_OUR_ID, False, [1, 2])
        and (output.num_cached_tokens, output.metrics) == (0, None)
        and (completion.index, completion.text, completion.finish_reason, completion.logprobs) == (0, "", None, None)
    )


def adding_outputs() -> bool:
    first, *rest = _streamed(stream_interval=1)
    for output in (first, *rest):
        output.outputs[0].logprobs = [{}]
    whole = copy.copy(first)
    whole.outputs = [copy.copy(first.outputs[0])]
    whole.outputs[0].token_ids, whole.outputs[0].logprobs = list(_tokens(first)), [{}]
    for output in rest:
        whole.add(output, aggregate=True)
    completion = whole.outputs[0]
    summed = (completion.token_ids, len(completion.logprobs), completion.finish_reason) == ([5, 6, 7], 4, "abort")
    untouched = (_tokens(first), len(first.outputs[0].logprobs), first.finished) == ([5], 1, False)
    whole.add(first, aggregate=False)
    return summed and untouched and whole.finished and _tokens(whole) == [5]


def statistics() -> bool:
    from vllm.v1.metrics.loggers import StatLoggerManager
    from vllm.v1.metrics.stats import SchedulerStats

    from service.vllm.engine_load import EngineLoad, Unregistered

    load, config = EngineLoad(), None
    manager = StatLoggerManager(config, [0], [Unregistered, load.logger], enable_default_loggers=False)  # type: ignore[arg-type]
    manager.record(SchedulerStats(num_waiting_reqs=2, num_skipped_waiting_reqs=1, kv_cache_usage=0.5), None)
    manager.log_engine_initialized()
    return (len(manager.stat_loggers), load.waiting, load.kv_cache_usage) == (2, 3, 0.5)


def prometheus_logger() -> bool:
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    from service.vllm.engine_load import Unregistered

    reached = {"log_metrics_info"}  # by `log_engine_initialized` alone
    theirs = {name for name, value in vars(PrometheusStatLogger).items() if inspect.isfunction(value)}
    if missing := theirs - reached - vars(Unregistered).keys():
        raise AttributeError(f"Unregistered lacks {', '.join(sorted(missing))}")
    return True


def core_binding() -> bool:
    from vllm import envs
    from vllm.utils.cpu_resource_utils import parse_id_list

    seen = []
    for cores in ("0,1", "2,3"):
        with patch.dict(os.environ, {_BIND: cores}):
            seen.append(parse_id_list(envs.VLLM_CPU_OMP_THREADS_BIND))
    return seen == [[0, 1], [2, 3]]


def raw_rewards() -> bool:
    import torch
    from vllm.inputs import tokens_input
    from vllm.outputs import PoolingOutput, PoolingRequestOutput
    from vllm.pooling_params import PoolingParams

    params = PoolingParams(task="classify", use_activation=False)
    output = PoolingRequestOutput("id", PoolingOutput(torch.tensor([-2.0])), [1], 1, True)
    return (
        params.use_activation is False
        and tokens_input([1, 2], cache_salt="a") == {"type": "token", "prompt_token_ids": [1, 2], "cache_salt": "a"}
        and (output.outputs.data.tolist(), output.num_cached_tokens) == ([-2.0], 1)
    )


def new_weights() -> bool:
    from vllm import LLM
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    inspect.signature(LLM.collective_rpc).bind("self", "reload_weights", kwargs={})
    inspect.signature(LLM.reset_prefix_cache).bind("self")
    inspect.signature(GPUModelRunner.reload_weights).bind("self", weights_iterator=iter(()))
    return True


def _request(**params: Any) -> Any:
    """A request as the front end of an engine holds it, started under our id."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams
    from vllm.v1.engine import EngineCoreRequest
    from vllm.v1.engine.input_processor import InputProcessor

    sampling = SamplingParams(output_kind=RequestOutputKind.DELTA, detokenize=False, **params)
    absent: Any = dict.fromkeys(("mm_features", "pooling_params", "lora_request", "cache_salt", "data_parallel_rank"))
    request = EngineCoreRequest(
        request_id=_OUR_ID, prompt_token_ids=[1, 2], sampling_params=sampling, arrival_time=0.0, **absent
    )
    InputProcessor.assign_request_id(request)
    return request


def _streamed(*, stream_interval: int) -> list[Any]:
    """What a reader gets after each of the tokens 5, 6 and 7, and after an abort by our id; None is nothing."""
    from vllm.v1.engine import EngineCoreOutput
    from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector

    request, processor = _request(stream_interval=stream_interval), OutputProcessor(None, log_stats=False)
    queue = RequestOutputCollector(request.params.output_kind, request.request_id)
    processor.add_request(request, None, None, 0, queue)
    read = []
    for token in (5, 6, 7):
        processor.process_outputs([EngineCoreOutput(request.request_id, [token])])
        read.append(queue.get_nowait())
    processor.abort_requests([_OUR_ID], internal=False)
    return [*read, queue.get_nowait()]


def _tokens(output: Any) -> list[int]:
    tokens: list[int] = output.outputs[0].token_ids
    return tokens


def engine_process() -> bool:
    from vllm.v1.engine.core import EngineCoreProc
    from vllm.v1.engine.utils import CoreEngineProcManager
    from vllm.v1.executor.multiproc_executor import WorkerProc

    started = inspect.getsource(CoreEngineProcManager.__init__)
    started += inspect.getsource(WorkerProc.make_worker_process)
    run = ((EngineCoreProc, "run_engine_core"), (WorkerProc, "worker_main"))
    return all(
        isinstance(inspect.getattr_static(cls, name), staticmethod) and f"target={cls.__name__}.{name}," in started
        for cls, name in run
    )
