"""Prometheus in the foreground beside a running server: `make observe`, for machines without Docker.

    python3.11 -m scripts.observe [http://127.0.0.1:8000] [--port 9090] [--data .tools/data]

Reads service/observe/dashboards as it is; only which server to watch is written anew. Needs only Python itself, and
what `scripts.tools` brings.
"""

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from scripts.tools import TOOLS, Missing, Prometheus, bring_prometheus

DASHBOARDS = Path(__file__).resolve().parent.parent / "service/observe/dashboards"
_CONFIGURATION = ("prometheus.yml", "recording.yml", "alerts.yml")
# What the page shows first: the price and the gain of N, then latency.
_GRAPHS = (
    "job_best_of:bestofn_cost_per_request_dollars:mean1h",
    "job_which_best_of:bestofn_reward:mean1h",
    "job_best_of:bestofn_request_duration_seconds:p95_1h",
)
_START_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(prog="observe", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("server", nargs="?", default="http://127.0.0.1:8000", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=9090, help="of Prometheus, on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=TOOLS / "data", help="what it has seen (default: .tools/data)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or Prometheus would outlive this process
    server = args.server if "://" in args.server else f"http://{args.server}"
    try:
        check_server(server)
        sys.exit(observe(bring_prometheus(TOOLS), server, args.port, args.data))
    except (Missing, ValueError) as error:
        sys.exit(f"observe: {error}")


def check_server(server: str) -> None:
    """Raises ValueError with what to do, unless a bestofn server answers there. /metrics needs no API key."""
    try:
        with urllib.request.urlopen(f"{server.rstrip('/')}/metrics", timeout=10) as answer:
            text = answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(f"{server}/metrics answers {error.code}: is this a bestofn server?") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ValueError(
            f'no server answers at {server} ({reason}); start one with `make serve`, or name it: ARGS="host:port"'
        ) from None
    if "bestofn_build_info" not in text:
        raise ValueError(f"{server}/metrics is not bestofn's; does another program use that port?")


def write_configuration(folder: Path, server: str) -> Path:
    """The shipped configuration with `server` as its only target. Returns the file for --config.file."""
    for name in _CONFIGURATION:
        shutil.copyfile(DASHBOARDS / name, folder / name)
    url = urlsplit(server)
    labels = {"__scheme__": url.scheme, "__metrics_path__": f"{url.path.rstrip('/')}/metrics"}
    # JSON is YAML.
    (folder / "targets.yml").write_text(json.dumps([{"targets": [url.netloc], "labels": labels}]))
    return folder / _CONFIGURATION[0]


def start(prometheus: Prometheus, configuration: Path, port: int, data: Path) -> "subprocess.Popen[bytes]":
    """Prometheus on 127.0.0.1, quiet unless something is wrong."""
    command = [
        prometheus.server,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *prometheus.options,
    ]
    return subprocess.Popen(command)


def wait_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Raises ValueError if Prometheus ends, or does not answer in a minute. It has printed why."""
    ends_s = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < ends_s:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
            return
        time.sleep(0.1)
    raise ValueError(f"Prometheus did not start on port {port} (--port takes another)")


def observe(prometheus: Prometheus, server: str, port: int, data: Path) -> int:
    """Until Ctrl-C. Returns Prometheus' exit status.

    Raises:
        ValueError: Prometheus does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = start(prometheus, write_configuration(Path(folder), server), port, data)
        try:
            wait_ready(process, port)
            print(_banner(server, port, data), flush=True)
            return process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            process.terminate()
            process.wait()


def _banner(server: str, port: int, data: Path) -> str:
    # The page's address differs between Debian's Prometheus, 2 and 3: / leads to it.
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        page = answer.geturl()
    graphs = {f"g{index}.{key}": value for index, name in enumerate(_GRAPHS) for key, value in _graph(name).items()}
    alerts = page.rsplit("/", 1)[0] + "/alerts"
    return (
        f"Prometheus watches {server} (data stays in {data}; Ctrl-C ends it). Open\n"
        f"  {page}?{urlencode(graphs)}\n  for cost, reward and latency by N, after two scrapes and some requests, and\n"
        f"  {alerts}\n  for the alerts."
    )


def _graph(expression: str) -> dict[str, str]:
    return {"expr": expression, "tab": "0", "range_input": "15m"}


if __name__ == "__main__":
    main()
