"""The HTTP side: from when the server listens until it has been told to stop and nobody waits for an answer.

vLLM's own launcher lists every route, cannot be asked when it listens, and on a signal ends the engine before the
requests, so this takes its place with the same uvicorn.
"""

import asyncio
import logging
import signal
import socket
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from vllm import envs
from vllm.entrypoints.launchers.launcher import NoSignalServer, watchdog_loop
from vllm.entrypoints.launchers.utils.constants import (
    H11_MAX_HEADER_COUNT_DEFAULT,
    H11_MAX_INCOMPLETE_EVENT_SIZE_DEFAULT,
)
from vllm.entrypoints.launchers.utils.server_utils import get_uvicorn_log_config
from vllm.entrypoints.launchers.utils.ssl import SSLCertRefresher

from service.load.lifecycle import Lifecycle

_CLOSE_S = 1  # for connections to close once every request is answered


async def run(
    app: Starlette, sock: socket.socket, args: Namespace, lifecycle: Lifecycle, greet: Callable[[], None]
) -> None:
    """Serve until the server is told to stop or an engine dies. greet: called when the server listens.

    app.state holds `engine_client`, and is given `server`, where vLLM's error handlers look for it.
    """
    configuration = config(app, args)
    server = _Server(configuration, greet)
    app.state.server = server
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lifecycle.stop)
    tasks = [
        asyncio.create_task(_stop(server, lifecycle)),
        asyncio.create_task(watchdog_loop(server, app.state.engine_client)),
    ]
    certificates = _refresher(configuration, args) if args.enable_ssl_refresh else None
    try:
        await server.serve(sockets=[sock])
    finally:
        for task in tasks:
            task.cancel()
        if certificates is not None:
            certificates.stop()


class _Server(NoSignalServer):
    def __init__(self, config: uvicorn.Config, greet: Callable[[], None]) -> None:
        super().__init__(config)
        self._greet = greet

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._greet()


async def _stop(server: uvicorn.Server, lifecycle: Lifecycle) -> None:
    await lifecycle.drained()
    server.should_exit = True


def config(app: Starlette, args: Namespace) -> uvicorn.Config:
    """uvicorn's, from vLLM's arguments. Raises whatever uvicorn does for files and values that it cannot use."""
    log_config = get_uvicorn_log_config(args)
    log: dict[str, Any] = {} if log_config is None else {"log_config": log_config}
    made = uvicorn.Config(
        app,
        host=args.host,
        port=args.port,
        log_level=args.uvicorn_log_level,
        access_log=not args.disable_uvicorn_access_log,
        timeout_keep_alive=envs.VLLM_HTTP_TIMEOUT_KEEP_ALIVE,
        timeout_graceful_shutdown=_CLOSE_S,
        ssl_keyfile=args.ssl_keyfile,
        ssl_certfile=args.ssl_certfile,
        ssl_ca_certs=args.ssl_ca_certs,
        ssl_cert_reqs=args.ssl_cert_reqs,
        ssl_ciphers=args.ssl_ciphers,
        **log,
    )
    made.h11_max_incomplete_event_size = args.h11_max_incomplete_event_size or H11_MAX_INCOMPLETE_EVENT_SIZE_DEFAULT
    made.h11_max_header_count = args.h11_max_header_count or H11_MAX_HEADER_COUNT_DEFAULT  # type: ignore[attr-defined]
    made.load()
    if args.uvicorn_log_level == "info":  # the default: of its own start and stop uvicorn reports in six lines
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return made


def _refresher(config: uvicorn.Config, args: Namespace) -> SSLCertRefresher | None:
    if config.ssl is None:
        return None
    return SSLCertRefresher(
        ssl_context=config.ssl, key_path=args.ssl_keyfile, cert_path=args.ssl_certfile, ca_path=args.ssl_ca_certs
    )
