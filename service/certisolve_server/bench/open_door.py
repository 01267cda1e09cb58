"""From a URL to a door, on this machine unless told otherwise."""

import ipaddress
from urllib.parse import urlsplit

from .door import AbstractDoor
from .grpc_door import GrpcDoor
from .http_door import HttpDoor

_DEFAULT_PORTS = {"http": 8000, "grpc": 8001}


def open_door(url: str, *, allow_remote: bool = False) -> AbstractDoor:
    """The door at `http://host:port` or `grpc://host:port`.

    Raises:
        ValueError: another scheme, or a host beyond loopback without `allow_remote`.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"url: load is sent to http://host:port or grpc://host:port, not {url!r}")
    if not (allow_remote or _is_loopback(parts.hostname)):
        raise ValueError(
            f"{parts.hostname} is another machine: flooding it may harm others; "
            "pass --allow-remote if it is yours"
        )
    kind = HttpDoor if parts.scheme == "http" else GrpcDoor
    return kind(parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
