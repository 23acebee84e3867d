"""The address is had by one server at a time, from before its engines start."""

import errno
import socket
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.vllm.life.address import Address
from service.vllm.life.preflight import NotServable


def arguments(**changes: Any) -> Namespace:
    address = {"uds": None, "host": "127.0.0.1", "port": 0, "ssl_keyfile": None, "ssl_certfile": None}
    return Namespace(**{**address, **changes})


def address(args: Namespace) -> Address:
    return Address(args, write_timeout_s=1.0)


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_refused(taken: int) -> None:
    with pytest.raises(NotServable, match=f"--port: {taken} is in use; stop what listens there"):
        address(arguments(port=taken))


@pytest.mark.parametrize("port", [70000, -1])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(NotServable, match=f"--port: {port} is none; give one up to 65535"):
        address(arguments(port=port))


def test_the_url_has_the_port_that_the_kernel_chose() -> None:
    with closing(address(arguments())) as own:
        assert own.url == f"http://127.0.0.1:{own.sock.getsockname()[1]}"


def test_a_host_that_is_not_this_machines_is_refused() -> None:
    with pytest.raises(NotServable, match=r"--host: 192\.0\.2\.1:8000 cannot be listened on"):
        address(arguments(host="192.0.2.1", port=8000))


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_of_two_that_start_on_one_port_the_second_is_refused_and_the_first_serves(host: str) -> None:
    with closing(address(arguments())) as first:
        port = first.sock.getsockname()[1]
        with pytest.raises(NotServable, match=f"--port: {port} is in use"):
            address(arguments(host=host, port=port))
        with pytest.raises(ConnectionRefusedError):  # it does not listen yet
            socket.create_connection(("127.0.0.1", port))
        first.listen()
        with closing(socket.create_connection(("127.0.0.1", port))):
            first.sock.accept()[0].close()


def test_a_port_is_had_again_at_once_after_connections_that_the_server_closed() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))) as client:
            server.accept()[0].close()
            client.recv(1)
    with closing(address(arguments(port=port))) as again:
        again.listen()


def test_of_two_that_start_on_one_path_the_second_is_refused_and_the_first_serves(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with closing(address(arguments(uds=path))) as first:
        with pytest.raises(NotServable, match=r"--uds: a server has .* already; stop it"):
            address(arguments(uds=path))
        first.listen()
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(path)


def test_a_socket_that_a_server_left_behind_is_replaced_and_any_other_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(NotServable, match="--uds: a server listens on"):
            address(arguments(uds=str(path)))
    with closing(address(arguments(uds=str(path)))) as again:
        assert again.url == f"unix:{path}"
    path.unlink()
    path.touch()
    with pytest.raises(NotServable, match="is no socket"):
        address(arguments(uds=str(path)))
    with pytest.raises(NotServable, match="--uds: there is no folder"):
        address(arguments(uds=str(tmp_path / "absent" / "socket")))


def test_a_connection_whose_other_side_takes_nothing_is_ended_by_the_kernel() -> None:
    with closing(address(arguments())) as own, socket.socket() as client:
        own.listen()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(own.sock.getsockname())
        connection, _ = own.sock.accept()
        with connection:
            connection.settimeout(20)
            with pytest.raises(OSError) as ended:  # noqa: PT011  errno tells
                connection.sendall(bytes(1 << 26))
            assert ended.value.errno == errno.ETIMEDOUT
