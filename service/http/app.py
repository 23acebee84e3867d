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
from service.http.gateway import Gateway
from service.http.openai_errors import OpenAIErrors
from service.http.request_id import RequestId
from service.http.root_path import RootPath
from service.page.routes import page_routes
from service.records.choices import preference_routes
from service.rerank.errors import EngineDown, ServiceError, error_body

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(
    inner: ASGIApp,
    dependencies: Dependencies,
    *,
    guards: list[Middleware],
    check_ready: Callable[[], Awaitable[str | None]],
    engine_version: str,
    root_path: str = "",
    lifespan: Lifespan | None = None,
) -> Starlette:
    """inner: vLLM's application. guards: what a request passes before anything is done for it, outermost first.

    check_ready: why the server cannot answer now, or None when it can.
    """

    async def ready(_: Request) -> Response:
        problem = await check_ready()
        if problem is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse(error_body(EngineDown(problem)), status_code=503)

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
            Middleware(Gateway, dependencies=dependencies),
        ],
        exception_handlers={Exception: _unexpected},
        lifespan=lifespan,
    )


async def _unexpected(_: Request, error: Exception) -> Response:
    return JSONResponse(error_body(ServiceError(f"internal error: {type(error).__name__}")), status_code=500)
