"""An address is one server's from before its engines start."""

import errno
import socket
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

from service.vllm.life.address import bound
from service.vllm.life.preflight import NotServable

PATIENT_S = 60.0


def arguments(**changes: Any) -> Namespace:
    return Namespace(
        **{**vars(make_arg_parser(FlexibleArgumentParser()).parse_args([])), "host": "127.0.0.1", **changes}
    )


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_refused(taken: int) -> None:
    with (
        pytest.raises(NotServable, match=f"--port: {taken} is in use; stop what listens there"),
        bound(arguments(port=taken), PATIENT_S),
    ):
        pass


def test_a_host_that_is_not_this_machines_is_refused() -> None:
    with (
        pytest.raises(NotServable, match=r"--host: 192\.0\.2\.1:8000 cannot be listened on"),
        bound(arguments(host="192.0.2.1", port=8000), PATIENT_S),
    ):
        pass


def test_the_port_of_a_server_that_is_starting_is_refused_and_free_again_when_it_has_ended(taken: int) -> None:
    with bound(arguments(port=0), PATIENT_S) as first:
        port = first.sock.getsockname()[1]
        with (
            pytest.raises(NotServable, match=f"--port: {port} is in use"),
            bound(arguments(port=port), PATIENT_S),
        ):
            pass
        first.open()
        first.sock.listen()
        with socket.create_connection(("127.0.0.1", port)) as client:
            connection, _ = first.sock.accept()
            connection.close()  # first, so that it is this side that waits in TIME_WAIT
            assert client.recv(1) == b""
    with bound(arguments(port=port), PATIENT_S):
        pass


def test_the_socket_of_a_server_that_is_starting_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bound(arguments(uds=str(path)), PATIENT_S) as first:
        with (
            pytest.raises(NotServable, match=r"--uds: a server that is starting has .*; choose another path"),
            bound(arguments(uds=str(path)), PATIENT_S),
        ):
            pass
        assert path.is_socket()
        assert first.url == f"unix:{path}"


def test_a_socket_that_a_server_left_behind_is_removed_and_any_other_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    asked = arguments(uds=str(path))
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(NotServable, match="--uds: a server listens on"), bound(asked, PATIENT_S):
            pass
    with bound(asked, PATIENT_S):
        pass
    path.unlink()
    path.touch()
    with pytest.raises(NotServable, match="is no socket"), bound(asked, PATIENT_S):
        pass
    absent = arguments(uds=str(tmp_path / "absent" / "socket"))
    with pytest.raises(NotServable, match="--uds: there is no folder"), bound(absent, PATIENT_S):
        pass


def test_a_connection_whose_other_side_takes_nothing_is_ended_by_the_kernel() -> None:
    with bound(arguments(port=0), 1.0) as address, socket.socket() as client:
        address.sock.listen()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(address.sock.getsockname())
        connection, _ = address.sock.accept()
        with connection:
            connection.settimeout(20)
            with pytest.raises(OSError) as ended:  # noqa: PT011  errno tells
                connection.sendall(bytes(1 << 26))
            assert ended.value.errno == errno.ETIMEDOUT
