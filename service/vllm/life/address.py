"""The address that is served: taken before the engines start, so that of two servers started together one is refused.

It refuses connections until the server listens, half a minute later.
"""

import errno
import fcntl
import os
import socket
from argparse import Namespace
from contextlib import closing
from pathlib import Path

from vllm.utils.network_utils import is_valid_ipv6_address

from service.vllm.life.preflight import NotServable

_PROBE_S = 1.0
_BACKLOG = 2048  # uvicorn's


class Address:
    """A bound socket that nobody else can bind meanwhile. url: where clients find it.

    write_timeout_s: after which a client that takes nothing of its answer is left.
    """

    def __init__(self, args: Namespace, write_timeout_s: float) -> None:
        """Raises NotServable where the address cannot be had."""
        self._lock: int | None = None
        if args.uds:
            self._lock = _lock(Path(args.uds))
            try:
                self.sock = _bound_path(Path(args.uds))
            except NotServable:
                os.close(self._lock)
                raise
            self.url = f"unix:{args.uds}"
        else:
            self.sock = _bound_port(args.host or "", args.port)
            _leave_who_does_not_read(self.sock, write_timeout_s)
            self.url = _url(args, self.sock.getsockname()[1])

    def listen(self) -> None:
        """Take connections, which wait until the server answers.

        Past connections, its own and an earlier server's, hold the port where SO_REUSEADDR is not set; where it is, and
        nobody listens, another server may bind it. So nothing comes between the two.
        """
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.listen(_BACKLOG)

    def close(self) -> None:
        """Leave the address to others."""
        self.sock.close()
        if self._lock is not None:
            os.close(self._lock)


def _url(args: Namespace, port: int) -> str:
    host = f"[{args.host}]" if is_valid_ipv6_address(args.host or "") else args.host or "0.0.0.0"
    return f"http{'s' if args.ssl_keyfile and args.ssl_certfile else ''}://{host}:{port}"


def _bound_port(host: str, port: int) -> socket.socket:
    """With SO_REUSEADDR past connections do not hold the port; without it, once bound, no other server shares it."""
    sock = socket.socket(socket.AF_INET6 if is_valid_ipv6_address(host) else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        sock.close()
        raise NotServable(_problem(host, port, error)) from None
    except OverflowError:
        sock.close()
        raise NotServable(f"--port: {port} is none; give one up to 65535") from None
    return sock


def _leave_who_does_not_read(sock: socket.socket, timeout_s: float) -> None:
    """Let the kernel end a connection whose other side has taken nothing for so long; uvicorn would wait for ever.

    Connections inherit it from the socket that listens.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout_s * 1000))


def _problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port: {port} is in use; stop what listens there, or give another with --port"
    if error.errno == errno.EACCES:
        return f"--port: {port} is not for this user to open; give one above 1023"
    return f"--host: {host}:{port} cannot be listened on: {error.strerror or error}"


def _lock(path: Path) -> int:
    """Held while the server lives, on a file beside the socket: a socket left behind looks like one not listened on."""
    if not os.path.isdir(path.parent):  # unlike Path.is_dir, raises nothing
        raise NotServable(f"--uds: there is no folder {path.parent}")
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NotServable(f"--uds: {path}.lock cannot be made: {error.strerror}; choose another path") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise NotServable(f"--uds: a server has {path} already; stop it, or choose another path") from None
    return descriptor


def _bound_path(path: Path) -> socket.socket:
    """A socket that a server has left behind, and nobody listens on, is replaced."""
    if path.exists() and not path.is_socket():
        raise NotServable(f"--uds: {path} exists and is no socket; remove it, or choose another path")
    if path.exists():
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.settimeout(_PROBE_S)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except TimeoutError:  # a server that is busy
                raise NotServable(
                    f"--uds: a server listens on {path} already; stop it, or choose another path"
                ) from None
            except OSError as error:
                raise NotServable(f"--uds: {path} cannot be listened on: {error.strerror or error}") from None
            else:
                raise NotServable(f"--uds: a server listens on {path} already; stop it, or choose another path")
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise NotServable(f"--uds: {path} cannot be listened on: {error.strerror or error}") from None
    return sock
