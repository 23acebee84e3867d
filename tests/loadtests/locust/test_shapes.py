"""Without importing locust, which would patch the sockets of this process: in one of its own."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json
from loadtests.locust.shapes import CURVES, users_at
seconds = [0, 9, 25, 39, 41, 50, 59, 61, 99, 100]
print(json.dumps({name: [users_at(c, s, peak=20, run_s=100.0) for s in seconds] for name, c in CURVES.items()}))
"""


@pytest.fixture(scope="module")
def users() -> dict[str, list[int | None]]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    curves: dict[str, list[int | None]] = json.loads(done.stdout)
    return curves


def test_every_shape_ends_with_its_run_and_has_a_user_until_then(users: dict[str, list[int | None]]) -> None:
    assert sorted(users) == ["diurnal", "ramp", "spike", "step"]
    for counts in users.values():
        assert counts[-1] is None
        assert all(1 <= (count or 0) <= 20 for count in counts[:-1])


def test_shapes_are_what_they_are_called(users: dict[str, list[int | None]]) -> None:
    assert users["ramp"] == [1, 2, 5, 8, 8, 10, 12, 12, 20, None]
    assert users["step"] == [4, 4, 8, 8, 12, 12, 12, 16, 20, None]
    assert users["spike"] == [4, 4, 4, 4, 20, 20, 20, 4, 4, None]
    assert users["diurnal"] == [4, 5, 12, 18, 19, 20, 19, 18, 4, None]


def test_locust_which_patches_the_standard_library_stays_out_of_everything_else() -> None:
    modules = "sys, service.http.app, bestofn_server.cli, loadtests.sweep.measure, loadtests.bench.overload"
    program = f"import {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"gevent", "locust"} & set(done.stdout.split())
