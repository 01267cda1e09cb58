"""How the commands reach a server: the options they share, and errors as one line."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from certisolve_server.settings import URL_VARIABLE

from .console import fail

if TYPE_CHECKING:
    from certisolve import Client

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 60.0

Url = Annotated[
    str,
    typer.Option(envvar=URL_VARIABLE, help="Server: http(s)://host:port or grpc(s)://host:port."),
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the answer.")]
Version = Annotated[str | None, typer.Option(help="Of the model; the newest when left out.")]


@contextlib.contextmanager
def connected(url: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> Iterator["Client"]:
    """A client of the server at `url`; what goes wrong inside ends the command with one line."""
    # Imported here, so that `--help` and `serve` do not wait for numpy and httpx.
    from certisolve import CertisolveError, Client, ConnectionFailed

    try:
        with Client(url, timeout=timeout_s) as client:
            yield client
    except ConnectionFailed as error:
        if error.sent:
            fail(f"{url}: {error}")
        fail(f"no server answers at {url}; start one with `certisolve serve`, or pass --url")
    except (CertisolveError, TypeError, ValueError) as error:
        fail(str(error))
