"""From a URL to what carries the calls there."""

from ._transports.base import AsyncTransport, Transport
from ._transports.http import AsyncHttpTransport, HttpTransport


def open_transport(url: str) -> Transport:
    """The transport that the URL's scheme asks for.

    Raises:
        ValueError: no scheme that is spoken here.
        MissingDependency: gRPC, whose extra is not installed.
    """
    match _scheme(url):
        case "http" | "https":
            return HttpTransport(url)
        case _:
            from ._transports.grpc import GrpcTransport

            return GrpcTransport(url)


def open_async_transport(url: str) -> AsyncTransport:
    """As `open_transport`, for asyncio."""
    match _scheme(url):
        case "http" | "https":
            return AsyncHttpTransport(url)
        case _:
            from ._transports.grpc import AsyncGrpcTransport

            return AsyncGrpcTransport(url)


def _scheme(url: str) -> str:
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https", "grpc", "grpcs"):
        raise ValueError(f"url: expected http(s)://host:port or grpc(s)://host:port, got {url!r}")
    return scheme
