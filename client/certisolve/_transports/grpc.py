"""certisolve.v1 over gRPC; needs the extra `grpc`, so the clients import it only when asked to."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from urllib.parse import urlsplit

from certisolve._calls import Call, Operation, Reply
from certisolve._config import DEFAULT_GRPC_PORT, DEFAULT_GRPCS_PORT
from certisolve._errors import MissingDependency, RequestTimeout

from ._grpc_streams import END, silence_s, silent
from ._silence import SilenceLimit
from .base import AsyncTransport, Transport

try:
    import grpc

    from ._grpc_codec import CHANNEL_OPTIONS, Method, bind, map_grpc_error, metadata
except ImportError as error:
    raise MissingDependency("gRPC needs more packages: pip install 'certisolve[grpc]'") from error

#: As httpx words it.
_CLOSED = "Cannot send a request, as the client has been closed."


class GrpcTransport(Transport):
    """One channel to one server.

    Args:
        url: `grpc://host:port` in clear text, `grpcs://host:port` over TLS.
        credentials: for grpcs, instead of the system's certificate authorities.
    """

    def __init__(self, url: str, *, credentials: grpc.ChannelCredentials | None = None) -> None:
        target, secure = parse_target(url)
        if secure:
            credentials = credentials or grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(target, credentials, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target, CHANNEL_OPTIONS)
        self._methods = bind(self._channel)
        self._closed = False

    def send(self, call: Call) -> Reply:
        if self._closed:
            raise RuntimeError(_CLOSED)
        method = self._methods[call.operation]
        request = method.encode(call)
        try:
            message = method.invoke(request, timeout=call.timeout_s, metadata=metadata(call))
        except grpc.RpcError as error:
            raise map_grpc_error(error, call) from error
        return method.read(message)

    def stream(self, call: Call) -> Generator[Reply, None, None]:
        if self._closed:
            raise RuntimeError(_CLOSED)
        method = self._methods[call.operation]
        messages = method.open(call)
        silence = SilenceLimit(silence_s(call), messages.cancel)
        try:
            with silence.running():
                while True:
                    with silence.waiting():
                        message = next(messages, END)
                    if message is END:
                        return
                    yield method.read(message)
        except grpc.RpcError as error:
            raise (silent(call) if silence.exceeded else map_grpc_error(error, call)) from error
        finally:
            messages.cancel()

    def close(self) -> None:
        self._closed = True
        self._channel.close()


class AsyncGrpcTransport(AsyncTransport):
    """As `GrpcTransport`, on asyncio; belongs to the event loop of its first call."""

    def __init__(self, url: str, *, credentials: grpc.ChannelCredentials | None = None) -> None:
        self._target, self._secure = parse_target(url)
        self._credentials = credentials
        self._channel: grpc.aio.Channel | None = None
        self._methods: Mapping[Operation, Method] = {}
        self._closed = False

    async def asend(self, call: Call) -> Reply:
        method = self._method(call)
        request = method.encode(call)
        try:
            message = await method.invoke(request, timeout=call.timeout_s, metadata=metadata(call))
        except grpc.RpcError as error:
            raise map_grpc_error(error, call) from error
        return method.read(message)

    async def astream(self, call: Call) -> AsyncGenerator[Reply, None]:
        method = self._method(call)
        messages = method.open(call)
        replies = aiter(messages)
        try:
            while True:
                async with asyncio.timeout(silence_s(call)):
                    message = await anext(replies, END)
                if message is END:
                    return
                yield method.read(message)
        except RequestTimeout:
            raise
        except TimeoutError as error:
            raise silent(call) from error
        except grpc.RpcError as error:
            raise map_grpc_error(error, call) from error
        finally:
            messages.cancel()

    async def aclose(self) -> None:
        self._closed = True
        if self._channel is not None:
            await self._channel.close(None)

    def _method(self, call: Call) -> Method:
        if self._closed:
            raise RuntimeError(_CLOSED)
        if self._channel is None:
            # Not in __init__: a channel binds itself to the loop that is running.
            self._channel = self._open()
            self._methods = bind(self._channel)
        return self._methods[call.operation]

    def _open(self) -> grpc.aio.Channel:
        if not self._secure:
            return grpc.aio.insecure_channel(self._target, CHANNEL_OPTIONS)
        credentials = self._credentials or grpc.ssl_channel_credentials()
        return grpc.aio.secure_channel(self._target, credentials, CHANNEL_OPTIONS)


def parse_target(url: str) -> tuple[str, bool]:
    """The `host:port` of a URL and whether TLS is wanted.

    Raises:
        ValueError: not `grpc://host:port` or `grpcs://host:port`.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("grpc", "grpcs") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"url: expected grpc://host:port or grpcs://host:port, got {url!r}")
    secure = parts.scheme == "grpcs"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or (DEFAULT_GRPCS_PORT if secure else DEFAULT_GRPC_PORT)
    return f"{host}:{port}", secure
