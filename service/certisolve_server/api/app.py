"""The HTTP application."""

import re
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from certisolve_server.dataplane import DataPlane
from certisolve_server.sessionplane import SessionPlane

from . import (
    certify,
    certify_openapi,
    derivative_openapi,
    derivatives,
    openapi,
    problems,
    rest,
    session_openapi,
    sessions,
)

_VERSION = version("certisolve-server")
_SOLVE_PATH = "/v1/models/{model}/solve"
_SOLVE_STREAM_PATH = f"{_SOLVE_PATH}/stream"
_JVP_PATH, _VJP_PATH = "/v1/models/{model}/jvp", "/v1/models/{model}/vjp"
_CERTIFY_PATH = "/v1/models/{model}/certify"
_SOLVE = re.compile(r"/v1/models/([^/]+)/solve")


def create_app(dataplane: DataPlane, session_plane: SessionPlane | None = None) -> ASGIApp:
    """The application that serves `dataplane`, and sessions where there are any."""
    app = FastAPI(
        title="certisolve",
        version=_VERSION,
        description="Fields and bounds from trained surrogates of differential equations.",
        # Looking for a tracer in every request would take a tenth of the server's time.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.dataplane = dataplane
    problems.install(app)
    app.router.routes.append(Route(_SOLVE_PATH, rest.solve, methods=["POST"]))
    app.router.routes.append(Route(_SOLVE_STREAM_PATH, rest.solve_stream, methods=["POST"]))
    app.router.routes.append(Route(_JVP_PATH, derivatives.jvp, methods=["POST"]))
    app.router.routes.append(Route(_VJP_PATH, derivatives.vjp, methods=["POST"]))
    app.router.routes.append(Route(_CERTIFY_PATH, certify.certify, methods=["POST"]))
    app.include_router(rest.router)
    if session_plane is not None:
        app.state.sessions = session_plane
        app.include_router(sessions.router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return SolveDoorway(app)


class SolveDoorway:
    """Takes solves past the framework's layers, which would cost more than a small solve.

    Arguments:
        app: answers everything else.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the ASGI interface."""
        solve = scope["type"] == "http" and scope["method"] == "POST"
        match = _SOLVE.fullmatch(scope["path"]) if solve else None
        if match is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        scope["path_params"] = {"model": match[1]}
        response = await problems.guarded(rest.solve, Request(scope, receive))
        await response(scope, receive, send)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schema["paths"][_SOLVE_PATH] = {"post": openapi.SOLVE}
        schema["paths"][_SOLVE_STREAM_PATH] = {"post": openapi.SOLVE_STREAM}
        schema["paths"][_JVP_PATH] = {"post": derivative_openapi.JVP}
        schema["paths"][_VJP_PATH] = {"post": derivative_openapi.VJP}
        schema["paths"][_CERTIFY_PATH] = {"post": certify_openapi.CERTIFY}
        definitions = schema.setdefault("components", {}).setdefault("schemas", {})
        for model in (
            *openapi.SCHEMAS,
            *session_openapi.SCHEMAS,
            *derivative_openapi.SCHEMAS,
            *certify_openapi.SCHEMAS,
        ):
            document = model.model_json_schema(ref_template="#/components/schemas/{model}")
            definitions.update(document.pop("$defs", {}))
            definitions[model.__name__] = document
        app.openapi_schema = schema
    return app.openapi_schema
