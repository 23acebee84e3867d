import platform
import sys

import pytest

from measuring.machine import processor, this_command, versions


def test_only_what_is_installed_has_a_version() -> None:
    found = versions(["numpy", "no-such-distribution"])
    assert found.startswith(f"Python {platform.python_version()}, numpy ")
    assert "no-such" not in found


def test_the_processor_has_a_name() -> None:
    assert processor()


def test_a_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bestofn", "sweep", "--output", "my runs"])
    assert this_command() == "bestofn sweep --output 'my runs'"
