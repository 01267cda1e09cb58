"""Loopback ports that stay ours while whoever listens on them is down."""

import random
import socket

#: Below the ports that systems hand out: a client that keeps knocking at a closed port among those
#: would one day be given the same port itself, and be connected to itself. None comes twice.
_candidates = iter(random.sample(range(20_000, 32_000), 12_000))


def free_port() -> int:
    """A port that nobody uses now, and that was not given before."""
    for port in _candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("every port was tried")
