"""Loopback ports that stay ours while whoever listens on them is down."""

import random
import socket

#: Below the ports that systems hand out: a client that keeps knocking at a closed port among those
#: would one day be given the same port itself, and be connected to itself.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 100


def free_port() -> int:
    """A port that nobody uses now."""
    for port in random.sample(_RANGE, _ATTEMPTS):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"{_ATTEMPTS} ports tried, all taken")
