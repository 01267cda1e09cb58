"""The HTTP application."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from certisolve_server.dataplane import DataPlane

from . import problems, rest, schemas

_SOLVE_PATH = "/v1/models/{model}/solve"


def create_app(dataplane: DataPlane) -> FastAPI:
    """The application that serves `dataplane`."""
    app = FastAPI(
        title="certisolve",
        version=version("certisolve-server"),
        description="Fields and bounds from trained surrogates of differential equations.",
        openapi_url="/openapi.json",
    )
    app.state.dataplane = dataplane
    problems.install(app)
    # A plain route: the framework's argument handling would cost more than a small solve.
    app.router.routes.append(Route(_SOLVE_PATH, rest.solve, methods=["POST"]))
    app.include_router(rest.router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schema["paths"][_SOLVE_PATH] = {"post": rest.SOLVE_OPENAPI}
        definitions = schema.setdefault("components", {}).setdefault("schemas", {})
        for model in (schemas.SolveBody, schemas.SolveReply, schemas.JobReply, schemas.Problem):
            document = model.model_json_schema(ref_template="#/components/schemas/{model}")
            definitions.update(document.pop("$defs", {}))
            definitions[model.__name__] = document
        app.openapi_schema = schema
    return app.openapi_schema
