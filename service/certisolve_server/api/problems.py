"""Errors as RFC 9457 problem documents."""

import logging
import math
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from certisolve_server.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    QueueFull,
    ServingError,
)

from .codec import encode_json
from .status import STATUS

_log = logging.getLogger(__name__)


def detail(error: ServingError) -> str:
    """What is wrong, for people; of a full queue also when there should be room."""
    if isinstance(error, QueueFull) and error.retry_after_s is not None:
        return f"{error.detail}; expect room in {error.retry_after_s:.2f} s"
    return error.detail


def problem_document(error: ServingError) -> dict[str, Any]:
    """The document for an error: stable `code`, human `detail`, the `field` at fault."""
    status = STATUS[error.code].http
    optional = {"field": error.field or None, "retry_after_s": error.retry_after_s}
    return {
        "type": f"urn:certisolve:error:{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail(error),
        "code": str(error.code),
        **{key: value for key, value in optional.items() if value is not None},
    }


def problem_response(error: ServingError) -> Response:
    """The HTTP response for an error, with Retry-After where waiting helps."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return Response(
        encode_json(problem_document(error)),
        STATUS[error.code].http,
        headers,
        "application/problem+json",
    )


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    app.add_exception_handler(ServingError, _on_serving_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_defect)


async def guarded(endpoint: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    """The response of `endpoint`, or the problem document of what it raised."""
    try:
        return await endpoint(request)
    except ServingError as error:
        return problem_response(error)
    except Exception as error:
        return _on_defect(request, error)


def _on_serving_error(request: Request, error: Exception) -> Response:
    del request
    return problem_response(error if isinstance(error, ServingError) else InternalError(""))


def _on_http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    path = request.url.path
    if status == HTTPStatus.NOT_FOUND:
        return problem_response(NotFound(f"nothing under {path}; see /docs"))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return problem_response(MethodNotAllowed(f"{request.method} is not offered for {path}"))
    return problem_response(InvalidRequest(str(error)))


def _on_defect(request: Request, error: Exception) -> Response:
    _log.error("request_failed path=%s", request.url.path, exc_info=error)
    return problem_response(InternalError("a defect of the server; its log has the cause"))
