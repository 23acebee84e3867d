"""The ASGI application: our middleware and routes in front of vLLM's."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from service.http.dependencies import Dependencies
from service.http.error_answers import answer_service_error, answer_unexpected
from service.http.gateway import Gateway
from service.http.middleware.drain import Drain
from service.http.middleware.request_id import RequestId
from service.http.middleware.root_path import RootPath
from service.http.openai_errors import OpenAIErrors
from service.page.routes import page_routes
from service.records.choices import preference_routes
from service.rerank.errors import ServiceError

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(
    inner: ASGIApp,
    dependencies: Dependencies,
    *,
    guards: list[Middleware],
    check_ready: Callable[[], Awaitable[None]],
    engine_version: str,
    root_path: str = "",
    lifespan: Lifespan | None = None,
) -> Starlette:
    """inner: vLLM's application. guards: what a request passes before anything is done for it, outermost first.

    check_ready: raises ServiceError, where the server cannot answer now.
    """

    async def ready(_: Request) -> Response:
        if (refusal := dependencies.lifecycle.refusal) is not None:
            raise refusal
        await check_ready()
        return JSONResponse({"status": "ready"})

    async def versions(_: Request) -> Response:
        return JSONResponse({"version": engine_version, "bestofn": version("bestofn-server")})

    return Starlette(
        routes=[
            Route("/ready", ready),
            Route("/version", versions),
            *preference_routes(dependencies.recorder.candidate_log),
            *page_routes(),
            Mount("/", inner),
        ],
        middleware=[
            Middleware(RootPath, root_path=root_path),
            Middleware(RequestId),
            Middleware(OpenAIErrors),
            *guards,
            Middleware(Drain, lifecycle=dependencies.lifecycle),
            Middleware(Gateway, dependencies=dependencies),
        ],
        exception_handlers={ServiceError: answer_service_error, Exception: answer_unexpected},
        lifespan=lifespan,
    )
