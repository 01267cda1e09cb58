"""The doors to a server: for blocking code, and for asyncio.

What they do stands in `_clients`, a file for each kind of question.
"""

from ._clients.sessions import AsyncSessionClient, SessionClient


class Client(SessionClient):
    """A certisolve server, for blocking code; may be shared by threads.

    Args:
        url: `http://`, `https://`, `grpc://` or `grpcs://`, host and port.
        tenant: on whose account solves run; tenants share the devices equally. 1 to 64 letters,
            digits, dots, underscores and hyphens; None for the server's default.
        timeout: seconds one call may take in all, retries included; None for no limit.
        retry: when to try again.
        transport: carries the calls instead of the one `url` asks for. Closed with the client.
        clock: time, for tests.

    Raises:
        ValueError: `url`, `tenant` or `timeout` is malformed.
        MissingDependency: the URL asks for gRPC, and the extra `grpc` is not installed.

    Example:
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     solution = client.solve("burgers1d-fno", {"u0": u0})
    """


class AsyncClient(AsyncSessionClient):
    """A certisolve server, for asyncio: as `Client`, with `await`.

    Args:
        url: as for `Client`.
        tenant: as for `Client`.
        timeout: as for `Client`.
        retry: as for `Client`.
        transport: as for `Client`.
        clock: as for `Client`.
    """
