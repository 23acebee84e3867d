import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bestofn_server.commands.serve import _QUIET_WARNINGS, _quieten, bundled
from service.rerank.strategies.adaptive import AdaptiveOptions
from service.rerank.strategies.profile import StrategyProfile
from training.labs import model_path


def test_every_lab_brings_its_models() -> None:
    for lab, found in bundled().items():
        assert found.served_name == lab
        assert str(found.model) == model_path(f"{lab}-sft")
        assert str(found.reward_model) == model_path(f"{lab}-reward")


def test_the_lab_arithmetic_brings_how_strategies_are_set() -> None:
    found = bundled()["arithmetic"]
    profile = StrategyProfile.read(str(found.strategy_profile))
    adaptive = profile.complete(AdaptiveOptions())
    assert adaptive.price == 0.3
    assert adaptive.prior != AdaptiveOptions().prior


@pytest.mark.parametrize(
    ("arguments", "environment", "level"),
    [
        ([], None, "ERROR"),
        (["--port", "8001"], None, "ERROR"),
        ([], "INFO", "INFO"),
        (["--log-level", "INFO"], None, None),
        (["--log_level=INFO"], None, None),
        (["--logging-config", "{}"], None, None),
    ],
)
def test_vllm_reports_errors_alone_unless_somebody_asks_for_more(
    arguments: list[str], environment: str | None, level: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("VLLM_LOGGING_LEVEL", environment), ("PYTHONWARNINGS", None)):
        monkeypatch.setenv(name, value or "")  # so that whatever is set is undone
        if value is None:
            monkeypatch.delenv(name)
    _quieten(arguments)
    assert os.environ.get("VLLM_LOGGING_LEVEL") == level
    assert os.environ.get("PYTHONWARNINGS") == (_QUIET_WARNINGS if level == "ERROR" else None)


LEAVES_A_SEMAPHORE = """
import multiprocessing, os
semaphore = multiprocessing.get_context("spawn").Semaphore()
os._exit(0)
"""


@pytest.mark.parametrize(("warnings", "said"), [("", True), (_QUIET_WARNINGS, False)])
def test_what_an_ended_engine_leaves_is_cleaned_up_without_a_word(warnings: str, said: bool) -> None:
    environment = {**os.environ, "PYTHONWARNINGS": warnings}
    command = [sys.executable, "-c", LEAVES_A_SEMAPHORE]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert ("leaked semaphore" in ended.stderr) is said


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_can_be_told_to_stop_while_vllm_is_imported(number: signal.Signals, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "bestofn_server", "serve"], stdout=log, stderr=log)
        give_up_s = time.monotonic() + 60
        while not catches(process.pid, signal.SIGTERM):
            assert process.poll() is None
            assert time.monotonic() < give_up_s
            time.sleep(0.005)
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
        process.send_signal(number)
        assert process.wait(30) == 0
    assert (tmp_path / "log").read_text() == ""
