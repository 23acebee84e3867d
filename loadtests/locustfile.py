"""Load tests of a running server: many users with a mix of N, streaming or not, from a workload file.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000                         # locust's web page
    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --headless -u 20 -r 5 -t 2m \\
        --stop-timeout 60 --csv runs/load --html runs/load.html --slo-p95-ms 8:1500 --slo-error-rate 0.01
    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --headless -u 50 -t 10m --shape diurnal
    locust -f loadtests/locustfile.py --master ...      and      locust -f loadtests/locustfile.py --worker

Workers take all options from their master; a workload file must be where it is there.

`--stop-timeout` lets requests end that are under way when the time is up, so that the server's counters and locust's
are equal. Against plain vLLM or another OpenAI-compatible server: `--best-of-field n`.

Each request is a row `POST`, timed to its last byte; what else is known of it has rows of its own, which locust's
"Aggregated" row, its request rates and its charts leave out. Their type is the unit of what stands under "response
time"; CSV, HTML, JSON and the web page all carry them:

    POST    chat best_of=8 stream               answered requests, and failed ones
    ms      chat best_of=8 stream answered      the answered ones alone: what objectives are about
    ms      chat best_of=8 stream first byte    time to the end of the first event
    tokens  chat best_of=8 generated            by all candidates of a request (count x average = all)
    tokens  chat best_of=8 returned             in the answer
    429     chat best_of=8 refused              refusals: neither successes nor failures. Time to the refusal
    ms      chat best_of=8 retry-after          how long users were asked to stay away, which they do

Streams and plain answers share the rows of tokens and refusals. The process ends with status 1 when an objective was
missed. The loop is closed: a user who waits asks nothing, so that a server that stalls is asked less, and fewer of its
slow answers are counted than users who come by themselves would see (coordinated omission). Another locustfile can
build on `loadtests.locust.users.BestOfUser` and on its event `answered`.
"""

import argparse
import logging
import re
import time
from collections.abc import Iterable
from typing import Any

from locust import events, stats
from locust.env import Environment
from locust.runners import WorkerRunner
from locust.stats import StatsEntry

from loadtests.locust import objectives as slo
from loadtests.locust import shapes
from loadtests.locust.users import BestOfUser, answered, load_mix
from loadtests.workload import Query, WorkloadError
from measuring.answers import Answer

__all__ = ["BestOfUser"]

_LOGGER = logging.getLogger("bestofn.loadtests")
_ANSWERED = " answered"
_BEST_OF = re.compile(r"chat best_of=(\d+)( stream)?" + _ANSWERED)


@events.init_command_line_parser.add_listener
def add_arguments(parser: Any, **_: Any) -> None:
    """Locust's command line with ours. Objectives are not on the web page: they decide an exit status."""
    parser.add_argument(
        "--workload", default="mixed", help="Mix of N, streaming, prompts: YAML or JSON file, or one that ships."
    )
    parser.add_argument(
        "--best-of-field", default="best_of", choices=["best_of", "n"], help="Field for N; `n` for plain vLLM."
    )
    parser.add_argument("--model", default="", help="Model to name in requests; empty: none.")
    parser.add_argument(
        "--api-key", default="", env_var="OPENAI_API_KEY", is_secret=True, help="Key, where the server asks for one."
    )
    parser.add_argument(
        "--shape",
        default="",
        choices=["", *shapes.CURVES],
        help="Curve of users; -u is its peak and -t its length; -r has no meaning.",
    )
    parser.add_argument(
        "--slo-p95-ms",
        action="append",
        type=_latency_limit,
        default=[],
        include_in_web_ui=False,
        metavar="MS or N:MS",
        help="Miss when the 95 %% quantile (of best_of = N) is above; can be given several times.",
    )
    for name, of in (("error", "failed"), ("refusal", "refused (429)")):
        parser.add_argument(
            f"--slo-{name}-rate",
            type=_share,
            include_in_web_ui=False,
            help=f"Miss when more than this share of requests {of}, 0 to 1.",
        )


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """Read the workload before any user comes, and set shape and statistics up."""
    options: Any = environment.parsed_options
    try:
        load_mix(options.workload)
    except WorkloadError as error:
        raise SystemExit(f"--workload: {error}") from None
    time.sleep(0)  # patched by gevent, which so looks at the clock again: the run starts now, not before the reading
    stats.bucket_response_time = to_three_digits
    time_answers(environment)
    if options.shape:
        environment.shape_class = shapes.Shaped(shapes.CURVES[options.shape])
        environment.shape_class.runner = environment.runner


def to_three_digits(response_time: float) -> int:
    """Below a second to the millisecond, above to half a percent; locust's own rounding is ten times coarser."""
    return round(float(f"{response_time:.3g}"))


def time_answers(environment: Environment) -> None:
    """Keep the row of answered requests beside each row `POST`, which locust times failures in too."""

    def keep(
        request_type: str, name: str, response_time: float, exception: Exception | None, start_time: float, **_: Any
    ) -> None:
        if request_type == "POST" and not exception:
            _log(environment, name + _ANSWERED, "ms", response_time, start_time)

    environment.events.request.add_listener(keep)


@answered.add_listener
def count(environment: Environment, query: Query, answer: Answer, **_: Any) -> None:
    """The rows beside POST."""
    name = f"chat best_of={query.best_of}"
    start_time = time.time() - answer.latency_s

    def log(row: str, unit: str, value: float) -> None:
        _log(environment, row, unit, value, start_time)

    if answer.refused:
        log(f"{name} refused", "429", answer.latency_s * 1000)
        if answer.retry_after_s is not None:
            log(f"{name} retry-after", "ms", answer.retry_after_s * 1000)
    elif answer.ok:
        log(f"{name} generated", "tokens", answer.generated_tokens)
        log(f"{name} returned", "tokens", answer.returned_tokens)
        if answer.first_byte_s is not None:
            log(f"{query.name} first byte", "ms", answer.first_byte_s * 1000)


def _log(environment: Environment, row: str, unit: str, value: float, start_time: float) -> None:
    """A row begins when its first request was sent, and not, as locust's own, when that was answered."""
    entry = environment.stats.get(row, unit)
    entry.log(round(value), 0)
    entry.start_time = min(entry.start_time, start_time)


@events.quitting.add_listener
def finish_csv(environment: Environment, **_: Any) -> None:
    """Locust writes its CSV every second, but not at its end: what came after the last time would be missing."""
    options: Any = environment.parsed_options
    if options.csv_prefix:
        time.sleep(1.5 * stats.CSV_STATS_INTERVAL_SEC)


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Exit status 1 and one line for each objective that was missed; workers leave that to their master."""
    options: Any = environment.parsed_options
    latency = [slo.LatencyLimit.parse(text) for text in options.slo_p95_ms]
    objectives = slo.Objectives(latency, options.slo_error_rate, options.slo_refusal_rate)
    if isinstance(environment.runner, WorkerRunner) or not objectives:
        return
    lines = slo.missed(objectives, seen(environment))
    for line in lines:
        _LOGGER.error("SLO missed: %s", line)
    if lines:
        environment.process_exit_code = 1
    elif objectives.error_rate is not None and only_counted_errors(environment):
        environment.process_exit_code = 0  # these errors are within the limit, which locust does not know


def only_counted_errors(environment: Environment) -> bool:
    """Whether nothing went wrong but requests that `seen` counts: else the status is for locust's rule to decide."""
    exceptions = environment.runner.exceptions if environment.runner else {}
    return not exceptions and all(error.method == "POST" for error in environment.stats.errors.values())


def seen(environment: Environment) -> slo.Seen:
    """What locust has counted. Requests that are named otherwise than ours, another locustfile's, have no N."""
    entries = list(environment.stats.entries.values())
    posts = [entry for entry in entries if entry.method == "POST"]
    failed = sum(entry.num_failures for entry in posts)
    timed = [entry for entry in entries if entry.method == "ms" and entry.name.endswith(_ANSWERED)]
    by_best_of: dict[int | None, list[StatsEntry]] = {None: timed} if timed else {}
    for entry in timed:
        if match := _BEST_OF.fullmatch(entry.name):
            by_best_of.setdefault(int(match[1]), []).append(entry)
    return slo.Seen(
        answered=sum(entry.num_requests for entry in posts) - failed,
        failed=failed,
        refused=sum(entry.num_requests for entry in entries if entry.method == "429"),
        p95_ms={best_of: _p95_ms(of) for best_of, of in by_best_of.items()},
    )


def _p95_ms(entries: Iterable[StatsEntry]) -> float:
    times: dict[int, int] = {}
    for entry in entries:
        for value, number in entry.response_times.items():
            times[value] = times.get(value, 0) + number
    return stats.calculate_response_time_percentile(times, sum(times.values()), 0.95)


def _latency_limit(text: str) -> str:
    """Checked, but still text: a master sends its options to its workers."""
    try:
        slo.LatencyLimit.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, not {text!r}")
    return share
