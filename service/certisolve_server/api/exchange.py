"""Requests and responses of HTTP, apart from what they are about."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from certisolve_server.errors import BodyTooLarge, Cancelled, UnsupportedMediaType

from . import codec


def headers_of(request: Request) -> dict[str, str]:
    """The headers by lower-case name; one that comes several times, joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def read_body(request: Request, headers: Mapping[str, str], max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: more than `max_bytes`.
        UnsupportedMediaType: compressed.
        Cancelled: the client went away.
    """
    if headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("send the body uncompressed", field="Content-Encoding")
    too_large = BodyTooLarge(f"the body may have {max_bytes} bytes")
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > max_bytes:
        raise too_large
    chunks, num_bytes = [], 0
    try:
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise too_large
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise Cancelled("the client went away") from error
    return b"".join(chunks)


def media_type_of(headers: Mapping[str, str]) -> str:
    """The type of the body, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def encoded_response(encoded: codec.Encoded) -> Response:
    """A reply that is encoded already."""
    return Response(encoded.body, media_type=encoded.media_type)


def json_response(document: Mapping[str, Any], status: int = 200) -> Response:
    """A document."""
    return Response(codec.encode_json(document), status, media_type=codec.JSON)
