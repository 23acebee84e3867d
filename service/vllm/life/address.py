"""The address that is served: one server's from before its engines start, which takes half a minute, to its end."""

import errno
import socket
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vllm.entrypoints.launchers.launcher import setup_server

from service.vllm.life.preflight import NotServable


@dataclass(frozen=True)
class Address:
    """url: as vLLM writes it. sock: bound, and not yet listening, so that nobody takes the server for ready."""

    url: str
    sock: socket.socket

    def open(self) -> None:
        """The server is about to listen. What it leaves behind may then be bound again at once."""
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


@contextmanager
def bound(args: Namespace, write_timeout_s: float) -> Iterator[Address]:
    """The address of vLLM's arguments. write_timeout_s: after which a client that takes nothing is left.

    Raises NotServable, also for a server that has been started on it and does not listen yet.
    """
    with ExitStack() as held:
        if args.uds:
            held.enter_context(_claimed(Path(args.uds)))
        try:
            _try(args)
            url, sock = setup_server(args, reuse_port=False)
        except OSError as error:
            raise NotServable(_problem(args, error)) from None
        except (KeyError, ImportError) as error:  # of parsers that a plugin does not bring
            raise NotServable(str(error.args[0] if error.args else error)) from None
        held.enter_context(closing(sock))
        if sock.family != socket.AF_UNIX:
            # of two sockets that allow it and do not listen, Linux lets both be bound
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            _leave_who_does_not_read(sock, write_timeout_s)
        yield Address(url, sock)


def _leave_who_does_not_read(sock: socket.socket, timeout_s: float) -> None:
    """Let the kernel end a connection whose other side has taken nothing for so long; uvicorn would wait for ever.

    Connections inherit it from the socket that listens.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout_s * 1000))


def _try(args: Namespace) -> None:
    """Raises OSError. vLLM leaves a socket that it cannot bind to the garbage collector."""
    host = args.host or ""
    if not args.uds:
        with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, args.port))


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """No other server's, though nobody listens on it yet. One that a server has left behind is removed.

    The claim is a name in the kernel, where it has such names, and ends with the process.
    """
    if not path.parent.is_dir():
        raise NotServable(f"--uds: there is no folder {path.parent}")
    with closing(socket.socket(socket.AF_UNIX)) as claim:
        if hasattr(socket, "SO_PEERCRED"):  # Linux
            try:
                claim.bind(f"\0bestofn:{path.resolve()}")
            except OSError as error:
                raise NotServable(f"--uds: a server that is starting has {path}; choose another path") from error
        _remove_stale(path)
        yield


def _remove_stale(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_socket():
        raise NotServable(f"--uds: {path} exists and is no socket; remove it, or choose another path")
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise NotServable(f"--uds: a server listens on {path} already; stop it, or choose another path")


def _problem(args: Namespace, error: OSError) -> str:
    if args.uds:
        return f"--uds: {args.uds} cannot be listened on: {error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        return f"--port: {args.port} is in use; stop what listens there, or give another with --port"
    if error.errno == errno.EACCES:
        return f"--port: {args.port} is not for this user to open; give one above 1023"
    return f"--host: {args.host or ''}:{args.port} cannot be listened on: {error.strerror or error}"
